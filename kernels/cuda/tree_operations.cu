// Tree operations on CUDA: a thread per image or per node and image; histograms in shared memory with integer
// atomics, whose order cannot matter; order statistics by CUB's radix sort.
#include "kernels/tree_operations.h"

#include <cub/block/block_reduce.cuh>
#include <cub/device/device_radix_sort.cuh>

#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/functors/label_tree.h"

namespace densetree {
namespace {

using namespace cuda;

template <class Pool>
__global__ void pool_scores_kernel(TreeTopology tree, const double* scores, std::int64_t images, double* node_scores) {
  for (std::int64_t i = first_index(); i < images; i += index_step()) {
    const double* mine = scores + i * tree.leaves;
    for (std::int32_t v = 0; v < tree.leaves; ++v) {
      node_scores[v * images + i] = mine[v];
    }
    for (std::int32_t v = tree.leaves; v < tree.nodes; ++v) {
      double pooled = Pool::kStart;
      for (std::int32_t at = tree.leaf_begin[v]; at < tree.leaf_begin[v + 1]; ++at) {
        pooled = Pool::step(pooled, mine[tree.leaf[at]]);
      }
      node_scores[v * images + i] = Pool::finish(pooled);
    }
  }
}

__global__ void pool_truths_kernel(TreeTopology tree, const float* targets, std::int64_t images, std::uint8_t* truths) {
  for (std::int64_t i = first_index(); i < images; i += index_step()) {
    const float* mine = targets + i * tree.leaves;
    for (std::int32_t v = 0; v < tree.nodes; ++v) {
      std::uint8_t truth = kFalse;
      for (std::int32_t at = tree.leaf_begin[v]; at < tree.leaf_begin[v + 1]; ++at) {
        truth = either(truth, truth_of(mine[tree.leaf[at]]));
      }
      truths[v * images + i] = truth;
    }
  }
}

// Scores of known truth, infinity for the others, and how many are known.
__global__ void known_scores_kernel(const double* scores, const std::uint8_t* truths, std::int64_t images, double* keys,
                                    unsigned long long* known) {
  using Count = cub::BlockReduce<unsigned long long, kThreads>;
  __shared__ typename Count::TempStorage temporary;
  unsigned long long mine = 0;
  for (std::int64_t i = first_index(); i < images; i += index_step()) {
    const bool is_known = truths[i] != kUnknown;
    keys[i] = is_known ? scores[i] : HUGE_VAL;
    mine += is_known ? 1 : 0;
  }
  const unsigned long long all = Count(temporary).Sum(mine);
  if (threadIdx.x == 0) {
    atomicAdd(known, all);
  }
}

// One thread: each edge depends on the one before it.
__global__ void take_edges_kernel(const double* sorted, const unsigned long long* known, std::int32_t bins,
                                  double* edges) {
  take_edges([&](std::int64_t rank, std::int32_t) { return sorted[rank]; }, static_cast<std::int64_t>(*known), bins,
             edges);
}

// Block (x, v) counts its share of the images of node v.
__global__ void histogram_kernel(const double* scores, const std::uint8_t* truths, std::int64_t images, Bins bins,
                                 std::uint32_t* counts) {
  __shared__ std::uint32_t found[2 * kMaxBins];
  const std::int64_t v = blockIdx.y;
  for (std::int32_t i = threadIdx.x; i < 2 * bins.bins; i += blockDim.x) {
    found[i] = 0;
  }
  __syncthreads();
  const double* edges = edges_of(bins, v);
  for (std::int64_t i = first_index(); i < images; i += index_step()) {
    const std::uint8_t truth = truths[v * images + i];
    if (truth != kUnknown) {
      const std::int32_t bin = bin_of(scores[v * images + i], bins.kind, edges, bins.bins);
      atomicAdd(&found[(truth == kTrue ? 0 : bins.bins) + bin], 1u);
    }
  }
  __syncthreads();
  for (std::int32_t i = threadIdx.x; i < 2 * bins.bins; i += blockDim.x) {
    if (found[i] > 0) {
      atomicAdd(&counts[v * 2 * bins.bins + i], found[i]);
    }
  }
}

__global__ void posterior_table_kernel(const std::uint32_t* counts, const double* priors, std::int32_t nodes, Bins bins,
                                       PosteriorSettings settings, double* table) {
  for (std::int64_t v = first_index(); v < nodes; v += index_step()) {
    const double* edges = edges_of(bins, v);
    const std::int32_t in_use = bins_in_use(bins.kind, edges, bins.bins);
    posterior_of_node(counts + v * 2 * bins.bins, priors[v], bins.bins, in_use, settings, table + v * bins.bins);
  }
}

__global__ void posteriors_kernel(const double* scores, std::int64_t images, Bins bins, const double* table,
                                  double* posteriors) {
  const std::int64_t v = blockIdx.y;
  const double* edges = edges_of(bins, v);
  for (std::int64_t i = first_index(); i < images; i += index_step()) {
    const std::int32_t bin = bin_of(scores[v * images + i], bins.kind, edges, bins.bins);
    posteriors[v * images + i] = table[v * bins.bins + bin];
  }
}

__global__ void climb_kernel(TreeTopology tree, const double* posteriors, const double* thresholds, std::int64_t images,
                             std::int32_t* climb) {
  for (std::int64_t i = first_index(); i < images; i += index_step()) {
    for (std::int32_t leaf = 0; leaf < tree.leaves; ++leaf) {
      climb[leaf * images + i] = climb_from(leaf, tree.parent, posteriors + i, images, thresholds);
    }
  }
}

__global__ void frontier_kernel(TreeTopology tree, const double* posteriors, const double* thresholds,
                                std::int64_t images, std::uint8_t* frontier) {
  for (std::int64_t i = first_index(); i < images; i += index_step()) {
    frontier_of(tree, posteriors + i, images, thresholds, frontier + i);
  }
}

// Bytes that CUB's sort of `images` doubles works in.
std::size_t sort_bytes(const Stream& stream, std::int64_t images) {
  std::size_t bytes = 0;
  check_cuda(cudaSetDevice(stream.device), "quantile_histogram", stream.device);
  const double* in = nullptr;
  double* out = nullptr;
  check_cuda(cub::DeviceRadixSort::SortKeys(nullptr, bytes, in, out, images), "quantile_histogram", stream.device);
  return bytes;
}

class CudaTreeOperations final : public TreeOperations {
 public:
  explicit CudaTreeOperations(const Stream& stream) : stream_(stream) {}

