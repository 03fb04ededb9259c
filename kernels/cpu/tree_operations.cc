// Tree operations on the CPU. Scores are found in their bins by the upper bits of their floating-point
// representation: a table over these narrows a score down to one or two edges, and the order statistics that quantile
// edges are, and the histogram over them, need two passes over the scores instead of a sort.
#include "kernels/tree_operations.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/functors/label_tree.h"

namespace densetree {
namespace {

// Buckets of scores in [0, 1]: below 2^−24, then each factor of two cut into 512. Monotone in the score.
constexpr int kMantissaBits = 9, kShift = 52 - kMantissaBits;
constexpr std::uint64_t kFirst = std::bit_cast<std::uint64_t>(0x1p-24) >> kShift;
constexpr std::uint64_t kBuckets = (std::bit_cast<std::uint64_t>(1.0) >> kShift) - kFirst + 2;

std::size_t bucket_of(double s) {
  const std::uint64_t high = std::bit_cast<std::uint64_t>(s + 0.0) >> kShift;  // + 0.0: a zero without sign
  return high < kFirst ? 0 : static_cast<std::size_t>(high - kFirst + 1);
}

// How scores of one node find their bin.
class BinTable {
 public:
  BinTable(const Bins& bins, const double* edges) : edges_(edges), bins_(bins.bins), kind_(bins.kind) {
    if (kind_ == Binning::kUniform) {
      return;
    }
    // lowest_[k]: edges that lie in buckets before k; no score of bucket k falls into a lower bin.
    std::int32_t edge = 0;
    for (std::size_t k = 0; k < kBuckets; ++k) {
      lowest_[k] = static_cast<std::uint16_t>(edge);
      while (edge < bins_ - 1 && edges_[edge] <= 1 && bucket_of(edges_[edge]) == k) {
        ++edge;
      }
    }
  }

  std::int32_t operator()(double s) const {
    if (kind_ == Binning::kUniform) {
      return uniform_bin(s, bins_);
    }
    std::int32_t q = lowest_[bucket_of(s)];
    while (q < bins_ - 1 && edges_[q] <= s) {
      ++q;
    }
    return q;
  }

 private:
  const double* edges_;
  std::int32_t bins_;
  Binning kind_;
  std::array<std::uint16_t, kBuckets> lowest_;
};

// Quantile edges and the histogram over them for one node, in two passes over its scores. The first counts buckets.
// Most of these lie between two edges and fall into a bin whole; the second pass picks out the scores of the others.
class QuantileHistogram {
 public:
  // Room for as many scores as there are images.
  explicit QuantileHistogram(double* room) : room_(room) {}

  // edges[bins − 1], counts[2][bins].
  void make(const double* scores, const std::uint8_t* truths, std::int64_t images, std::int32_t bins, double* edges,
            std::uint32_t* counts) {
    count(scores, truths, images);
    mark(bins);
    keep(scores, truths, images);
    take_edges([&](std::int64_t, std::int32_t k) { return ranked(k); }, known_, bins, edges);
    fill(bins, edges, counts);
  }

 private:
  static constexpr std::uint32_t kWhole = ~std::uint32_t{0};
  struct Rank {
    std::uint32_t begin, size;  // of its bucket's scores in room_
    std::int64_t within;
  };

  void count(const double* scores, const std::uint8_t* truths, std::int64_t images) {
    of_bucket_.fill({});
    for (std::int64_t i = 0; i < images; ++i) {
      ++of_bucket_[bucket_of(scores[i])][truths[i]];
    }
    known_ = 0;
    for (const Counts& bucket : of_bucket_) {
      known_ += bucket[kTrue] + bucket[kFalse];
    }
  }

  // Finds the bucket of each rank ⌊k·n/bins⌋, and where its scores will be kept: true ones first, then false ones.
  void mark(std::int32_t bins) {
    where_.fill({kWhole, kWhole});
    std::int64_t before = 0;
    std::uint32_t room = 0;
    std::int32_t k = 1;
    for (std::size_t bucket = 0; bucket < kBuckets && k < bins; ++bucket) {
      const std::uint32_t positives = of_bucket_[bucket][kTrue], size = positives + of_bucket_[bucket][kFalse];
      for (; k < bins && k * known_ / bins < before + size; ++k) {
        if (where_[bucket][kFalse] == kWhole) {
          where_[bucket][kTrue] = room;
          where_[bucket][kFalse] = room + positives;
          room += size;
        }
        ranks_[k] = {where_[bucket][kTrue], size, k * known_ / bins - before};
      }
      before += size;
    }
  }

