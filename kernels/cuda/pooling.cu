// Max, average and global average pooling. Backward passes gather: a thread adds up what one input pixel receives, in
// the order of the output pixels, so nothing is added atomically. Choices of max pooling lie as [N·H·W][C] of y.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/pixels.h"

namespace densetree::cuda {
namespace {

struct Window {
  std::int32_t in_h, in_w, out_h, out_w;
  int kernel, stride, padding;
};

Window window_of(const View& in, const View& out, const op::Window& w) {
  return {static_cast<std::int32_t>(in.h),
          static_cast<std::int32_t>(in.w),
          static_cast<std::int32_t>(out.h),
          static_cast<std::int32_t>(out.w),
          w.kernel,
          w.stride,
          w.padding};
}

// kKernel: side of the window, or 0 for w.kernel. A constant lets the compiler unroll the loops and issue all loads
// first.
template <class T, int kWidth, int kKernel>
__global__ void max_pool_kernel(Pixels x, Window w, Pixels y, std::uint8_t* choice) {
  const std::int64_t channel = first_channel<kWidth>();
  if (channel >= y.channels) {
    return;
  }
  const int kernel = kKernel > 0 ? kKernel : w.kernel;
  for (std::int64_t row = first_row(); row < y.rows; row += row_step()) {
    const Position out = position_of(row, w.out_h, w.out_w);
    const std::int32_t top = out.y * w.stride - w.padding, left = out.x * w.stride - w.padding;
    Floats<kWidth> best;
    Choices<kWidth> winner;
    for (int c = 0; c < kWidth; ++c) {
      best.v[c] = -INFINITY;  // the window's first pixel within the image wins where all are
      winner.v[c] = static_cast<std::uint8_t>(max(-top, 0) * kernel + max(-left, 0));
    }
    for (int i = 0; i < kernel; ++i) {
      for (int j = 0; j < kernel; ++j) {
        const std::int32_t in_y = top + i, in_x = left + j;
        if (in_y < 0 || in_y >= w.in_h || in_x < 0 || in_x >= w.in_w) {
          continue;
        }
        const Floats<kWidth> value =
            load<T, kWidth>(x, (std::int64_t{out.image} * w.in_h + in_y) * w.in_w + in_x, channel);
        for (int c = 0; c < kWidth; ++c) {
          if (value.v[c] > best.v[c] || isnan(value.v[c])) {  // a NaN wins and stays, as in torch
            best.v[c] = value.v[c];
            winner.v[c] = static_cast<std::uint8_t>(i * kernel + j);
          }
        }
      }
    }
    store<T>(y, row, channel, best);
    if (choice) {
      *reinterpret_cast<Choices<kWidth>*>(choice + row * y.channels + channel) = winner;
    }
  }
}

// The first output line (or column) whose window reaches input line `at`, and the last.
__device__ std::int32_t first_window(std::int32_t at, const Window& w) {
  const std::int32_t reach = at + w.padding - w.kernel + 1;  // where the earliest such window begins
  return reach > 0 ? quotient_up(reach, w.stride) : 0;
}
__device__ std::int32_t last_window(std::int32_t at, const Window& w, std::int32_t count) {
  return min((at + w.padding) / w.stride, count - 1);
}

template <class T, int kWidth>
__global__ void max_pool_gradient_kernel(Pixels dy, const std::uint8_t* choice, Window w, Pixels dx) {
  const std::int64_t channel = first_channel<kWidth>();
  if (channel >= dx.channels) {
    return;
  }
  for (std::int64_t row = first_row(); row < dx.rows; row += row_step()) {
    const Position in = position_of(row, w.in_h, w.in_w);
    Floats<kWidth> sum{};
    for (std::int32_t y = first_window(in.y, w); y <= last_window(in.y, w, w.out_h); ++y) {
      for (std::int32_t x = first_window(in.x, w); x <= last_window(in.x, w, w.out_w); ++x) {
        const std::int64_t out_row = (std::int64_t{in.image} * w.out_h + y) * w.out_w + x;
        const int tap = (in.y + w.padding - y * w.stride) * w.kernel + (in.x + w.padding - x * w.stride);
        const auto winner = *reinterpret_cast<const Choices<kWidth>*>(choice + out_row * dy.channels + channel);
        const Floats<kWidth> gradient = load<T, kWidth>(dy, out_row, channel);
        for (int c = 0; c < kWidth; ++c) {
          sum.v[c] += winner.v[c] == tap ? gradient.v[c] : 0.0f;
        }
      }
    }
    store<T>(dx, row, channel, sum);
  }
}

// The same for stride 2 and a window of at most 3×3. A thread takes 2×2 input pixels; at most 2×2 windows contain any
// of them, and each is read once.
template <class T, int kWidth>
__global__ void max_pool_gradient_2x2_kernel(Pixels dy, const std::uint8_t* choice, Window w, std::int64_t squares,
                                             Pixels dx) {
  constexpr int kStride = 2;
  const std::int64_t channel = first_channel<kWidth>();
  if (channel >= dx.channels) {
    return;
  }
  const std::int32_t down = (w.in_h + 1) / 2, across = (w.in_w + 1) / 2;
  for (std::int64_t square = first_row(); square < squares; square += row_step()) {
    const Position at = position_of(square, down, across);
    const std::int32_t top = at.y * 2, left = at.x * 2;
    const std::int32_t first_y = first_window(top, w), first_x = first_window(left, w);
    Packed<T, kWidth> gradient[4];
    Choices<kWidth> winner[4];
    for (int i = 0; i < 4; ++i) {
      const std::int32_t y = first_y + i / 2, x = first_x + i % 2;
      gradient[i] = {};
      winner[i] = {};
      if (y < w.out_h && x < w.out_w) {
        const std::int64_t row = (std::int64_t{at.image} * w.out_h + y) * w.out_w + x;
        gradient[i] = *reinterpret_cast<const Packed<T, kWidth>*>(dy.at<T>(row, channel));
        winner[i] = *reinterpret_cast<const Choices<kWidth>*>(choice + row * dy.channels + channel);
      }
    }
    for (int pixel = 0; pixel < 4; ++pixel) {
      const std::int32_t in_y = top + pixel / 2, in_x = left + pixel % 2;
      if (in_y >= w.in_h || in_x >= w.in_w) {
        continue;
      }
      Floats<kWidth> sum{};
      for (int i = 0; i < 4; ++i) {
        const int tap_y = in_y + w.padding - (first_y + i / 2) * kStride;
        const int tap_x = in_x + w.padding - (first_x + i % 2) * kStride;
        const bool reaches = tap_y >= 0 && tap_y < w.kernel && tap_x >= 0 && tap_x < w.kernel;
        for (int c = 0; c < kWidth; ++c) {
          sum.v[c] += reaches && winner[i].v[c] == tap_y * w.kernel + tap_x ? to_float(gradient[i].v[c]) : 0.0f;
        }
      }
      store<T>(dx, (std::int64_t{at.image} * w.in_h + in_y) * w.in_w + in_x, channel, sum);
    }
  }
}

template <class T, int kWidth>
__global__ void average_pool_kernel(Pixels x, Window w, Pixels y) {
  const std::int64_t channel = first_channel<kWidth>();
  if (channel >= y.channels) {
    return;
  }
  const float scale = 1.0f / static_cast<float>(w.kernel * w.kernel);
  for (std::int64_t row = first_row(); row < y.rows; row += row_step()) {
    const Position out = position_of(row, w.out_h, w.out_w);
    Floats<kWidth> sum{};
    for (int i = 0; i < w.kernel; ++i) {
      for (int j = 0; j < w.kernel; ++j) {
        const std::int64_t in_y = out.y * w.kernel + i, in_x = out.x * w.kernel + j;
        const Floats<kWidth> value =
            load<T, kWidth>(x, (out.image * std::int64_t{w.in_h} + in_y) * w.in_w + in_x, channel);
        for (int c = 0; c < kWidth; ++c) {
          sum.v[c] += value.v[c];
        }
      }
    }
    for (int c = 0; c < kWidth; ++c) {
      sum.v[c] *= scale;
    }
    store<T>(y, row, channel, sum);
  }
}

// Each input pixel lies in one window, or in none where the remainder was dropped.
template <class T, int kWidth>
__global__ void average_pool_gradient_kernel(Pixels dy, Window w, Pixels dx) {
  const std::int64_t channel = first_channel<kWidth>();
  if (channel >= dx.channels) {
    return;
  }
  const float scale = 1.0f / static_cast<float>(w.kernel * w.kernel);
  for (std::int64_t row = first_row(); row < dx.rows; row += row_step()) {
    const Position in = position_of(row, w.in_h, w.in_w);
    const std::int32_t y = in.y / w.kernel, x = in.x / w.kernel;
    Floats<kWidth> gradient{};
    if (y < w.out_h && x < w.out_w) {
      gradient = load<T, kWidth>(dy, (std::int64_t{in.image} * w.out_h + y) * w.out_w + x, channel);
      for (int c = 0; c < kWidth; ++c) {
        gradient.v[c] *= scale;
      }
    }
    store<T>(dx, row, channel, gradient);
  }
}

// A thread adds up one channel of one image; neighbouring threads have neighbouring channels.
template <class T>
__global__ void global_average_pool_kernel(Pixels x, std::int64_t images, std::int64_t pixels, float* y) {
  for (std::int64_t i = first_index(); i < images * x.channels; i += index_step()) {
    const std::int64_t image = i / x.channels, channel = i % x.channels;
    double sum = 0;
    for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
      sum += to_float(*x.at<T>(image * pixels + pixel, channel));
    }
    y[i] = static_cast<float>(sum / static_cast<double>(pixels));
  }
}

template <class T, int kWidth>
__global__ void global_average_pool_gradient_kernel(const float* dy, std::int32_t height, std::int32_t width,
                                                    Pixels dx) {
  const std::int64_t channel = first_channel<kWidth>();
  if (channel >= dx.channels) {
    return;
  }
  const float scale = 1.0f / (static_cast<float>(height) * static_cast<float>(width));
  for (std::int64_t row = first_row(); row < dx.rows; row += row_step()) {
    const float* image = dy + position_of(row, height, width).image * dx.channels + channel;
    Floats<kWidth> gradient;
    for (int c = 0; c < kWidth; ++c) {
      gradient.v[c] = image[c] * scale;
    }
    store<T>(dx, row, channel, gradient);
  }
}

}  // namespace

