// Operations that compute every element of a feature from the same element of others: copies, factored batch
// normalisation, network input, and the small per-channel updates that go with it.
#include "kernels/cuda/cuda_operations.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/network_input.h"
#include "kernels/cuda/pixels.h"
#include "kernels/functors/image.h"
#include "kernels/functors/normalization.h"
#include "kernels/functors/statistics.h"

namespace densetree {
namespace {

using namespace cuda;

template <class T, int kWidth>
__global__ void copy_kernel(Pixels x, Pixels y) {
  const std::int64_t channel = first_channel<kWidth>();
  if (channel >= x.channels) {
    return;
  }
  for (std::int64_t row = first_row(); row < x.rows; row += row_step()) {
    store<T>(y, row, channel, load<T, kWidth>(x, row, channel));
  }
}

// Between any two layouts and types, one element at a time: to bring data in and out, never within a step.
// channels: those of y with the padding lanes that get zeros.
template <class From, class To>
__global__ void copy_elements_kernel(View x, View y, std::int64_t channels) {
  const std::int64_t pixels = y.pixels();
  for (std::int64_t i = first_index(); i < y.n * channels * pixels; i += index_step()) {
    const std::int64_t image = i / (channels * pixels), channel = i / pixels % channels, pixel = i % pixels;
    const float value = channel < x.c ? to_float(x.as<From>()[x.offset(image, channel, pixel)]) : 0.0f;
    from_float(value, y.as<To>()[y.offset(image, channel, pixel)]);
  }
}

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

template <class T, int kWidth, bool kRelu>
__global__ void __launch_bounds__(kThreads, resident(kAffineBlocks))
    affine_relu_kernel(Pixels x, Affine affine, Pixels y) {
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
        from_float(f.forward(to_float(value[k].v[i]), kRelu), value[k].v[i]);
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
    normalize_backward_kernel(Pixels s, Pixels x, Statistics statistics, GradientSums sums, double scale, Pixels dx) {
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

// A thread samples the grey value of one output pixel and writes it to all channels, and zeros to the rest of the
// pixel.
template <class T>
__global__ void images_to_input_kernel(const std::uint8_t* images, std::int64_t source,
                                       const ImageTransform* transforms, ChannelNormalize normalize, T* y,
                                       std::int64_t rows, std::int32_t height, std::int32_t width) {
  for (std::int64_t row = first_index(); row < rows; row += index_step()) {
    const Position at = position_of(row, height, width);
    const float grey = sample(images + at.image * source * source, source, transforms[at.image], centered(at.x, width),
                              centered(at.y, height));
    Packed<T, kInputPitch> pixel{};
    for (int c = 0; c < kInputChannels; ++c) {
      from_float(normalize(grey, c), pixel.v[c]);
    }
    reinterpret_cast<Packed<T, kInputPitch>*>(y)[row] = pixel;
  }
}

__global__ void update_running_kernel(Statistics batch, std::int64_t channels, std::int64_t count, float momentum,
                                      float* running_mean, float* running_variance) {
  for (std::int64_t c = first_index(); c < channels; c += index_step()) {
    running_mean[c] = moved(running_mean[c], batch.mean[c], momentum);
    running_variance[c] = moved(running_variance[c], unbiased(batch.variance[c], count), momentum);
  }
}

__global__ void fold_kernel(Affine affine, std::int64_t channels, float* scale, float* shift) {
  for (std::int64_t c = first_index(); c < channels; c += index_step()) {
    const ChannelAffine f(affine.mean[c], affine.rstd[c], affine.gamma[c], affine.beta[c]);
    scale[c] = f.scale;
    shift[c] = f.shift;
  }
}

__global__ void reciprocal_std_kernel(const float* variance, std::int64_t channels, float eps, float* rstd) {
  for (std::int64_t c = first_index(); c < channels; c += index_step()) {
    rstd[c] = reciprocal_std_of(variance[c], eps);
  }
}

}  // namespace

void CudaDevice::copy_view(const View& x, const View& y) {
  const char* const operation = "copy_view";
  require_same_shape(operation, {x, y});
  require(is_float(x.dtype) && is_float(y.dtype), operation, "views must be fp32 or bf16", {x, y});
  if (x.layout != Layout::kInterleaved || y.layout != Layout::kInterleaved || x.dtype != y.dtype) {
    const std::int64_t channels = y.padded_channels();
    with_type(x.dtype, [&](auto from) {
      with_type(y.dtype, [&](auto to) {
        launch(stream_, operation, copy_elements_kernel<typename decltype(from)::Type, typename decltype(to)::Type>,
               grid_over(y.count() * channels, stream_), x, y, channels);
      });
    });
    return;
  }
  const Pixels from = pixels_of(x, operation), to = pixels_of(y, operation);
  with_type_and_width(operation, {from, to}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    launch(stream_, operation, copy_kernel<T, width>, grid_over_rows(from.rows, from.channels, width, stream_), from,
           to);
  });
}

void CudaDevice::affine_relu(const View& x, const Affine& affine, bool relu, const View& y) {
  const char* const operation = "affine_relu";
  require_same_shape(operation, {x, y});
  const Pixels from = pixels_of(x, operation), to = pixels_of(y, operation);
  with_type_and_width(operation, {from, to}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    launch(stream_, operation, relu ? affine_relu_kernel<T, width, true> : affine_relu_kernel<T, width, false>,
           grid_over_rows(from.rows, from.channels, width, kAffineBlocks * stream_.multiprocessors, kTableWidth), from,
           affine, to);
  });
}

void CudaDevice::normalize_backward(const View& s, const View& x, const Statistics& statistics,
                                    const GradientSums& sums, GradMode mode, const View& dx) {
  const char* const operation = "normalize_backward";
  require_same_shape(operation, {s, x, dx});
  const Pixels gradient = pixels_of(s, operation), value = pixels_of(x, operation), to = pixels_of(dx, operation);
  const double scale = 1.0 / static_cast<double>(value.rows);
  with_type_and_width(operation, {gradient, value, to}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    const auto kernel = mode == GradMode::kAccumulate ? normalize_backward_kernel<T, width, true>
                                                      : normalize_backward_kernel<T, width, false>;
    launch(stream_, operation, kernel,
           grid_over_rows(value.rows, value.channels, width, kNormalizeBlocks * stream_.multiprocessors, kTableWidth),
           gradient, value, statistics, sums, scale, to);
  });
}