  void keep(const double* scores, const std::uint8_t* truths, std::int64_t images) {
    for (std::int64_t i = 0; i < images; ++i) {
      Places& where = where_[bucket_of(scores[i])];
      if (where[kFalse] != kWhole && truths[i] != kUnknown) {
        room_[where[truths[i]]++] = scores[i];
      }
    }
  }

  // The score of rank ⌊k·n/bins⌋. The scores of its bucket stay apart by truth, so they are sorted in a copy.
  double ranked(std::int32_t k) {
    const Rank& rank = ranks_[k];
    if (k == 1 || rank.begin != ranks_[k - 1].begin) {
      sorted_.assign(room_ + rank.begin, room_ + rank.begin + rank.size);
      std::sort(sorted_.begin(), sorted_.end());
    }
    return sorted_[static_cast<std::size_t>(rank.within)];
  }

  void fill(std::int32_t bins, const double* edges, std::uint32_t* counts) const {
    std::fill_n(counts, 2 * bins, 0u);
    std::uint32_t *positives = counts, *negatives = counts + bins;
    std::int32_t edge = 0;  // the first edge that is above the bucket or in it
    for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
      const std::uint32_t ones = of_bucket_[bucket][kTrue], zeros = of_bucket_[bucket][kFalse];
      if (where_[bucket][kFalse] == kWhole) {
        positives[edge] += ones;
        negatives[edge] += zeros;
        continue;
      }
      // keep() moved the places on: they stand behind the last score of their truth.
      const double* end_of_ones = room_ + where_[bucket][kTrue];
      const double* end_of_zeros = room_ + where_[bucket][kFalse];
      for (const double* s = end_of_ones - ones; s != end_of_ones; ++s) {
        ++positives[quantile_bin(*s, edges, bins - 1)];
      }
      for (const double* s = end_of_zeros - zeros; s != end_of_zeros; ++s) {
        ++negatives[quantile_bin(*s, edges, bins - 1)];
      }
      while (edge < bins - 1 && edges[edge] <= 1 && bucket_of(edges[edge]) <= bucket) {
        ++edge;
      }
    }
  }

  using Counts = std::array<std::uint32_t, 3>;  // of false, true and unknown truth
  using Places = std::array<std::uint32_t, 2>;  // of the next score, by truth
  double* room_;
  std::int64_t known_ = 0;
  std::array<Counts, kBuckets> of_bucket_;
  std::array<Places, kBuckets> where_;
  std::array<Rank, kMaxBins> ranks_;
  std::vector<double> sorted_;
};

class CpuTreeOperations final : public TreeOperations {
 public:
  explicit CpuTreeOperations(int threads) : threads_(threads) {}

  bool reads_host_memory() const override { return true; }

  void pool_scores(const TreeTopology& tree, Pooling pooling, const double* scores, std::int64_t images,
                   double* node_scores) override {
    switch (pooling) {
      case Pooling::kNoisyOr:
        return pool<PoolNoisyOr>(tree, scores, images, node_scores);
      case Pooling::kSum:
        return pool<PoolSum>(tree, scores, images, node_scores);
      case Pooling::kMax:
        return pool<PoolMax>(tree, scores, images, node_scores);
    }
  }

  void pool_truths(const TreeTopology& tree, const float* targets, std::int64_t images, std::uint8_t* truths) override {
    for_blocks(images, [&](std::int64_t begin, std::int64_t end) {
      for (std::int32_t v = 0; v < tree.leaves; ++v) {
        for (std::int64_t i = begin; i < end; ++i) {
          truths[v * images + i] = truth_of(targets[i * tree.leaves + v]);
        }
      }
      for (std::int32_t v = tree.leaves; v < tree.nodes; ++v) {
        std::uint8_t* to = truths + v * images;
        std::fill(to + begin, to + end, kFalse);
        for (std::int32_t at = tree.leaf_begin[v]; at < tree.leaf_begin[v + 1]; ++at) {
          const std::uint8_t* leaf = truths + tree.leaf[at] * images;
          for (std::int64_t i = begin; i < end; ++i) {
            to[i] = either(to[i], leaf[i]);
          }
        }
      }
    });
  }

  std::size_t quantile_bytes(std::int32_t, std::int64_t images) const override {
    return static_cast<std::size_t>(threads_) * static_cast<std::size_t>(images) * sizeof(double);
  }

  void quantile_histogram(const double* node_scores, const std::uint8_t* truths, std::int32_t nodes,
                          std::int64_t images, std::int32_t bins, double* edges, std::uint32_t* counts,
                          void* workspace) override {
    require_bins({.kind = Binning::kQuantile, .bins = bins, .edges = edges});
    for_nodes(nodes, [&](std::int32_t v) {
      QuantileHistogram histogram(static_cast<double*>(workspace) + omp_get_thread_num() * images);
      histogram.make(node_scores + v * images, truths + v * images, images, bins, edges + v * (bins - 1),
                     counts + v * 2 * bins);
    });
  }

