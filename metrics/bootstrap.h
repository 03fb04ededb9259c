// 95 % intervals by resampling patients. Images of one patient are not independent, so a draw takes as many patients
// as there are, with replacement, and all images of each.
//
// Draw k is a pure function of the seed and k: the intervals are the same bits for any number of threads.
//
// How it is fast. A draw is an integer weight per patient, so nothing is sorted again: each label is ranked once,
// and a draw is one walk along the ranking. kLanes draws walk together: their weights lie side by side as bytes, and
// one load and one add serve them all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "metrics/ranking.h"

namespace densetree::metrics {

// Draws that are computed side by side.
inline constexpr std::size_t kLanes = 32;

// Weights of kLanes draws: element [patient·kLanes + lane] says how often the draw took the patient.
// Lane l of block b is draw b·kLanes + l.
std::vector<std::uint8_t> draw_weights(std::uint64_t seed, std::size_t block, std::size_t patients);

// What one draw gives for one label; NaN where undefined.
struct DrawMetrics {
  double auroc = 0, average_precision = 0, brier = 0;
};

// Metrics of every draw and label: result[draw·labels + label].
// scores and targets: (images, labels). patients: for each image a number below patient_count.
// rankings: one per label. threads 0: all cores.
std::vector<DrawMetrics> bootstrap(std::span<const Ranking> rankings, std::span<const double> scores,
                                   std::span<const float> targets, std::span<const std::uint32_t> patients,
                                   std::size_t patient_count, std::size_t draws, std::uint64_t seed, int threads = 0);

struct Interval {
  double low = 0, high = 0;
  bool operator==(const Interval&) const = default;
};
// The 2.5th and 97.5th percentile, linear between neighbours; NaN values are left out. nullopt where none is left.
std::optional<Interval> percentile_interval(std::vector<double> values);

}  // namespace densetree::metrics
