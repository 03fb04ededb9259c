#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <span>

#include "report/html.h"
#include "report/sections.h"
#include "report/svg.h"

namespace densetree::report {

namespace {

using html::count;
using html::number;
using html::paragraph;
using html::percent;
using html::Table;

// Thresholds beside each other in one table; more would not fit the paper.
constexpr std::size_t kColumns = 6;

// "confidence 0.8", or "the chosen thresholds".
std::string at_name(const std::string& name) {
  return name == "chosen" ? "the chosen thresholds" : "confidence " + html::escape(name);
}

std::string column_name(const std::string& name) {
  return name == "chosen" ? "chosen" : "T = " + html::escape(name);
}

// Tables of at most kColumns thresholds: fill(table, thresholds) adds the rows.
using Fill = std::function<void(Table&, std::span<const tree::ConfidenceAtT>)>;
std::string tables(const tree::TreeEvaluation& result, const std::string& caption, const std::string& corner,
                   const std::string& kind, const Fill& fill) {
  std::string markup;
  for (std::size_t begin = 0; begin < result.at.size(); begin += kColumns) {
    const auto part = std::span(result.at).subspan(begin, std::min(kColumns, result.at.size() - begin));
    std::vector<std::string> columns = {corner};
    for (const tree::ConfidenceAtT& at : part) {
      columns.push_back(column_name(at.name));
    }
    Table table(caption, columns, kind);
    fill(table, part);
    markup += table.html();
  }
  return markup.empty() ? paragraph("No threshold was asked for.") : markup;
}

template <class Value>
void metric_row(Table& table, std::span<const tree::ConfidenceAtT> thresholds, const std::string& head, Value value) {
  std::vector<Table::Cell> cells;
  for (const tree::ConfidenceAtT& at : thresholds) {
    cells.emplace_back(value(at));
  }
  table.row(head, cells);
}

void report_rows(Table& table, std::span<const tree::ConfidenceAtT> thresholds,
                 tree::Reports tree::ConfidenceAtT::*kind) {
  metric_row(table, thresholds, "Coverage: images with a report",
             [&](const tree::ConfidenceAtT& at) { return percent((at.*kind).coverage); });
  metric_row(table, thresholds, "Reports", [&](const tree::ConfidenceAtT& at) { return count((at.*kind).reported); });
  metric_row(table, thresholds, "… that are right",
             [&](const tree::ConfidenceAtT& at) { return count((at.*kind).right); });
  metric_row(table, thresholds, "Precision",
             [&](const tree::ConfidenceAtT& at) { return number((at.*kind).precision); });
  metric_row(table, thresholds, "Recall", [&](const tree::ConfidenceAtT& at) { return number((at.*kind).recall); });
}

void threshold_rows(Table& table, std::span<const tree::ConfidenceAtT> thresholds) {
  table.group("Labels");
  report_rows(table, thresholds, &tree::ConfidenceAtT::leaf);
  table.group("Frontier: the most specific certain nodes");
  report_rows(table, thresholds, &tree::ConfidenceAtT::frontier);
  table.group("Labels that are there");
  metric_row(table, thresholds, "Over all images", [](const tree::ConfidenceAtT& at) { return count(at.true_leaves); });
  metric_row(table, thresholds, "Kept", [](const tree::ConfidenceAtT& at) { return percent(at.persist); });
  metric_row(table, thresholds, "Softened", [](const tree::ConfidenceAtT& at) { return percent(at.soften); });
  metric_row(table, thresholds, "Withdrawn", [](const tree::ConfidenceAtT& at) { return percent(at.withdrawn); });
  table.group("Along the tree");
  metric_row(table, thresholds, "Hierarchical precision",
             [](const tree::ConfidenceAtT& at) { return number(at.hierarchical_precision); });
  metric_row(table, thresholds, "Hierarchical recall",
             [](const tree::ConfidenceAtT& at) { return number(at.hierarchical_recall); });
  metric_row(table, thresholds, "Hierarchical F",
             [](const tree::ConfidenceAtT& at) { return number(at.hierarchical_f); });
}

std::string were(std::int64_t images) {
  return images == 0 ? "none was" : images == 1 ? "1 was" : count(images) + " were";
}

// Where the true images of a leaf went: nodes from the leaf to the root.
struct Stop {
  std::int32_t node = 0;
  std::int64_t images = 0;
};

std::vector<Stop> stops_of(const tree::LabelTree& tree, std::int32_t leaf, const tree::ConfidenceAtT& at) {
  std::vector<Stop> stops;
  for (std::int32_t v = leaf; v >= 0; v = tree.node(v).parent) {
    stops.push_back({v, at.destinations[static_cast<std::size_t>(leaf)].counts[static_cast<std::size_t>(v)]});
  }
  return stops;
}

std::string destination_bar(const tree::LabelTree& tree, const std::vector<Stop>& stops, std::int64_t withdrawn,
                            std::int64_t all) {
  std::vector<svg::Part> parts;
  const auto add = [&](std::int64_t images, const std::string& kind, const std::string& what) {
    if (images > 0) {
      parts.push_back({html::ratio(images, all).value_or(0), kind, what + ": " + html::images(images)});
    }
  };
  for (const Stop& stop : stops) {
    add(stop.images, tree.is_leaf(stop.node) ? "kept" : "softened", tree.node(stop.node).name);
  }
  add(withdrawn, "gone", "withdrawn");
  return svg::bar("Where these images went", parts);
}

// "Of 1,254 images with Atelectasis at confidence 0.5, 300 were reported as Atelectasis, …", and the same as a bar.
std::string destination(const tree::LabelTree& tree, std::int32_t leaf, const tree::ConfidenceAtT& at) {
  const std::string leaf_name = html::name(tree.node(leaf).name);
  const std::vector<Stop> stops = stops_of(tree, leaf, at);
  const std::int64_t withdrawn = at.destinations[static_cast<std::size_t>(leaf)].withdrawn;
  std::int64_t all = withdrawn;
  std::string places;
  for (const Stop& stop : stops) {
    all += stop.images;
    if (stop.node == leaf) {
      places = fmt::format("{} reported as {}", were(stop.images), leaf_name);
    } else if (stop.images > 0) {
      places += fmt::format(", {} as {}", count(stop.images), html::name(tree.node(stop.node).name));
    }
  }
  if (all == 0) {
    return fmt::format("<li>No image has {}.</li>\n", leaf_name);
  }
  return fmt::format("<li>Of {} with {} at {}, {}; {} withdrawn.{}</li>\n", html::images(all), leaf_name,
                     at_name(at.name), places, were(withdrawn), destination_bar(tree, stops, withdrawn, all));
}

// Heads of the columns of a guarantee's table, after the threshold: what its counts are of.
std::vector<std::string> count_columns(tree::Guarantee kind) {
  return kind == tree::Guarantee::kMiss
             ? std::vector<std::string>{"Positive images", "Reported", "Missed", "Missed, share"}
             : std::vector<std::string>{"Images", "Reported", "False", "False, share"};
}

std::string choice_table(const tree::TreeEvaluation& result) {
  const tree::ThresholdChoice& choice = *result.choice;
  const bool miss = choice.request.kind == tree::Guarantee::kMiss;
  std::vector<std::string> columns = {"Node", "Threshold"};
  std::ranges::copy(count_columns(choice.request.kind), std::back_inserter(columns));
  if (choice.request.kind == tree::Guarantee::kPrecision) {
    columns.emplace_back("p-value");
  }
  Table table("On the images the thresholds were chosen on", columns);
  for (std::size_t v = 0; v < choice.nodes.size(); ++v) {
    const tree::NodeThreshold& node = choice.nodes[v];
    const bool none = !node.threshold;
    std::vector<Table::Cell> cells = {none ? "none certified" : html::threshold(*node.threshold), count(node.images),
                                      none ? "–" : count(node.reported), none ? "–" : count(node.wrong),
                                      percent(html::ratio(none ? 0 : node.wrong, none   ? 0
                                                                                 : miss ? node.images
                                                                                        : node.reported))};
    if (choice.request.kind == tree::Guarantee::kPrecision) {
      cells.emplace_back(none ? "–" : fmt::format("{:.2g}", node.p_value));
    }
    table.row(html::name(result.tree.nodes()[v].name), cells);
  }
  return table.html();
}

}  // namespace

std::string thresholds_section(const tree::TreeEvaluation& result) {
  return paragraph(
             "Coverage is the share of images with at least one report. Precision is the share of reports that are "
             "right; recall is the share of true labels that are reported, for the frontier as themselves or as a node "
             "above them. The higher the threshold, the fewer the reports and the more of them are right.") +
         paragraph(
             "Of the labels that are there, some are kept as they are, some are softened to a node above them, some "
             "are withdrawn. Along the tree a report counts with every node above it but the root, so that a softened "
             "report is partly right.") +
         tables(result, "Answers at each threshold", "At threshold", "", threshold_rows);
}

std::string auc_section(const tree::TreeEvaluation& result) {
  const auto fill = [&](Table& table, std::span<const tree::ConfidenceAtT> thresholds) {
    for (std::size_t l = 0; l < static_cast<std::size_t>(result.tree.leaves()); ++l) {
      metric_row(table, thresholds, html::name(result.tree.nodes()[l].name), [&](const tree::ConfidenceAtT& at) {
        const tree::ConfidenceAtT::AucAtT& auc = at.auc_at_t[l];
        return fmt::format("{}<small>{} kept</small><small>{} positive</small>", number(auc.auroc),
                           percent(auc.coverage), count(auc.positives));
      });
    }
  };
  return paragraph(
             "AUC@T is the AUROC over those images only whose answer, present or absent, has a confidence of at least "
             "T. Below it stand the share of images that are kept and how many of them are positive.") +
         "<p class=\"callout\"><strong>Read it with care.</strong> AUC@T falls as T rises, because what is kept is "
         "nearly all confident negatives: that is no loss of the classifier. Compare no two values without the share "
         "kept and the positives left.</p>\n" +
         tables(result, "AUC@T", "Label", "", fill);
}

std::string destinations_section(const tree::TreeEvaluation& result) {
  std::string body = paragraph(
      "What became of the labels that are there: reported as themselves (dark), softened to a node above (lighter), or "
      "withdrawn because not even the root was certain (grey).");
  for (const tree::ConfidenceAtT& at : result.at) {
    body += fmt::format("<h3>At {}</h3>\n<ul class=\"answers\">\n", at_name(at.name));
    for (std::int32_t leaf = 0; leaf < result.tree.leaves(); ++leaf) {
      body += destination(result.tree, leaf, at);
    }
    body += "</ul>\n";
  }
  return body + (result.at.empty() ? paragraph("No threshold was asked for.") : "");
}

std::string confusions_section(const tree::TreeEvaluation& result) {
  if (result.confusions.empty()) {
    return paragraph(
        "No label was reported falsely beside another that is there" +
        (result.confusion_threshold.empty() ? std::string(".") : ", at " + at_name(result.confusion_threshold) + "."));
  }
  Table table("False reports at " + at_name(result.confusion_threshold),
              {"Reported, not there", "There instead", "Images", "Of its false reports", "Share"}, "names");
  for (const tree::Confusion& confusion : result.confusions) {
    table.row(html::name(result.tree.node(confusion.reported).name),
              {{html::name(result.tree.node(confusion.instead).name), " class=\"text\""},
               count(confusion.images),
               count(confusion.false_reports),
               percent(html::ratio(confusion.images, confusion.false_reports))});
  }
  return paragraph(
             "Images where a label was reported though it is not there, and which label is there instead. An image "
             "with "
             "several labels counts for each of them.") +
         table.html();
}

std::string guarantee_section(const tree::TreeEvaluation& result) {
  if (!result.choice) {
    return paragraph(
        "The calibration holds no chosen thresholds. The thresholds on this page were given, not chosen by data: "
        "nothing is guaranteed for them beyond what is measured above.");
  }
  const tree::ThresholdChoice& choice = *result.choice;
  std::string without;
  std::size_t certified = 0;
  for (std::size_t v = 0; v < choice.nodes.size(); ++v) {
    if (choice.nodes[v].threshold) {
      ++certified;
    } else {
      without += (without.empty() ? "" : ", ") + html::name(result.tree.nodes()[v].name);
    }
  }
  std::string body = paragraph(fmt::format("<strong>{}</strong>", html::escape(tree::guarantee_text(choice))));
  if (certified == 0) {
    body += paragraph("No threshold could be certified for any node: nothing is reported at the chosen thresholds.");
  } else if (!without.empty()) {
    body += paragraph(
        fmt::format("No threshold could be certified for these nodes, which are never reported: {}.", without));
  }
  return body +
         paragraph(
             "None of the patients they were chosen on was used to fit the confidences; what the thresholds do above "
             "is "
             "measured on the images of this evaluation. A guarantee holds for patients like those it was made with, "
             "not for another hospital or device.") +
         choice_table(result);
}

}  // namespace densetree::report
