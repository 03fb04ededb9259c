// Copies, sums and zeros.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/pixels.h"

namespace densetree::cuda {
namespace {

// y = x, or y += x.
template <class T, int kWidth, bool kAdd>
__global__ void copy_kernel(Pixels x, Pixels y) {
  const std::int64_t channel = first_channel<kWidth>();
  if (channel >= x.channels) {
    return;
  }
  for (std::int64_t row = first_row(); row < x.rows; row += row_step()) {
    Floats<kWidth> value = load<T, kWidth>(x, row, channel);
    if constexpr (kAdd) {
      const Floats<kWidth> before = load<T, kWidth>(y, row, channel);
      for (int c = 0; c < kWidth; ++c) {
        value.v[c] += before.v[c];
      }
    }
    store<T>(y, row, channel, value);
  }
}

// The same between any two layouts and types, one element at a time: to bring data in and out, and for sums of arrays.
// channels: those of y that are written; a copy writes zeros to its padding lanes.
template <class From, class To, bool kAdd>
__global__ void copy_elements_kernel(View x, View y, std::int64_t channels) {
  const std::int64_t pixels = y.pixels();
  for (std::int64_t i = first_index(); i < y.n * channels * pixels; i += index_step()) {
    const std::int64_t image = i / (channels * pixels), channel = i / pixels % channels, pixel = i % pixels;
    float value = channel < x.c ? to_float(x.as<From>()[x.offset(image, channel, pixel)]) : 0.0f;
    To& to = y.as<To>()[y.offset(image, channel, pixel)];
    if constexpr (kAdd) {
      value += to_float(to);
    }
    from_float(value, to);
  }
}

// Neighbouring threads have neighbouring channels.
template <class T>
__global__ void clear_slice_kernel(View y) {
  for (std::int64_t i = first_index(); i < y.count() * y.c; i += index_step()) {
    const std::int64_t row = i / y.c;
    from_float(0.0f, y.as<T>()[y.offset(row / y.pixels(), i % y.c, row % y.pixels())]);
  }
}

template <bool kAdd>
void copy(const Stream& stream, std::string_view operation, const View& x, const View& y) {
  if (x.layout == Layout::kInterleaved && y.layout == Layout::kInterleaved && x.dtype == y.dtype) {
    const Pixels from = pixels_of(x, operation), to = pixels_of(y, operation);
    with_type_and_width({from, to}, [&](auto element, auto width) {
      using T = typename decltype(element)::Type;
      launch(stream, operation, copy_kernel<T, width, kAdd>, grid_over_rows(from.rows, from.channels, width, stream),
             from, to);
    });
    return;
  }
  const std::int64_t channels = kAdd ? y.c : y.padded_channels();
  with_type(x.dtype, [&](auto from) {
    with_type(y.dtype, [&](auto to) {
      launch(stream, operation, copy_elements_kernel<typename decltype(from)::Type, typename decltype(to)::Type, kAdd>,
             grid_over(y.count() * channels, stream), x, y, channels);
    });
  });
}

void clear(const Stream& stream, std::string_view operation, void* memory, std::size_t bytes) {
  check_cuda(cudaSetDevice(stream.device), operation, stream.device);
  check_cuda(cudaMemsetAsync(memory, 0, bytes, stream.handle), operation, stream.device);
}

}  // namespace

void compute(const Stream& stream, const op::Copy& o, void*) {
  copy<false>(stream, o.kName, o.x, o.y);
}

void compute(const Stream& stream, const op::Add& o, void*) {
  copy<true>(stream, o.kName, o.x, o.y);
}

void compute(const Stream& stream, const op::Clear& o, void*) {
  if (o.memory.present()) {
    clear(stream, o.kName, o.memory.data, o.memory.bytes());
  }
  if (o.y.present() && o.y.whole) {
    const std::int64_t elements = storage_elements(o.y.shape(), o.y.layout);
    clear(stream, o.kName, o.y.data, static_cast<std::size_t>(elements) * size_of(o.y.dtype));
  } else if (o.y.present()) {
    with_type(o.y.dtype, [&](auto element) {
      launch(stream, o.kName, clear_slice_kernel<typename decltype(element)::Type>,
             grid_over(o.y.count() * o.y.c, stream), o.y);
    });
  }
}

}  // namespace densetree::cuda