void CudaDevice::images_to_input(const std::uint8_t* images, std::int64_t source, const ImageTransform* transforms,
                                 const InputNormalization& normalization, const View& y) {
  const char* const operation = "images_to_input";
  require(y.c == kInputChannels && y.layout == layout(Use::kInput) && y.whole && is_float(y.dtype), operation,
          "the input is a whole tensor of 3 channels, fp32 or bf16, in the layout of inputs", {y});
  require(source > 0, operation, "source images must not be empty");
  require(y.count() < INT32_MAX, operation, "CUDA views hold fewer than 2^31 pixels; use a smaller batch", {y});
  with_type(y.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    launch(stream_, operation, images_to_input_kernel<T>, grid_over(y.count(), stream_), images, source, transforms,
           ChannelNormalize(normalization), y.as<T>(), y.count(), y.h, y.w);
  });
}

void CudaDevice::update_running(const Statistics& batch, std::int64_t channels, std::int64_t count, float momentum,
                                float* running_mean, float* running_variance) {
  const char* const operation = "update_running";
  require(channels > 0 && count > 1, operation,
          "the unbiased variance of a channel needs at least 2 values; use a larger batch or image");
  launch(stream_, operation, update_running_kernel, grid_over(channels, stream_), batch, channels, count, momentum,
         running_mean, running_variance);
}

void CudaDevice::fold(const Affine& affine, std::int64_t channels, float* scale, float* shift) {
  const char* const operation = "fold";
  require(channels > 0, operation, "there must be a channel");
  launch(stream_, operation, fold_kernel, grid_over(channels, stream_), affine, channels, scale, shift);
}

void CudaDevice::reciprocal_std(const float* variance, std::int64_t channels, float eps, float* rstd) {
  const char* const operation = "reciprocal_std";
  require(channels > 0, operation, "there must be a channel");
  launch(stream_, operation, reciprocal_std_kernel, grid_over(channels, stream_), variance, channels, eps, rstd);
}

}  // namespace densetree
