// The definitions of docs/method.md §8 written down directly, in O(n²), to hold the fast ones against.
// weights[i]: how often image i counts.
#pragma once

#include <cmath>
#include <limits>
#include <set>
#include <vector>

namespace densetree::metrics {

struct PlainMetrics {
  double auroc = 0, average_precision = 0, brier = 0;  // NaN where undefined
};

inline PlainMetrics plain_metrics(const std::vector<double>& scores, const std::vector<float>& targets,
                                  const std::vector<int>& weights) {
  double won = 0, pairs = 0, miss = 0, images = 0, positives = 0;
  std::set<double> thresholds;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(targets[i]) || weights[i] == 0) {
      continue;
    }
    thresholds.insert(scores[i]);
    miss += weights[i] * (scores[i] - targets[i]) * (scores[i] - targets[i]);
    images += weights[i];
    positives += weights[i] * targets[i];
    for (std::size_t j = 0; j < scores.size(); ++j) {
      if (targets[i] == 1 && targets[j] == 0) {
        const double weight = static_cast<double>(weights[i]) * weights[j];
        won += weight * (scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0);
        pairs += weight;
      }
    }
  }
  double precision_sum = 0, recall_before = 0;
  for (auto threshold = thresholds.rbegin(); threshold != thresholds.rend(); ++threshold) {
    double called = 0, found = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (!std::isnan(targets[i]) && scores[i] >= *threshold) {
        called += weights[i];
        found += weights[i] * targets[i];
      }
    }
    precision_sum += (found - recall_before) * found / called;
    recall_before = found;
  }
  const double none = std::numeric_limits<double>::quiet_NaN();
  return {pairs > 0 ? won / pairs : none, positives > 0 ? precision_sum / positives : none,
          images > 0 ? miss / images : none};
}

}  // namespace densetree::metrics
