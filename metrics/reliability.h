// Whether probabilities mean what they say, for one node (docs/method.md §8). Images with kUnknown are left out;
// what is undefined is nullopt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace densetree::metrics {

// One bar of a reliability diagram.
struct ReliabilityBin {
  std::int64_t images = 0, positives = 0;
  double mean_probability = 0;
};
// 15 bins of equal width on P(y=1): bin = min(⌊15p⌋, 14). Empty bins stay.
std::vector<ReliabilityBin> equal_width_bins(std::span<const double> probability, std::span<const std::uint8_t> truth,
                                             std::size_t bins = 15);
// Bins that hold as nearly equal numbers of images as ties allow: images by rising probability, cut at ⌊k·n/bins⌋;
// images of equal probability stay together, in the bin where the first of them falls. No empty bins.
std::vector<ReliabilityBin> equal_mass_bins(std::span<const double> probability, std::span<const std::uint8_t> truth,
                                            std::size_t bins = 15);
// Σ over bins of (images/N)·|positives/images − mean probability|; nullopt without images.
std::optional<double> calibration_error(std::span<const ReliabilityBin> bins);
// Mean of (p − y)².
std::optional<double> brier_score(std::span<const double> probability, std::span<const std::uint8_t> truth);

// Selective prediction: the answer is p >= 1/2, its confidence max(p, 1−p); images are kept from the most confident
// on. Images of equal confidence count as one block: within it errors are spread evenly.
struct RiskCoverage {
  struct Point {
    double coverage = 0;  // share of images kept
    double risk = 0;      // share of wrong answers among them
  };
  std::vector<Point> curve;  // one point at the end of each block
  double aurc = 0;           // mean over i of the error among the i most confident
  double augrc = 0;          // mean over i of (errors among the i most confident)/n
};
std::optional<RiskCoverage> risk_coverage(std::span<const double> probability, std::span<const std::uint8_t> truth);

}  // namespace densetree::metrics
