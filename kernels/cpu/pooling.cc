// Max, average and global average pooling.
#include <limits>

#include "kernels/core/error.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/lines.h"

namespace densetree {
namespace {

using cpu::common_lanes;
using cpu::for_each_line;
using cpu::Line;
using cpu::line_of;
using cpu::with_lanes;

struct Window {
  std::int64_t in_h, in_w, out_h, out_w;
  int kernel, stride, padding;
};

Window window_of(const char* operation, const View& in, const View& out, int kernel, int stride, int padding) {
  const Window window{in.h, in.w, out.h, out.w, kernel, stride, padding};
  const auto pooled = [&](std::int64_t size) { return (size + 2 * padding - kernel) / stride + 1; };
  check(in.n == out.n && in.c == out.c && out.h == pooled(in.h) && out.w == pooled(in.w),
        "{}: ({}, {}, {}, {}) pooled by {} stride {} padding {} is not ({}, {}, {}, {})", operation, in.n, in.c, in.h,
        in.w, kernel, stride, padding, out.n, out.c, out.h, out.w);
  check(kernel <= 15 && padding < kernel, "{}: kernel {} with padding {} is not supported", operation, kernel, padding);
  return window;
}

// Choices lie as [N][ceil(C/16)][pixels][16], whatever the layouts of x and y, so that forward and backward
// need not walk in groups of the same size.
std::uint8_t* choice_line(std::uint8_t* choice, const View& y, std::int64_t image, std::int64_t channel) {
  return choice + ((image * ((y.c + 15) / 16) + channel / 16) * y.pixels()) * 16 + channel % 16;
}

// Calls body(input pixel, which of the kernel² taps) for the taps of one output pixel that lie inside the image.
template <class Body>
void for_each_tap(const Window& w, std::int64_t row, std::int64_t column, const Body& body) {
  const std::int64_t top = row * w.stride - w.padding, left = column * w.stride - w.padding;
  const int first_row = static_cast<int>(std::max<std::int64_t>(0, -top));
  const int first_column = static_cast<int>(std::max<std::int64_t>(0, -left));
  const int end_row = static_cast<int>(std::min<std::int64_t>(w.kernel, w.in_h - top));
  const int end_column = static_cast<int>(std::min<std::int64_t>(w.kernel, w.in_w - left));
  for (int i = first_row; i < end_row; ++i) {
    for (int j = first_column; j < end_column; ++j) {
      body((top + i) * w.in_w + left + j, i * w.kernel + j);
    }
  }
}

int first_tap(const Window& w, std::int64_t row, std::int64_t column) {
  const std::int64_t i = std::max<std::int64_t>(0, w.padding - row * w.stride);
  const std::int64_t j = std::max<std::int64_t>(0, w.padding - column * w.stride);
  return static_cast<int>(i * w.kernel + j);
}

template <int kLanes>
void max_line(const Window& w, Line<float> x, Line<float> y, std::uint8_t* choice) {
  using G = cpu::Group<kLanes>;
  for (std::int64_t row = 0; row < w.out_h; ++row) {
    for (std::int64_t column = 0; column < w.out_w; ++column) {
      typename G::Float best[G::kParts];
      typename G::Int winner[G::kParts];
      for (int part = 0; part < G::kParts; ++part) {
        best[part] = typename G::Float{} - std::numeric_limits<float>::infinity();
        winner[part] = typename G::Int{} + first_tap(w, row, column);  // where all are −∞
      }
      for_each_tap(w, row, column, [&](std::int64_t pixel, int tap) {
        for (int part = 0; part < G::kParts; ++part) {
          const auto value = G::load(x.at<kLanes>(pixel) + part * G::kWidth);
          const auto better = (value > best[part]) | (value != value);  // a NaN wins and stays, as in torch
          best[part] = better ? value : best[part];
          winner[part] = better ? typename G::Int{} + tap : winner[part];
        }
      });
      const std::int64_t pixel = row * w.out_w + column;
      for (int part = 0; part < G::kParts; ++part) {
        G::store(best[part], y.at<kLanes>(pixel) + part * G::kWidth);
        if (choice) {
          G::store_bytes(winner[part], choice + pixel * 16 + part * G::kWidth);
        }
      }
    }
  }
}

template <int kLanes>
void max_backward_line(const Window& w, Line<float> dy, const std::uint8_t* choice, Line<float> dx) {
  using G = cpu::Group<kLanes>;
  for (std::int64_t p = 0; p < w.in_h * w.in_w; ++p) {
    std::fill_n(dx.at<kLanes>(p), kLanes, 0.0f);
  }
  for (std::int64_t row = 0; row < w.out_h; ++row) {
    for (std::int64_t column = 0; column < w.out_w; ++column) {
      const std::int64_t pixel = row * w.out_w + column;
      for (int part = 0; part < G::kParts; ++part) {
        const int lane = part * G::kWidth;
        const auto gradient = G::load(dy.at<kLanes>(pixel) + lane);
        const auto winner = G::load_bytes(choice + pixel * 16 + lane);
        for_each_tap(w, row, column, [&](std::int64_t in, int tap) {
          float* to = dx.at<kLanes>(in) + lane;
          G::store(G::load(to) + (winner == tap ? gradient : typename G::Float{}), to);
        });
      }
    }
  }
}

template <int kLanes>
void average_line(const Window& w, Line<float> x, Line<float> y) {
  using G = cpu::Group<kLanes>;
  const float scale = 1.0f / static_cast<float>(w.kernel * w.kernel);
  for (std::int64_t row = 0; row < w.out_h; ++row) {
    for (std::int64_t column = 0; column < w.out_w; ++column) {
      typename G::Float sum[G::kParts] = {};
      for_each_tap(w, row, column, [&](std::int64_t pixel, int) {
        for (int part = 0; part < G::kParts; ++part) {
          sum[part] += G::load(x.at<kLanes>(pixel) + part * G::kWidth);
        }
      });
      for (int part = 0; part < G::kParts; ++part) {
        G::store(sum[part] * scale, y.at<kLanes>(row * w.out_w + column) + part * G::kWidth);
      }
    }
  }
}

template <int kLanes>
void average_backward_line(const Window& w, Line<float> dy, Line<float> dx) {
  const float scale = 1.0f / static_cast<float>(w.kernel * w.kernel);
  for (std::int64_t row = 0; row < w.in_h; ++row) {
    for (std::int64_t column = 0; column < w.in_w; ++column) {
      const std::int64_t i = row / w.kernel, j = column / w.kernel;
      const bool covered = i < w.out_h && j < w.out_w;
      const float* from = dy.data + (covered ? i * w.out_w + j : 0) * dy.stride;
      for (int l = 0; l < kLanes; ++l) {
        dx.data[(row * w.in_w + column) * dx.stride + l] = covered ? from[l] * scale : 0.0f;
      }
    }
  }
}

}  // namespace

void CpuDevice::max_pool(const View& x, int kernel, int stride, int padding, const View& y, std::uint8_t* choice) {
  const Window window = window_of("max_pool", x, y, kernel, stride, padding);
  with_lanes(common_lanes(x, y), [&](auto lanes) {
    for_each_line(threads_, y.n, y.c, lanes, [&](std::int64_t n, std::int64_t c) {
      max_line<lanes>(window, line_of(x, n, c), line_of(y, n, c), choice ? choice_line(choice, y, n, c) : nullptr);
    });
  });
  cpu::clear_padding(y);
}

void CpuDevice::max_pool_backward(const View& dy, const std::uint8_t* choice, int kernel, int stride, int padding,
                                  const View& dx) {
  const Window window = window_of("max_pool_backward", dx, dy, kernel, stride, padding);
  with_lanes(common_lanes(dy, dx), [&](auto lanes) {
    for_each_line(threads_, dy.n, dy.c, lanes, [&](std::int64_t n, std::int64_t c) {
      max_backward_line<lanes>(window, line_of(dy, n, c), choice_line(const_cast<std::uint8_t*>(choice), dy, n, c),
                               line_of(dx, n, c));
    });
  });
  cpu::clear_padding(dx);
}

void CpuDevice::average_pool(const View& x, int kernel, const View& y) {
  const Window window = window_of("average_pool", x, y, kernel, kernel, 0);
  with_lanes(common_lanes(x, y), [&](auto lanes) {
    for_each_line(threads_, y.n, y.c, lanes, [&](std::int64_t n, std::int64_t c) {
      average_line<lanes>(window, line_of(x, n, c), line_of(y, n, c));
    });
  });
  cpu::clear_padding(y);
}

void CpuDevice::average_pool_backward(const View& dy, int kernel, const View& dx) {
  const Window window = window_of("average_pool_backward", dx, dy, kernel, kernel, 0);
  with_lanes(common_lanes(dy, dx), [&](auto lanes) {
    for_each_line(threads_, dy.n, dy.c, lanes, [&](std::int64_t n, std::int64_t c) {
      average_backward_line<lanes>(window, line_of(dy, n, c), line_of(dx, n, c));
    });
  });
  cpu::clear_padding(dx);
}

void CpuDevice::global_average_pool(const View& x, float* y) {
  const double scale = 1.0 / static_cast<double>(x.pixels());
  with_lanes(common_lanes(x), [&](auto lanes) {
    for_each_line(threads_, x.n, x.c, lanes, [&](std::int64_t n, std::int64_t c) {
      const Line<float> line = line_of(x, n, c);
      double sum[lanes] = {};
      for (std::int64_t p = 0; p < x.pixels(); ++p) {
        for (int l = 0; l < lanes; ++l) {
          sum[l] += line.data[p * line.stride + l];
        }
      }
      for (int l = 0; l < lanes; ++l) {
        y[n * x.c + c + l] = static_cast<float>(sum[l] * scale);
      }
    });
  });
}

void CpuDevice::global_average_pool_backward(const float* dy, const View& dx) {
  const float scale = 1.0f / static_cast<float>(dx.pixels());
  with_lanes(common_lanes(dx), [&](auto lanes) {
    for_each_line(threads_, dx.n, dx.c, lanes, [&](std::int64_t n, std::int64_t c) {
      const Line<float> line = line_of(dx, n, c);
      for (std::int64_t p = 0; p < dx.pixels(); ++p) {
        for (int l = 0; l < lanes; ++l) {
          line.data[p * line.stride + l] = dy[n * dx.c + c + l] * scale;
        }
      }
    });
  });
  cpu::clear_padding(dx);
}

}  // namespace densetree