  bool reads_host_memory() const override { return false; }

  void pool_scores(const TreeTopology& tree, Pooling pooling, const double* scores, std::int64_t images,
                   double* node_scores) override {
    const auto kernel = pooling == Pooling::kNoisyOr ? pool_scores_kernel<PoolNoisyOr>
                        : pooling == Pooling::kSum   ? pool_scores_kernel<PoolSum>
                                                     : pool_scores_kernel<PoolMax>;
    require_images(images, "pool_scores");
    launch(stream_, "pool_scores", kernel, grid_over(images, stream_), tree, scores, images, node_scores);
  }

  void pool_truths(const TreeTopology& tree, const float* targets, std::int64_t images, std::uint8_t* truths) override {
    require_images(images, "pool_truths");
    launch(stream_, "pool_truths", pool_truths_kernel, grid_over(images, stream_), tree, targets, images, truths);
  }

  std::size_t quantile_bytes(std::int32_t, std::int64_t images) const override {
    return kAlign + 2 * row_bytes(images) + sort_bytes(stream_, images);
  }

  void quantile_histogram(const double* node_scores, const std::uint8_t* truths, std::int32_t nodes,
                          std::int64_t images, std::int32_t bins, double* edges, std::uint32_t* counts,
                          void* workspace) override {
    const char* const operation = "quantile_histogram";
    require_images(images, operation);
    require_bins({.kind = Binning::kQuantile, .bins = bins, .edges = edges});
    auto* base = static_cast<std::byte*>(workspace);
    auto* known = reinterpret_cast<unsigned long long*>(base);
    auto* keys = reinterpret_cast<double*>(base + kAlign);
    auto* sorted = reinterpret_cast<double*>(base + kAlign + row_bytes(images));
    void* const temporary = base + kAlign + 2 * row_bytes(images);
    std::size_t temporary_bytes = sort_bytes(stream_, images);
    for (std::int64_t v = 0; v < nodes; ++v) {
      check_cuda(cudaMemsetAsync(known, 0, sizeof(*known), stream_.handle), operation, stream_.device);
      launch(stream_, operation, known_scores_kernel, grid_over(images, stream_), node_scores + v * images,
             truths + v * images, images, keys, known);
      check_cuda(
          cub::DeviceRadixSort::SortKeys(temporary, temporary_bytes, keys, sorted, images, 0, 64, stream_.handle),
          operation, stream_.device);
      launch(stream_, operation, take_edges_kernel, Grid{dim3(1), dim3(1)}, sorted, known, bins,
             edges + v * (bins - 1));
    }
    histogram(node_scores, truths, nodes, images, {Binning::kQuantile, bins, edges}, counts);
  }