void compute(const Stream& stream, const op::MaxPool& o, void*) {
  const Window window = window_of(o.x, o.y, o.window);
  const Pixels from = pixels_of(o.x, o.kName), to = pixels_of(o.y, o.kName);
  with_type_and_width({from, to}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    launch(stream, o.kName, window.kernel == 3 ? max_pool_kernel<T, width, 3> : max_pool_kernel<T, width, 0>,
           grid_over_rows(to.rows, to.channels, width, stream), from, window, to, o.argmax.data);
  });
}

void compute(const Stream& stream, const op::MaxPoolGradient& o, void*) {
  const Window window = window_of(o.dx, o.dy, o.window);
  const Pixels from = pixels_of(o.dy, o.kName), to = pixels_of(o.dx, o.kName);
  with_type_and_width({from, to}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    if (window.stride == 2 && window.kernel <= 3) {
      const std::int64_t squares = o.dx.n * ((o.dx.h + 1) / 2) * ((o.dx.w + 1) / 2);
      launch(stream, o.kName, max_pool_gradient_2x2_kernel<T, width>,
             grid_over_rows(squares, to.channels, width, stream), from, o.argmax.data, window, squares, to);
      return;
    }
    launch(stream, o.kName, max_pool_gradient_kernel<T, width>, grid_over_rows(to.rows, to.channels, width, stream),
           from, o.argmax.data, window, to);
  });
}

