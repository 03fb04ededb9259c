// Evaluates calibrated posteriors along the label tree: every node's discrimination and calibration, and what each
// threshold does to the answers (docs/method.md §8). `densetree eval --calibration` adds it to metrics.json as `nodes`,
// `confidence`, `confusions` and `thresholds`.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "metrics/evaluation.h"
#include "metrics/reliability.h"
#include "tree/calibration.h"
#include "tree/confidence.h"
#include "tree/label_tree.h"
#include "tree/thresholds.h"

namespace densetree::tree {

struct NodeEvaluation {
  std::int64_t images = 0, positives = 0;             // with known truth
  metrics::Estimate auroc, average_precision, brier;  // of the posterior
  std::optional<double> ece, ece_equal_mass;
  std::vector<metrics::ReliabilityBin> reliability;  // 15 bins of equal width
  std::optional<metrics::RiskCoverage> risk;
  std::optional<double> raw_auroc, raw_brier, raw_ece;  // of the pooled score before calibration
  std::vector<metrics::CurvePoint> curve;               // of the posterior
};

struct TreeEvaluation {
  LabelTree tree;
  std::vector<std::pair<std::string, std::string>> settings;  // of the calibration, to be shown: name, value
  std::vector<NodeEvaluation> nodes;                          // V
  std::vector<ConfidenceAtT> at;                              // by the thresholds asked for, in their order
  std::optional<ThresholdChoice> choice;                      // thresholds the calibration file holds
  std::string confusion_threshold;                            // name of the entry of `at` they were counted at
  std::vector<Confusion> confusions;
  std::vector<std::int64_t> together;  // (L, L), co_occurrence()
  NodeTable<double> posterior;         // (V, N)
};

// Evaluates `set` at each T of `confidences`, in (0, 1], and at the calibration's chosen thresholds where it has some.
// Throws Error, opened by `source`, when the set's labels are not the calibration's.
TreeEvaluation evaluate_tree(Device& device, const Calibration& calibration, const metrics::ScoredImages& set,
                             const std::vector<double>& confidences, const metrics::EvaluationOptions& options,
                             const std::string& source);

}  // namespace densetree::tree
