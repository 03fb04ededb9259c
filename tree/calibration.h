// Turns the scores of a classifier into posteriors along a label tree: histograms of each node's score, and from them
// P(node true | score) (docs/method.md §3 to §5). A calibration is kept as one JSON file that holds all it needs:
// labels, tree, settings, counts, posteriors, and thresholds where some were chosen.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/io/settings.h"
#include "metrics/score_table.h"
#include "tree/device_tree.h"
#include "tree/label_tree.h"
#include "tree/thresholds.h"

namespace densetree::tree {

enum class Prior : std::uint8_t { kData, kEqual };
constexpr Names<Prior, 2> names(Prior) {
  return {"prior", {{Prior::kData, "data"}, {Prior::kEqual, "equal"}}};
}

struct CalibrationSettings {
  Binning binning = Binning::kQuantile;
  std::int32_t bins = 50;
  double alpha = 1;
  Prior prior = Prior::kData;
  std::map<std::string, double> node_priors = {};  // by node, in (0, 1); they win over `prior`
  Pooling pooling = Pooling::kNoisyOr;
  bool monotone = true;

  static void settings(auto& o, auto&& f) {
    f(o.binning, Setting{"binning", "bins of equal numbers of images (quantile) or of equal width"});
    f(o.bins, Setting{"bins", "bins of each histogram", between(1, kMaxBins)});
    f(o.alpha, Setting{"alpha", "smoothing, in images per bin", between(0, 1e9)});
    f(o.prior, Setting{"prior", "data (how often a node is true) or equal (1/2)"});
    f(o.pooling, Setting{"pooling", "of leaf scores: noisy-or, sum or max"});
    f(o.monotone, Setting{"monotone", "confidence never falls as the score rises"});
  }

  // Davis et al. 2019: 10 uniform bins, sums, no smoothing, the data's prior, as it comes.
  static CalibrationSettings paper();
  bool operator==(const CalibrationSettings&) const = default;
};

// Name and value of every setting, to be shown.
std::vector<std::pair<std::string, std::string>> describe(const CalibrationSettings& settings);

struct Calibration {
  LabelTree tree;
  CalibrationSettings settings;
  Histograms histograms;
  std::int64_t images = 0, patients = 0;  // it was fitted on
  std::string source;                     // where their scores came from
  std::optional<ThresholdChoice> choice;

  // P(node | score) for scores (N, L): (V, N).
  NodeTable<double> posteriors(Device& device, std::span<const double> scores) const;
  // The chosen thresholds, infinity where none can be certified; Error, opened by `name`, where none were chosen.
  std::vector<double> chosen_thresholds(const std::string& name) const;
};

// Throws Error, opened by `source`, on values that make no sense, labels that are not the tree's, bins outside
// 1 … kMaxBins, a negative α, a prior outside (0, 1) or of an unknown node.
Calibration fit(Device& device, const LabelTree& tree, const CalibrationSettings& settings,
                const metrics::ScoredImages& set, const std::string& source);

// Fits on part of the patients and chooses thresholds on one image of each other patient (docs/method.md §7).
// `share` of the patients choose, drawn with the seed; Error when that leaves one side without patients.
Calibration fit_and_choose(Device& device, const LabelTree& tree, const CalibrationSettings& settings,
                           const metrics::ScoredImages& set, const std::string& source, const ThresholdRequest& request,
                           double share, std::uint64_t seed, int threads);

// The images at these places, in that order.
metrics::ScoredImages select(const metrics::ScoredImages& set, std::span<const std::uint32_t> chosen);

std::string calibration_json(const Calibration& calibration);
// Throws Error naming the file and the entry on anything calibration_json() would not have written.
Calibration read_calibration(const std::filesystem::path& path);

// For a terminal: the tree with each node's images, share of true ones, and threshold.
std::string calibration_table(const Calibration& calibration);

}  // namespace densetree::tree