void compute(const Stream& stream, const op::AveragePool& o, void*) {
  const Window window = window_of(o.x, o.y, {o.kernel, o.kernel, 0});
  const Pixels from = pixels_of(o.x, o.kName), to = pixels_of(o.y, o.kName);
  with_type_and_width({from, to}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    launch(stream, o.kName, average_pool_kernel<T, width>, grid_over_rows(to.rows, to.channels, width, stream), from,
           window, to);
  });
}

void compute(const Stream& stream, const op::AveragePoolGradient& o, void*) {
  const Window window = window_of(o.dx, o.dy, {o.kernel, o.kernel, 0});
  const Pixels from = pixels_of(o.dy, o.kName), to = pixels_of(o.dx, o.kName);
  with_type_and_width({from, to}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    launch(stream, o.kName, average_pool_gradient_kernel<T, width>, grid_over_rows(to.rows, to.channels, width, stream),
           from, window, to);
  });
}

void compute(const Stream& stream, const op::GlobalAveragePool& o, void*) {
  const Pixels from = pixels_of(o.x, o.kName);
  with_type(from.type, [&](auto element) {
    launch(stream, o.kName, global_average_pool_kernel<typename decltype(element)::Type>,
           grid_over(o.x.n * o.x.c, stream), from, o.x.n, o.x.pixels(), o.y.as<float>());
  });
}

void compute(const Stream& stream, const op::GlobalAveragePoolGradient& o, void*) {
  const Pixels to = pixels_of(o.dx, o.kName);
  with_type_and_width({to}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    launch(stream, o.kName, global_average_pool_gradient_kernel<T, width>,
           grid_over_rows(to.rows, to.channels, width, stream), o.dy.as<float>(), o.dx.h, o.dx.w, to);
  });
}

}  // namespace densetree::cuda
