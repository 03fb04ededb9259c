// How well scores order and fit images, for one label: AUROC, average precision, Brier score and the two curves
// (docs/method.md §8). A missing target (NaN) leaves its image out. What is undefined is nullopt, never a number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace densetree::metrics {

// A matrix (images, labels) seen one label at a time: element i lies at data[i·stride].
template <class T>
struct Column {
  const T* data = nullptr;
  std::size_t size = 0, stride = 1;
  const T& operator[](std::size_t i) const { return data[i * stride]; }
};

// Images with a target, by falling score, cut into steps at the positives. All of a step's images that share a score
// with one of its positives are `tied` or `positives`; the negatives before them have higher scores than that.
// Everything below, with any integer weights, follows from one walk over the steps.
struct Ranking {
  struct Step {
    std::uint32_t negatives = 0;  // scores above the step's positives, below the last step's
    std::uint32_t tied = 0;       // negatives with the score of the positives
    std::uint32_t positives = 0;  // 0 only in a last step, for the negatives below all positives
    double score = 0;             // of the positives
  };
  std::vector<std::uint32_t> images;  // step by step, in each: negatives, tied, positives; else by rising number
  std::vector<Step> steps;
  std::int64_t positives = 0, negatives = 0;
};

// More would overflow the 32-bit counts of a weighted walk.
inline constexpr std::size_t kMaxRankedImages = std::size_t{1} << 24;

// Targets are 0, 1 or NaN. At most kMaxRankedImages. Throws Error on a score that is NaN: it has no rank.
Ranking rank(Column<double> scores, Column<float> targets);

// P(score of a positive > score of a negative) + P(equal)/2, by midranks; nullopt where a class is missing.
std::optional<double> auroc(const Ranking& ranking);
// Σ over distinct scores of (step in recall)·precision; nullopt where there is no positive.
std::optional<double> average_precision(const Ranking& ranking);
// Mean of (score − target)²; nullopt where no image has a target.
std::optional<double> brier(Column<double> scores, Column<float> targets);

// Points reached by calling an image positive when score >= threshold, thresholds falling.
struct CurvePoint {
  double threshold = std::numeric_limits<double>::infinity();
  std::int64_t true_positives = 0, false_positives = 0;
};
// At most `limit` (>= 3) points of the whole curve, spread evenly along it: none is invented, and the first (nothing
// is called positive) and the last (everything is) are always there.
std::vector<CurvePoint> curve(const Ranking& ranking, Column<double> scores, std::size_t limit);

}  // namespace densetree::metrics
