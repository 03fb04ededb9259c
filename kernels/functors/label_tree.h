// Arithmetic along a label tree (docs/method.md §3 to §6), compiled by g++ and nvcc. Files that use it are compiled
// without contraction to fused multiply-adds: the same input then gives the same bits on every device.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/core/host_device.h"
#include "kernels/core/tree_types.h"
#include "kernels/core/twofold.h"

namespace densetree {

// ---- Pooling: start, a step for each leaf in ascending order, finish ----------------------------------------------
struct PoolNoisyOr {
  static constexpr double kStart = 1;
  DT_HD static double step(double product, double s) { return product * (1 - s); }
  DT_HD static double finish(double product) { return 1 - product; }
};
struct PoolSum {
  static constexpr double kStart = 0;
  DT_HD static double step(double sum, double s) { return sum + s; }
  DT_HD static double finish(double sum) { return sum < 1 ? sum : 1; }
};
struct PoolMax {
  static constexpr double kStart = 0;
  DT_HD static double step(double most, double s) { return most < s ? s : most; }
  DT_HD static double finish(double most) { return most; }
};

// The truth of one label, and of a node above labels: true if any is, else unknown if any is, else false.
DT_HD inline std::uint8_t truth_of(float target) {
  return target != target ? kUnknown : target > 0.5f ? kTrue : kFalse;
}
DT_HD inline std::uint8_t either(std::uint8_t a, std::uint8_t b) {
  return a == kTrue || b == kTrue ? kTrue : a == kUnknown || b == kUnknown ? kUnknown : kFalse;
}

// ---- Bins ---------------------------------------------------------------------------------------------------------
DT_HD inline std::int32_t uniform_bin(double s, std::int32_t bins) {
  const auto q = static_cast<std::int32_t>(s * bins);
  return q < bins - 1 ? q : bins - 1;
}

// How many of the ascending edges are <= s.
DT_HD inline std::int32_t quantile_bin(double s, const double* edges, std::int32_t count) {
  std::int32_t low = 0, high = count;
  while (low < high) {
    const std::int32_t middle = (low + high) / 2;
    if (edges[middle] <= s) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// The edges of node v; null where bins need none.
DT_HD inline const double* edges_of(const Bins& bins, std::int64_t v) {
  return bins.kind == Binning::kQuantile ? bins.edges + v * (bins.bins - 1) : nullptr;
}

// Of one node: bins − 1 edges (null for kUniform) and how it finds a bin.
DT_HD inline std::int32_t bin_of(double s, Binning kind, const double* edges, std::int32_t bins) {
  return kind == Binning::kUniform ? uniform_bin(s, bins) : quantile_bin(s, edges, bins - 1);
}

// Takes ascending sorted[⌊k·n/bins⌋], k = 1 … bins − 1, without repetitions; infinity behind the last.
template <class Sorted>
DT_HD void take_edges(const Sorted& sorted, std::int64_t n, std::int32_t bins, double* edges) {
  std::int32_t found = 0;
  for (std::int32_t k = 1; k < bins && n > 0; ++k) {
    const double edge = sorted(k * n / bins, k);
    if (found == 0 || edge != edges[found - 1]) {
      edges[found++] = edge;
    }
  }
  for (; found < bins - 1; ++found) {
    edges[found] = HUGE_VAL;
  }
}

// ---- Posterior of the bins of one node, docs/method.md §5 -----------------------------------------------------------
// With n = N⁺ + N⁻, u = n·n⁺[q] + α·N⁺ and v = n·n⁻[q] + α·N⁻, B' cancels:
//   C[q] = π·N⁻·u / (π·N⁻·u + (1 − π)·N⁺·v), or u / (u + v) for π = r and for a node that is always or never true.
// Everything is computed in twice the precision and rounded once, at the end: posteriors that are equal by their
// definition are the same double, of whichever bins they are made, so that rounding neither splits ties nor blocks.
struct NodeCounts {
  const std::uint32_t *positives, *negatives;  // by bin
  double of_true, of_false;                    // N⁺, N⁻
};

// Of one bin, or of a block of bins: Σ w·C and Σ w, where w = u + v is n times the weight n⁺ + n⁻ + α.
struct PooledBins {
  Twofold confidence, weight;

  DT_HD double posterior() const { return weight.high == 0 ? 0.0 : (confidence / weight).high; }
};

DT_HD inline PooledBins pooled_bin(const NodeCounts& counts, double alpha, double prior, std::int32_t b) {
  const double n = counts.of_true + counts.of_false;
  const Twofold u = exact_product(n, counts.positives[b]) + exact_product(alpha, counts.of_true);
  const Twofold v = exact_product(n, counts.negatives[b]) + exact_product(alpha, counts.of_false);
  const Twofold weight = u + v;
  if (prior != prior || counts.of_true == 0 || counts.of_false == 0 || weight.high == 0) {
    return {u, weight};
  }
  const Twofold if_true = exact_product(prior, counts.of_false) * u;
  const Twofold if_false = exact_sum(1, -prior) * Twofold{counts.of_true, 0} * v;
  return {weight * (if_true / (if_true + if_false)), weight};
}

// counts: [2][bins]. in_use: bins that can be reached, B'. prior: π, or NaN for r. Bins that cannot be reached get the
// value of the last that can.
//
// Monotone: the nearest table, in squares weighted by n⁺ + n⁻ + α, that never falls, by pooling a block with the one
// before it that is not below. Blocks then differ, so a run of one value is a block and no list of blocks is kept.
DT_HD inline void posterior_of_node(const std::uint32_t* counts, double prior, std::int32_t bins, std::int32_t in_use,
                                    const PosteriorSettings& settings, double* table) {
  NodeCounts node{counts, counts + bins, 0, 0};
  for (std::int32_t b = 0; b < in_use; ++b) {
    node.of_true += node.positives[b];
    node.of_false += node.negatives[b];
  }
  for (std::int32_t b = 0; b < in_use; ++b) {
    PooledBins block = pooled_bin(node, settings.alpha, prior, b);
    double posterior = block.posterior();
    std::int32_t begin = b;
    while (settings.monotone && begin > 0 && table[begin - 1] >= posterior) {
      const double before = table[begin - 1];
      for (; begin > 0 && table[begin - 1] == before; --begin) {
        const PooledBins bin = pooled_bin(node, settings.alpha, prior, begin - 1);
        block = {block.confidence + bin.confidence, block.weight + bin.weight};
      }
      posterior = block.posterior();
    }
    for (std::int32_t i = begin; i <= b; ++i) {
      table[i] = posterior;
    }
  }
  for (std::int32_t b = in_use; b < bins; ++b) {
    table[b] = table[in_use - 1];
  }
}

// Bins of a node that a score can fall into: all of them, or one more than it has edges.
DT_HD inline std::int32_t bins_in_use(Binning kind, const double* edges, std::int32_t bins) {
  std::int32_t in_use = bins;
  while (kind == Binning::kQuantile && in_use > 1 && edges[in_use - 2] == HUGE_VAL) {
    --in_use;
  }
  return in_use;
}

// ---- Answers for one image; posteriors, thresholds: by node, `stride` apart --------------------------------------
DT_HD inline std::int32_t climb_from(std::int32_t leaf, const std::int32_t* parent, const double* posteriors,
                                     std::int64_t stride, const double* thresholds) {
  std::int32_t v = leaf;
  while (v >= 0 && !(posteriors[v * stride] >= thresholds[v])) {
    v = parent[v];
  }
  return v;
}

// Children come before parents, so one walk settles all nodes: each certain node, and each above one, marks its parent.
DT_HD inline void frontier_of(const TreeTopology& tree, const double* posteriors, std::int64_t stride,
                              const double* thresholds, std::uint8_t* frontier) {
  constexpr std::uint8_t kBelow = 2;
  for (std::int32_t v = 0; v < tree.nodes; ++v) {
    frontier[v * stride] = 0;
  }
  for (std::int32_t v = 0; v < tree.nodes; ++v) {
    const bool below = frontier[v * stride] == kBelow, certain = posteriors[v * stride] >= thresholds[v];
    frontier[v * stride] = certain && !below ? 1 : 0;
    if ((certain || below) && tree.parent[v] >= 0) {
      frontier[tree.parent[v] * stride] = kBelow;
    }
  }
}

}  // namespace densetree
