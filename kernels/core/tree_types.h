// What label trees, histograms and posteriors are made of.
#pragma once

#include <cstdint>

#include "kernels/core/names.h"

namespace densetree {

// A tree in device memory. leaf_begin[v] … leaf_begin[v+1] delimit the leaves below node v in `leaf`.
struct TreeTopology {
  std::int32_t leaves = 0, nodes = 0;
  const std::int32_t* parent = nullptr;      // [nodes], −1 at the root
  const std::int32_t* leaf_begin = nullptr;  // [nodes + 1]
  const std::int32_t* leaf = nullptr;
};

enum class Pooling : std::uint8_t {
  kNoisyOr,  // 1 − Π(1 − s)
  kSum,      // Σ s, clipped to [0, 1]
  kMax,
};
constexpr Names<Pooling, 3> names(Pooling) {
  return {"pooling", {{Pooling::kNoisyOr, "noisy-or"}, {Pooling::kSum, "sum"}, {Pooling::kMax, "max"}}};
}

enum class Binning : std::uint8_t { kUniform, kQuantile };
constexpr Names<Binning, 2> names(Binning) {
  return {"binning", {{Binning::kQuantile, "quantile"}, {Binning::kUniform, "uniform"}}};
}

inline constexpr std::uint8_t kFalse = 0, kTrue = 1, kUnknown = 2;
inline constexpr std::int32_t kMaxBins = 1024;

// How scores fall into bins. kUniform: min(⌊s·bins⌋, bins − 1). kQuantile: the number of edges <= s; a node with fewer
// distinct edges than bins − 1 has infinities behind them.
struct Bins {
  Binning kind = Binning::kQuantile;
  std::int32_t bins = 50;         // at most kMaxBins
  const double* edges = nullptr;  // [nodes][bins − 1], ascending; kQuantile only
};
// Throws Error when there are none or more than kMaxBins.
void require_bins(const Bins& bins);

// How counts become posteriors.
struct PosteriorSettings {
  double alpha = 1;      // smoothing, in images per bin
  bool monotone = true;  // the posterior never falls as the score rises
};

}  // namespace densetree
