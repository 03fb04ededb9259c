// Evaluates calibrated posteriors along the label tree: every node's discrimination and calibration, and what each
// threshold does to the answers (METHOD.md §8). `densetree eval --calibration` adds it to metrics.json as `nodes`,
// `confidence`, `confusions` and `thresholds`.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tree/calibration.h"
#include "tree/confidence.h"
#include "tree/evaluation.h"
#include "tree/label_tree.h"
#include "tree/reliability.h"
#include "tree/thresholds.h"

namespace densetree::tree {

struct NodeEvaluation {
  std::int64_t images = 0, positives = 0;    // with known truth
  Estimate auroc, average_precision, brier;  // of the posterior
  std::optional<double> ece, ece_equal_mass;
  std::vector<ReliabilityBin> reliability;  // 15 bins of equal width
  std::optional<RiskCoverage> risk;
  std::optional<double> raw_auroc, raw_brier, raw_ece;  // of the pooled score before calibration
  std::vector<CurvePoint> curve;                        // of the posterior
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
TreeEvaluation evaluate_tree(Device& device, const Calibration& calibration, const ScoredImages& set,
                             const std::vector<double>& confidences, const EvaluationOptions& options,
                             const std::string& source);

std::string text_table(const TreeEvaluation& evaluation);  // for a terminal

}  // namespace densetree::tree
