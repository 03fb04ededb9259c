#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/html.h"
#include "report/sections.h"
#include "report/svg.h"

namespace densetree::report {

namespace {

using html::count;
using html::estimate;
using html::number;
using html::paragraph;
using html::percent;
using html::ratio;
using html::Table;

// Lines from a node to its parent, and past it to later nodes. open, by depth: whether the line goes on below.
std::string rails_markup(const std::vector<bool>& open) {
  std::string markup;
  for (std::size_t depth = 0; depth < open.size(); ++depth) {
    const bool own = depth + 1 == open.size();
    const double left = 0.5 + 1.1 * static_cast<double>(depth);
    if (open[depth] || own) {
      markup += fmt::format("<i class=\"rail{}\" style=\"left:{:.1f}rem\"></i>", open[depth] ? "" : " last", left);
    }
    if (own) {
      markup += fmt::format("<i class=\"twig\" style=\"left:{:.1f}rem\"></i>", left);
    }
  }
  return markup;
}

Table::Cell tree_head(const tree::LabelTree& tree, std::int32_t v, const std::vector<bool>& open) {
  return {rails_markup(open) + html::name(tree.node(v).name),
          fmt::format("{} style=\"padding-left:{:.1f}rem\"", tree.is_leaf(v) ? "" : " class=\"inner\"",
                      0.3 + 1.1 * static_cast<double>(open.size()))};
}

std::string chosen_threshold(const tree::NodeThreshold& node) {
  return node.threshold ? html::threshold(*node.threshold) : "none certified";
}

// Where the scale of the tree's marks begins: 0.5, or lower where a node is worse than guessing.
double scale_begin(const tree::TreeEvaluation& result) {
  double low = 0.5;
  for (const tree::NodeEvaluation& node : result.nodes) {
    low = std::min(low, node.auroc.value.value_or(low));
  }
  return std::floor(10 * low) / 10;
}

// Rows of the tree from node v on; `open` says which lines pass it.
void tree_rows(const tree::TreeEvaluation& result, std::int32_t v, double low, std::vector<bool>& open, Table& table) {
  const tree::LabelTree& tree = result.tree;
  const auto at = static_cast<std::size_t>(v);
  const tree::NodeEvaluation& node = result.nodes[at];
  std::vector<Table::Cell> cells = {
      percent(ratio(node.positives, node.images)), estimate(node.auroc),
      node.auroc.value
          ? svg::interval_mark("AUROC " + number(node.auroc.value), *node.auroc.value, node.auroc.interval, low, 1)
          : "",
      number(node.raw_ece), number(node.ece)};
  if (result.choice) {
    cells.emplace_back(chosen_threshold(result.choice->nodes[at]));
  }
  table.row(tree_head(tree, v, open), cells);
  const std::vector<std::int32_t>& children = tree.node(v).children;
  for (const std::int32_t child : children) {
    open.push_back(child != children.back());
    tree_rows(result, child, low, open, table);
    open.pop_back();
  }
}

}  // namespace

std::string tree_section(const tree::TreeEvaluation& result) {
  const double low = scale_begin(result);
  std::vector<std::string> columns = {"Node",       "Prevalence", "AUROC", fmt::format("{:g} to 1", low),
                                      "ECE before", "ECE after"};
  if (result.choice) {
    columns.emplace_back("Threshold");
  }
  Table table("Nodes of the tree, by their calibrated confidence", columns, "tree");
  std::vector<bool> open;
  tree_rows(result, result.tree.root(), low, open, table);
  return paragraph(
             "A node with others below it is true when any of the labels below it is. A finding that is not certain "
             "enough is reported as the node above it.") +
         paragraph(
             "Prevalence is the share of images where the node is true. ECE, the expected calibration error, is how "
             "far the stated probability lies from what is observed, on average: 0 is perfect. It is given for the "
             "score before calibration and for the confidence after it.") +
         paragraph(result.choice ? "A node is reported where its confidence reaches its threshold; how the thresholds "
                                   "were chosen stands under <a href=\"#guarantee\">Guarantee of the thresholds</a>."
                                 : "The calibration holds no chosen thresholds.") +
         table.html();
}

std::string labels_section(const metrics::Evaluation& evaluation) {
  Table table("Labels, by the classifier's own scores",
              {"Label", "Images", "Positive", "AUROC", "Average precision", "Brier score"});
  std::string without;
  for (const metrics::LabelEvaluation& label : evaluation.labels) {
    table.row(html::name(label.name), {count(label.images), count(label.positives), estimate(label.auroc),
                                       estimate(label.average_precision), estimate(label.brier, 4)});
    if (label.undefined_draws > 0) {
      without +=
          fmt::format("{}{}: {}", without.empty() ? "" : "; ", html::name(label.name), count(label.undefined_draws));
    }
  }
  return paragraph(
             "Average precision is the mean precision over all levels of recall; guessing gives the share of positive "
             "images. The Brier score is the mean squared distance between score and truth: 0 is perfect, and for "
             "rare labels it is small whatever the classifier does. Images of unknown truth are left out.") +
         table.html() +
         (without.empty() ? ""
                          : paragraph(fmt::format("Draws of patients without a positive or without a negative image "
                                                  "have no AUROC; the interval speaks of the others. Such draws: {}.",
                                                  without)));
}

std::string together_section(const tree::TreeEvaluation& result) {
  const auto labels = static_cast<std::size_t>(result.tree.leaves());
  std::vector<std::string> columns = {"With this label"};
  for (std::size_t b = 0; b < labels; ++b) {
    columns.push_back(html::name(result.tree.nodes()[b].name));
  }
  Table table("Images that have both labels", columns, "together");
  for (std::size_t a = 0; a < labels; ++a) {
    const std::int64_t all = result.together[a * labels + a];
    std::vector<Table::Cell> cells;
    for (std::size_t b = 0; b < labels; ++b) {
      const std::int64_t both = result.together[a * labels + b];
      const double part = ratio(both, all).value_or(0);
      cells.emplace_back(count(both), a == b ? " class=\"same\"" : fmt::format(" style=\"--part:{:.3f}\"", part));
    }
    table.row(html::name(result.tree.nodes()[a].name), cells);
  }
  return paragraph(
             "How often labels occur, and which occur together. The framed number of a row is how many images have "
             "its label; the others say how many of these have the label of the column too. The darker a cell, the "
             "larger its share of the row's images.") +
         fmt::format("<div style=\"--labels:{}\">\n{}</div>\n", labels, table.html());
}

}  // namespace densetree::report
