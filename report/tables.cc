#include "report/tables.h"

#include <fmt/format.h>

#include <algorithm>

namespace densetree::report {
namespace {

std::string with_interval(const metrics::Estimate& estimate) {
  if (!estimate.value) {
    return "undefined";
  }
  std::string text = fmt::format("{:.4f}", *estimate.value);
  if (estimate.interval) {
    text += fmt::format(" [{:.4f}, {:.4f}]", estimate.interval->low, estimate.interval->high);
  }
  return text;
}

std::string number(const std::optional<double>& value) {
  return value ? fmt::format("{:.4f}", *value) : "undefined";
}

}  // namespace

std::string text_table(const metrics::Evaluation& evaluation) {
  std::size_t width = 5;
  for (const metrics::LabelEvaluation& label : evaluation.labels) {
    width = std::max(width, label.name.size());
  }
  std::string text = fmt::format("{:<{}}  {:>7} {:>9}  {:<23}  {:<23}  {}\n", "label", width, "images", "positives",
                                 "AUROC", "average precision", "Brier");
  for (const metrics::LabelEvaluation& label : evaluation.labels) {
    text += fmt::format("{:<{}}  {:>7} {:>9}  {:<23}  {:<23}  {}\n", label.name, width, label.images, label.positives,
                        with_interval(label.auroc), with_interval(label.average_precision), with_interval(label.brier));
  }
  text += fmt::format("{:<{}}  {:>7} {:>9}  {:<23}  {}\n", "mean", width, "", "", with_interval(evaluation.mean_auroc),
                      with_interval(evaluation.mean_average_precision));
  if (evaluation.draws > 0) {
    text += fmt::format("{} images of {} patients; 95 % intervals from {} draws of patients, seed {}\n",
                        evaluation.images, evaluation.patients, evaluation.draws, evaluation.seed);
  }
  return text;
}

std::string text_table(const tree::TreeEvaluation& evaluation) {
  std::vector<std::string> notes;
  for (const tree::NodeEvaluation& node : evaluation.nodes) {
    notes.push_back(fmt::format("{:>7} of {:>7}   AUROC {}   calibration error {} (raw scores {})", node.positives,
                                node.images, number(node.auroc.value), number(node.ece), number(node.raw_ece)));
  }
  std::string text = evaluation.tree.draw(notes);
  for (const tree::ConfidenceAtT& at : evaluation.at) {
    text += fmt::format(
        "at {}: leaves reported {} with precision {}, frontier {} with {}; of the true findings {} kept, {} softened, "
        "{} withdrawn\n",
        at.name, at.leaf.reported, number(at.leaf.precision), at.frontier.reported, number(at.frontier.precision),
        number(at.persist), number(at.soften), number(at.withdrawn));
  }
  return evaluation.choice ? text + tree::guarantee_text(*evaluation.choice) + "\n" : text;
}

}  // namespace densetree::report