  void histogram(const double* node_scores, const std::uint8_t* truths, std::int32_t nodes, std::int64_t images,
                 const Bins& bins, std::uint32_t* counts) override {
    require_bins(bins);
    for_nodes(nodes, [&](std::int32_t v) {
      const BinTable bin(bins, edges_of(bins, v));
      std::array<std::uint32_t, 3 * kMaxBins> found;  // of false, true and unknown truth
      std::fill_n(found.begin(), 3 * bins.bins, 0u);
      for (std::int64_t i = v * images; i < (v + 1) * images; ++i) {
        const std::int32_t slot = truths[i] * bins.bins + bin(node_scores[i]);
        ++found[static_cast<std::size_t>(slot)];
      }
      std::uint32_t* to = counts + v * 2 * bins.bins;
      std::copy_n(found.begin() + kTrue * bins.bins, bins.bins, to);
      std::copy_n(found.begin() + kFalse * bins.bins, bins.bins, to + bins.bins);
    });
  }

  void posterior_table(const std::uint32_t* counts, const double* priors, std::int32_t nodes, const Bins& bins,
                       const PosteriorSettings& settings, double* table) override {
    require_bins(bins);
    for_nodes(nodes, [&](std::int32_t v) {
      const std::int32_t in_use = bins_in_use(bins.kind, edges_of(bins, v), bins.bins);
      posterior_of_node(counts + v * 2 * bins.bins, priors[v], bins.bins, in_use, settings, table + v * bins.bins);
    });
  }

  void posteriors(const double* node_scores, std::int32_t nodes, std::int64_t images, const Bins& bins,
                  const double* table, double* posteriors) override {
    require_bins(bins);
    for_nodes(nodes, [&](std::int32_t v) {
      const BinTable bin(bins, edges_of(bins, v));
      for (std::int64_t i = v * images; i < (v + 1) * images; ++i) {
        posteriors[i] = table[v * bins.bins + bin(node_scores[i])];
      }
    });
  }

  void climb(const TreeTopology& tree, const double* posteriors, const double* thresholds, std::int64_t images,
             std::int32_t* climb) override {
    for_blocks(images, [&](std::int64_t begin, std::int64_t end) {
      for (std::int32_t leaf = 0; leaf < tree.leaves; ++leaf) {
        for (std::int64_t i = begin; i < end; ++i) {
          climb[leaf * images + i] = climb_from(leaf, tree.parent, posteriors + i, images, thresholds);
        }
      }
    });
  }

  void frontier(const TreeTopology& tree, const double* posteriors, const double* thresholds, std::int64_t images,
                std::uint8_t* frontier) override {
    for_blocks(images, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        frontier_of(tree, posteriors + i, images, thresholds, frontier + i);
      }
    });
  }

 private:
  template <class Work>
  void for_nodes(std::int32_t nodes, Work work) const {
#pragma omp parallel for schedule(dynamic) num_threads(threads_)
    for (std::int32_t v = 0; v < nodes; ++v) {
      work(v);
    }
  }

  // Blocks whose values for all nodes stay in the cache.
  template <class Work>
  void for_blocks(std::int64_t images, Work work) const {
    constexpr std::int64_t kBlock = 512;
#pragma omp parallel for schedule(static) num_threads(threads_)
    for (std::int64_t begin = 0; begin < images; begin += kBlock) {
      work(begin, std::min(begin + kBlock, images));
    }
  }

  template <class Pool>
  void pool(const TreeTopology& tree, const double* scores, std::int64_t images, double* node_scores) const {
    for_blocks(images, [&](std::int64_t begin, std::int64_t end) {
      for (std::int32_t v = 0; v < tree.leaves; ++v) {
        for (std::int64_t i = begin; i < end; ++i) {
          node_scores[v * images + i] = scores[i * tree.leaves + v];
        }
      }
      for (std::int32_t v = tree.leaves; v < tree.nodes; ++v) {
        double* to = node_scores + v * images;
        std::fill(to + begin, to + end, Pool::kStart);
        for (std::int32_t at = tree.leaf_begin[v]; at < tree.leaf_begin[v + 1]; ++at) {
          const double* leaf = node_scores + tree.leaf[at] * images;
          for (std::int64_t i = begin; i < end; ++i) {
            to[i] = Pool::step(to[i], leaf[i]);
          }
        }
        std::transform(to + begin, to + end, to + begin, Pool::finish);
      }
    });
  }

  int threads_;
};

}  // namespace

std::unique_ptr<TreeOperations> CpuDevice::make_tree_operations() {
  return std::make_unique<CpuTreeOperations>(team_.threads);
}

}  // namespace densetree
