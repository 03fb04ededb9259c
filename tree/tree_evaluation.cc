#include "tree/tree_evaluation.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <limits>

#include "kernels/core/error.h"

namespace densetree::tree {

namespace {

constexpr std::size_t kConfusions = 20;

// A truth as rank() and bootstrap() have it.
float target_of(std::uint8_t truth) {
  return truth == kUnknown ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(truth);
}

// The posteriors of all nodes as the scores of so many labels.
metrics::ScoredImages as_labels(const LabelTree& tree, const metrics::ScoredImages& set,
                                const NodeTable<double>& posterior, const NodeTable<std::uint8_t>& truth) {
  metrics::ScoredImages nodes;
  nodes.images = set.images;
  nodes.patients = set.patients;
  for (const Node& node : tree.nodes()) {
    nodes.labels.push_back(node.name);
  }
  nodes.scores.reserve(posterior.values.size());
  nodes.targets.reserve(posterior.values.size());
  for (std::size_t i = 0; i < posterior.images; ++i) {
    for (std::size_t v = 0; v < posterior.nodes; ++v) {
      nodes.scores.push_back(posterior.at(v, i));
      nodes.targets.push_back(target_of(truth.at(v, i)));
    }
  }
  return nodes;
}

NodeEvaluation evaluate_node(const metrics::LabelEvaluation& as_label, std::span<const double> posterior,
                             std::span<const double> raw, std::span<const std::uint8_t> truth) {
  NodeEvaluation node;
  node.images = as_label.images;
  node.positives = as_label.positives;
  node.auroc = as_label.auroc;
  node.average_precision = as_label.average_precision;
  node.brier = as_label.brier;
  node.curve = as_label.curve;
  node.reliability = metrics::equal_width_bins(posterior, truth);
  node.ece = metrics::calibration_error(node.reliability);
  node.ece_equal_mass = metrics::calibration_error(metrics::equal_mass_bins(posterior, truth));
  node.risk = metrics::risk_coverage(posterior, truth);
  std::vector<float> targets(truth.size());
  std::transform(truth.begin(), truth.end(), targets.begin(), target_of);
  node.raw_auroc = metrics::auroc(metrics::rank({raw.data(), raw.size()}, {targets.data(), targets.size()}));
  node.raw_brier = metrics::brier_score(raw, truth);
  node.raw_ece = metrics::calibration_error(metrics::equal_width_bins(raw, truth));
  return node;
}

void evaluate_nodes(TreeEvaluation& result, const metrics::Evaluation& as_labels, const NodeTable<double>& raw,
                    const NodeTable<std::uint8_t>& truth, int threads) {
  result.nodes.resize(truth.nodes);
#pragma omp parallel for schedule(dynamic) num_threads(threads > 0 ? threads : omp_get_max_threads())
  for (std::size_t v = 0; v < truth.nodes; ++v) {
    result.nodes[v] = evaluate_node(as_labels.labels[v], result.posterior.node(v), raw.node(v), truth.node(v));
  }
}

}  // namespace

TreeEvaluation evaluate_tree(Device& device, const Calibration& calibration, const metrics::ScoredImages& set,
                             const std::vector<double>& confidences, const metrics::EvaluationOptions& options,
                             const std::string& source) {
  require_labels(calibration.tree, set.labels, source);
  for (const double t : confidences) {
    check(t > 0 && t <= 1, "the confidence {} makes no sense; it must be above 0 and at most 1", t);
  }
  DeviceTree on_device(device, calibration.tree, calibration.settings.pooling);
  TreeEvaluation result;
  result.tree = calibration.tree;
  result.settings = describe(calibration.settings);
  result.choice = calibration.choice;
  result.posterior = on_device.posteriors(set.scores, calibration.histograms);
  const NodeTable<double> raw = on_device.pool(set.scores);
  const NodeTable<std::uint8_t> truth = on_device.truths(set.targets);
  const metrics::ScoredImages node_set = as_labels(result.tree, set, result.posterior, truth);
  evaluate_nodes(result, metrics::evaluate(node_set, options, source), raw, truth, options.threads);
  DeviceTree::Answering answering = on_device.answering(result.posterior);
  const auto at = [&](std::string name, std::vector<double> thresholds) {
    const Answers answers = answering.at(thresholds);
    result.at.push_back(evaluate_at(result.tree, std::move(name), std::move(thresholds), result.posterior, truth,
                                    answers, options.threads));
  };
  for (const double t : confidences) {
    at(fmt::format("{}", t), std::vector<double>(truth.nodes, t));
  }
  if (calibration.choice) {
    at("chosen", calibration.chosen_thresholds(source));
  }
  if (!result.at.empty()) {
    result.confusion_threshold = result.at.front().name;
    result.confusions =
        worst_confusions(result.tree, result.at.front().thresholds, result.posterior, truth, kConfusions);
  }
  result.together = co_occurrence(result.tree, truth);
  return result;
}

}  // namespace densetree::tree
