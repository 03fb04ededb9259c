// What a device computes along a label tree, from the scores of a classifier to answers (docs/method.md §3 to §6): the
// second half of the seam of kernels/device.h, whose conventions hold here too. Device::make_tree_operations() gives
// it; it works on the device's stream and must not outlive the device.
//
// Every table is (V, N) in device memory: a value per node and image, all images of a node side by side. Nodes are
// numbered leaves first, children before parents, the root last. Counts are integers and arithmetic is plain IEEE
// double without contraction, so the same input gives the same bits on every device and any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/tree_types.h"

namespace densetree {

class TreeOperations {
 public:
  virtual ~TreeOperations() = default;

  // Whether the device works in host memory, so that inputs need not be uploaded.
  virtual bool reads_host_memory() const = 0;

  // scores: (N, L), as a classifier gives them. node_scores: (V, N).
  virtual void pool_scores(const TreeTopology& tree, Pooling pooling, const double* scores, std::int64_t images,
                           double* node_scores) = 0;
  // targets: (N, L) of 1, 0 or NaN (missing). truths: (V, N): kTrue where a leaf below is true, kFalse where all are
  // false, else kUnknown.
  virtual void pool_truths(const TreeTopology& tree, const float* targets, std::int64_t images,
                           std::uint8_t* truths) = 0;

  // counts: [nodes][2][bins], images in each bin whose node is true, then false. Overwrites.
  virtual void histogram(const double* node_scores, const std::uint8_t* truths, std::int32_t nodes, std::int64_t images,
                         const Bins& bins, std::uint32_t* counts) = 0;
  // The same with quantile bins made of these scores: each node's edges are, with the n scores of its images of known
  // truth ascending, sorted[⌊k·n/bins⌋] for k = 1 … bins − 1 without repetitions. edges: [nodes][bins − 1], infinity
  // behind the last.
  virtual std::size_t quantile_bytes(std::int32_t nodes, std::int64_t images) const = 0;
  virtual void quantile_histogram(const double* node_scores, const std::uint8_t* truths, std::int32_t nodes,
                                  std::int64_t images, std::int32_t bins, double* edges, std::uint32_t* counts,
                                  void* workspace) = 0;

  // table: [nodes][bins], the posterior of each bin: docs/method.md §5 with the prior π[node], or r where π is NaN.
  virtual void posterior_table(const std::uint32_t* counts, const double* priors, std::int32_t nodes, const Bins& bins,
                               const PosteriorSettings& settings, double* table) = 0;

  // posteriors[v][i] = table[v][bin of node_scores[v][i]].
  virtual void posteriors(const double* node_scores, std::int32_t nodes, std::int64_t images, const Bins& bins,
                          const double* table, double* posteriors) = 0;

  // climb: (L, N), the first node from the leaf to the root with posterior >= threshold[node]; −1 where there is none.
  virtual void climb(const TreeTopology& tree, const double* posteriors, const double* thresholds, std::int64_t images,
                     std::int32_t* climb) = 0;
  // frontier: (V, N), 1 where posterior >= threshold and no descendant's is.
  virtual void frontier(const TreeTopology& tree, const double* posteriors, const double* thresholds,
                        std::int64_t images, std::uint8_t* frontier) = 0;
};

}  // namespace densetree
