// A random set of scored images: coarse scores, so that many are tied, and some truths missing.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <string>

#include "kernels/core/philox.h"
#include "metrics/score_table.h"

namespace densetree::metrics {

struct RandomSet {
  std::size_t images = 200, labels = 2;
  std::uint32_t patients = 60;
  std::uint32_t levels = 20;  // distinct scores
  float prevalence = 0.2f, missing = 0.1f;
};

inline ScoredImages random_set(std::uint64_t seed, const RandomSet& shape) {
  RandomStream random(seed, RandomUse::kSynth);
  ScoredImages set;
  for (std::size_t label = 0; label < shape.labels; ++label) {
    set.labels.push_back(fmt::format("L{}", label));
  }
  for (std::size_t image = 0; image < shape.images; ++image) {
    set.images.push_back(fmt::format("image{}.png", image));
    set.patients.push_back(1000 + 7 * std::int64_t{random.below(shape.patients)});
    for (std::size_t label = 0; label < shape.labels; ++label) {
      const bool positive = random.uniform() < shape.prevalence;
      const float score = 0.7f * random.uniform() + (positive ? 0.3f : 0.0f);
      set.scores.push_back(std::floor(static_cast<double>(score) * shape.levels) / shape.levels);
      const bool unknown = random.uniform() < shape.missing;
      set.targets.push_back(unknown ? std::numeric_limits<float>::quiet_NaN() : positive ? 1.0f : 0.0f);
    }
  }
  return set;
}

template <class T>
std::vector<T> column_of(const std::vector<T>& matrix, std::size_t label, std::size_t labels) {
  std::vector<T> values;
  for (std::size_t i = label; i < matrix.size(); i += labels) {
    values.push_back(matrix[i]);
  }
  return values;
}

}  // namespace densetree::metrics