  void histogram(const double* node_scores, const std::uint8_t* truths, std::int32_t nodes, std::int64_t images,
                 const Bins& bins, std::uint32_t* counts) override {
    require_images(images, "histogram");
    require_bins(bins);
    const std::size_t bytes =
        static_cast<std::size_t>(nodes) * 2 * static_cast<std::size_t>(bins.bins) * sizeof(*counts);
    check_cuda(cudaMemsetAsync(counts, 0, bytes, stream_.handle), "histogram", stream_.device);
    launch(stream_, "histogram", histogram_kernel, grid_over_nodes(nodes, images), node_scores, truths, images, bins,
           counts);
  }

  void posterior_table(const std::uint32_t* counts, const double* priors, std::int32_t nodes, const Bins& bins,
                       const PosteriorSettings& settings, double* table) override {
    require_bins(bins);
    launch(stream_, "posterior_table", posterior_table_kernel, grid_over(nodes, stream_), counts, priors, nodes, bins,
           settings, table);
  }

  void posteriors(const double* node_scores, std::int32_t nodes, std::int64_t images, const Bins& bins,
                  const double* table, double* posteriors) override {
    require_images(images, "posteriors");
    require_bins(bins);
    launch(stream_, "posteriors", posteriors_kernel, grid_over_nodes(nodes, images), node_scores, images, bins, table,
           posteriors);
  }

  void climb(const TreeTopology& tree, const double* posteriors, const double* thresholds, std::int64_t images,
             std::int32_t* climb) override {
    require_images(images, "climb");
    launch(stream_, "climb", climb_kernel, grid_over(images, stream_), tree, posteriors, thresholds, images, climb);
  }

  void frontier(const TreeTopology& tree, const double* posteriors, const double* thresholds, std::int64_t images,
                std::uint8_t* frontier) override {
    require_images(images, "frontier");
    launch(stream_, "frontier", frontier_kernel, grid_over(images, stream_), tree, posteriors, thresholds, images,
           frontier);
  }

 private:
  static constexpr std::size_t kAlign = 256;
  static std::size_t row_bytes(std::int64_t images) {
    return rounded_up(static_cast<std::size_t>(images) * sizeof(double), kAlign);
  }

  static void require_images(std::int64_t images, const char* operation) {
    require(images > 0, operation, "there must be an image");
  }

  // Enough blocks over all nodes together to fill the device.
  Grid grid_over_nodes(std::int32_t nodes, std::int64_t images) const {
    const Grid grid = grid_over(images, stream_);
    const auto share = static_cast<unsigned>(8 * stream_.multiprocessors / nodes + 1);
    return {dim3(std::min(grid.blocks.x, share), static_cast<unsigned>(nodes)), grid.threads};
  }

  Stream stream_;
};

}  // namespace

std::unique_ptr<TreeOperations> CudaDevice::make_tree_operations() {
  return std::make_unique<CudaTreeOperations>(stream_);
}

}  // namespace densetree
