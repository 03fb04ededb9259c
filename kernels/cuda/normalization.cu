// Factored batch normalisation, but for its sums (reductions.cu): the passes that compute every element of a feature
// from the same element of others, and small updates per channel.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/pixels.h"
#include "kernels/functors/normalization.h"
#include "kernels/functors/statistics.h"

namespace densetree::cuda {
namespace {

// Resident blocks per multiprocessor, and rows that a thread loads before it computes. These were the fastest of those
// tried on an H200 (docs/gpu.md); registers must allow the blocks.
constexpr int kAffineBlocks = 4, kAffineRows = 2;
constexpr int kNormalizeBlocks = 6;
constexpr int kTableWidth = 32;  // blockDim.x of kernels with a table, at most

// Fills a table in shared memory with make(channel) for each channel of the block. The entry of channel i of thread x
// is at i·blockDim.x + x, which avoids bank conflicts.
template <int kWidth, class F, class Make>
__device__ void fill_table(F* table, std::int64_t channels, const Make& make) {
  const std::int64_t first = std::int64_t{blockIdx.x} * blockDim.x * kWidth;
  const unsigned wide = blockDim.x, threads = blockDim.x * blockDim.y;
  for (unsigned place = threadIdx.y * wide + threadIdx.x; place < kWidth * wide; place += threads) {
    const std::int64_t channel = first + place % wide * kWidth + place / wide;
    if (channel < channels) {
      table[place] = make(channel);
    }
  }
  __syncthreads();
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads, resident(kAffineBlocks))
    affine_relu_kernel(Pixels x, op::Affine affine, Pixels y) {
  __shared__ ChannelAffine table[kWidth * kTableWidth];
  fill_table<kWidth>(table, x.channels, [&](std::int64_t c) {
    return ChannelAffine(affine.mean[c], affine.rstd[c], affine.gamma[c], affine.beta[c]);
  });
  const std::int64_t channel = first_channel<kWidth>(), step = row_step();
  if (channel >= x.channels) {
    return;
  }
  Cursor<T, kWidth> from(x, first_row(), step, channel), to(y, first_row(), step, channel);
  for (std::int64_t row = first_row(); row < x.rows; row += kAffineRows * step) {
    Packed<T, kWidth> value[kAffineRows];
    for (int k = 0; k < kAffineRows; ++k) {
      value[k] = {};
      if (row + k * step < x.rows) {
        value[k] = from.load(k);
      }
    }
    for (int i = 0; i < kWidth; ++i) {
      const ChannelAffine& f = table[i * blockDim.x + threadIdx.x];
      for (int k = 0; k < kAffineRows; ++k) {
        from_float(f.forward(to_float(value[k].v[i])), value[k].v[i]);
      }
    }
    for (int k = 0; k < kAffineRows; ++k) {
      if (row + k * step < x.rows) {
        to.store(k, value[k]);
      }
    }
    from.advance(kAffineRows);
    to.advance(kAffineRows);
  }
}

// dx may be s: a thread reads an element before it writes it, and nobody else does either.
template <class T, int kWidth, bool kAccumulate>
__global__ void __launch_bounds__(kThreads, resident(kAccumulate ? kNormalizeBlocks - 2 : kNormalizeBlocks))
    normalize_gradient_kernel(Pixels s, Pixels x, op::Statistics statistics, op::GradientSums sums, double scale,
                              Pixels dx) {
  __shared__ ChannelNormalizeGradient table[kWidth * kTableWidth];
  fill_table<kWidth>(table, x.channels, [&](std::int64_t c) {
    return ChannelNormalizeGradient(statistics.mean[c], statistics.rstd[c], sums.s[c] * scale, sums.s_xhat[c] * scale);
  });
  const std::int64_t channel = first_channel<kWidth>();
  if (channel >= x.channels) {
    return;
  }
  const std::int64_t step = row_step();
  Cursor<T, kWidth> values(x, first_row(), step, channel), gradients(s, first_row(), step, channel),
      to(dx, first_row(), step, channel);
  for (std::int64_t row = first_row(); row < x.rows; row += step) {
    const Packed<T, kWidth> value = values.load(0), gradient = gradients.load(0);
    Packed<T, kWidth> result{};
    if constexpr (kAccumulate) {
      result = to.load(0);
    }
    for (int i = 0; i < kWidth; ++i) {
      const float before = kAccumulate ? to_float(result.v[i]) : 0.0f;
      from_float(before + table[i * blockDim.x + threadIdx.x](to_float(value.v[i]), to_float(gradient.v[i])),
                 result.v[i]);
    }
    to.store(0, result);
    values.advance(1);
    gradients.advance(1);
    to.advance(1);
  }
}

__global__ void update_running_kernel(op::UpdateRunning o) {
  for (std::int64_t c = first_index(); c < o.mean.count; c += index_step()) {
    o.mean[c] = moved(o.mean[c], o.batch.mean[c], o.momentum);
    o.variance[c] = moved(o.variance[c], unbiased(o.batch.variance[c], o.count), o.momentum);
  }
}

__global__ void fold_kernel(op::Affine affine, std::int64_t channels, float* scale, float* shift) {
  for (std::int64_t c = first_index(); c < channels; c += index_step()) {
    const ChannelAffine f(affine.mean[c], affine.rstd[c], affine.gamma[c], affine.beta[c]);
    scale[c] = f.scale;
    shift[c] = f.shift;
  }
}

__global__ void reciprocal_std_kernel(op::ReciprocalStd o) {
  for (std::int64_t c = first_index(); c < o.variance.count; c += index_step()) {
    o.rstd[c] = reciprocal_std_of(o.variance[c], o.eps);
  }
}

}  // namespace

void compute(const Stream& stream, const op::AffineRelu& o, void*) {
  const Pixels from = pixels_of(o.x, o.kName), to = pixels_of(o.y, o.kName);
  with_type_and_width({from, to}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    launch(stream, o.kName, affine_relu_kernel<T, width>,
           grid_over_rows(from.rows, from.channels, width, kAffineBlocks * stream.multiprocessors, kTableWidth), from,
           o.affine, to);
  });
}

void compute(const Stream& stream, const op::NormalizeGradient& o, void*) {
  const Pixels gradient = pixels_of(o.s, o.kName), value = pixels_of(o.x, o.kName), to = pixels_of(o.dx, o.kName);
  const double scale = 1.0 / static_cast<double>(value.rows);
  with_type_and_width({gradient, value, to}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    const auto kernel = o.mode == GradMode::kAccumulate ? normalize_gradient_kernel<T, width, true>
                                                        : normalize_gradient_kernel<T, width, false>;
    launch(stream, o.kName, kernel,
           grid_over_rows(value.rows, value.channels, width, kNormalizeBlocks * stream.multiprocessors, kTableWidth),
           gradient, value, o.statistics, o.sums, scale, to);
  });
}

void compute(const Stream& stream, const op::UpdateRunning& o, void*) {
  launch(stream, o.kName, update_running_kernel, grid_over(o.mean.count, stream), o);
}

void compute(const Stream& stream, const op::ReciprocalStd& o, void*) {
  launch(stream, o.kName, reciprocal_std_kernel, grid_over(o.variance.count, stream), o);
}

void fold(const Stream& stream, const op::Affine& affine, std::int64_t channels, float* scale, float* shift) {
  launch(stream, "fold", fold_kernel, grid_over(channels, stream), affine, channels, scale, shift);
}

}  // namespace densetree::cuda
