#include "report/report.h"

#include <fmt/format.h>

#include "kernels/core/error.h"
#include "report/html.h"
#include "report/sections.h"
#include "report/style.h"

namespace densetree::report {

namespace {

using html::count;
using html::estimate;
using html::paragraph;

struct Section {
  std::string id, title, body;
};

void check_tree(const metrics::Evaluation& evaluation, const tree::TreeEvaluation& result) {
  const auto labels = static_cast<std::size_t>(result.tree.leaves());
  const auto nodes = static_cast<std::size_t>(result.tree.size());
  check(evaluation.labels.size() == labels, "report: {} labels were evaluated, but the tree has {}",
        evaluation.labels.size(), labels);
  for (std::size_t l = 0; l < labels; ++l) {
    check(evaluation.labels[l].name == result.tree.nodes()[l].name, "report: label {} is '{}', but the tree's is '{}'",
          l + 1, evaluation.labels[l].name, result.tree.nodes()[l].name);
  }
  check(result.nodes.size() == nodes, "report: {} nodes were evaluated, but the tree has {}", result.nodes.size(),
        nodes);
  check(result.together.size() == labels * labels, "report: a co-occurrence of {} numbers for {} labels",
        result.together.size(), labels);
  check(!result.choice || result.choice->nodes.size() == nodes, "report: thresholds for {} nodes of {}",
        result.choice ? result.choice->nodes.size() : 0, nodes);
  for (const tree::ConfidenceAtT& at : result.at) {
    bool fits = at.thresholds.size() == nodes && at.auc_at_t.size() == labels && at.destinations.size() == labels;
    for (const tree::ConfidenceAtT::Destination& destination : at.destinations) {
      fits = fits && destination.counts.size() == nodes;
    }
    check(fits, "report: what was evaluated at '{}' is not of {} labels and {} nodes", at.name, labels, nodes);
  }
}

std::string card(std::string_view term, const std::string& value) {
  return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", term, value);
}

std::string mean_sentence(const metrics::Evaluation& evaluation) {
  std::size_t defined = 0;
  for (const metrics::LabelEvaluation& label : evaluation.labels) {
    defined += label.auroc.value.has_value();
  }
  const std::size_t all = evaluation.labels.size();
  if (defined == 0) {
    return "No AUROC is defined: no label has both images with and images without it. ";
  }
  std::string text = defined == all ? fmt::format("Means are over all {} labels. ", all)
                                    : fmt::format(
                                          "Means are over the {} of {} labels that have both images with and "
                                          "images without them. ",
                                          defined, all);
  if (evaluation.draws > 0) {
    text += fmt::format(
        "Ranges in brackets are 95\u00A0% intervals from {} draws of patients (seed {}): images of one patient are "
        "not independent. ",
        count(static_cast<std::int64_t>(evaluation.draws)), evaluation.seed);
  }
  return text;
}

std::string summary(const metrics::Evaluation& evaluation, const tree::TreeEvaluation* tree) {
  std::string cards = card("Images", count(evaluation.images)) + card("Patients", count(evaluation.patients)) +
                      card("Labels", count(static_cast<std::int64_t>(evaluation.labels.size())));
  if (tree) {
    cards += card("Nodes of the tree", count(tree->tree.size()));
  }
  cards += card("Mean AUROC", estimate(evaluation.mean_auroc)) +
           card("Mean average precision", estimate(evaluation.mean_average_precision));
  return fmt::format("<dl class=\"cards\">\n{}</dl>\n", cards) +
         paragraph(mean_sentence(evaluation) +
                   "AUROC is the chance that an image with the label scores higher than one "
                   "without it: 0.5 is guessing, 1 is perfect. A number that is not defined is shown as –.") +
         (tree ? "" : paragraph("There is no calibration: this page holds what is known of the scores alone.")) +
         "<p class=\"callout\"><strong>Research software, no medical device.</strong> Nothing here may guide the care "
         "of a patient.</p>\n";
}

std::string pairs(const std::string& caption, const std::vector<std::pair<std::string, std::string>>& rows) {
  html::Table table(caption, {"What", "Value"}, "left made");
  for (const auto& [name, value] : rows) {
    table.row(html::escape(name), {{html::escape(value), " class=\"text\""}});
  }
  return rows.empty() ? "" : table.html();
}

std::string made_section(const tree::TreeEvaluation* tree, const ReportContext& context) {
  const std::string body = (tree ? pairs("Settings of the calibration", tree->settings) : "") +
                           pairs("How this report was made", context.provenance);
  return body.empty() ? paragraph("Nothing was noted.") : body;
}

std::vector<Section> sections(const metrics::Evaluation& evaluation, const tree::TreeEvaluation* tree,
                              const ReportContext& context) {
  std::vector<Section> all = {{"summary", "Summary", summary(evaluation, tree)}};
  if (tree) {
    all.push_back({"tree", "The tree", tree_section(*tree)});
  }
  all.push_back({"labels", "Labels", labels_section(evaluation)});
  all.push_back({"curves", "Curves", curves_section(evaluation, tree)});
  if (tree) {
    all.push_back({"thresholds", "What each threshold does", thresholds_section(*tree)});
    all.push_back({"auc-at-t", "AUC@T", auc_section(*tree)});
    all.push_back({"destinations", "What was softened or withdrawn", destinations_section(*tree)});
    all.push_back({"confusions", "Worst confusions", confusions_section(*tree)});
    all.push_back({"together", "Findings of the set", together_section(*tree)});
    all.push_back({"guarantee", "Guarantee of the thresholds", guarantee_section(*tree)});
  }
  all.push_back({"made", "How it was made", made_section(tree, context)});
  return all;
}

}  // namespace

std::string report_html(const metrics::Evaluation& evaluation, const tree::TreeEvaluation* tree,
                        const ReportContext& context) {
  if (tree) {
    check_tree(evaluation, *tree);
  }
  std::string links, body;
  for (const Section& section : sections(evaluation, tree, context)) {
    links += fmt::format("<li><a href=\"#{}\">{}</a></li>\n", section.id, section.title);
    body += fmt::format("<section id=\"{}\">\n<h2>{}</h2>\n{}</section>\n", section.id, section.title, section.body);
  }
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{0}</title>\n"
      "<style>{1}</style>\n</head>\n<body>\n<header><h1>{0}</h1>\n<nav aria-label=\"Contents\"><ol>\n{2}</ol></nav>"
      "</header>\n<main>\n{3}</main>\n</body>\n</html>\n",
      html::escape(context.title), kReportStyle, links, body);
}

}  // namespace densetree::report
