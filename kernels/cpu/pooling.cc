// Max, average and global average pooling.
#include <limits>

#include "kernels/core/error.h"
#include "kernels/cpu/cpu_device.h"
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
  for (int i = 0; i < w.kernel; ++i) {
    const std::int64_t y = row * w.stride - w.padding + i;
    for (int j = 0; j < w.kernel; ++j) {
      const std::int64_t x = column * w.stride - w.padding + j;
      if (y >= 0 && y < w.in_h && x >= 0 && x < w.in_w) {
        body(y * w.in_w + x, static_cast<std::uint8_t>(i * w.kernel + j));
      }
    }
  }
}

template <int kLanes>
void max_line(const Window& w, Line<float> x, Line<float> y, std::uint8_t* choice) {
  for (std::int64_t row = 0; row < w.out_h; ++row) {
    for (std::int64_t column = 0; column < w.out_w; ++column) {
      float best[kLanes];
      std::uint8_t winner[kLanes] = {};
      std::fill_n(best, kLanes, -std::numeric_limits<float>::infinity());
      for_each_tap(w, row, column, [&](std::int64_t pixel, std::uint8_t tap) {
        const float* from = x.data + pixel * x.stride;
        for (int l = 0; l < kLanes; ++l) {
          const bool better = from[l] > best[l] || from[l] != from[l];  // a NaN wins and stays, as in torch
          best[l] = better ? from[l] : best[l];
          winner[l] = better ? tap : winner[l];
        }
      });
      const std::int64_t pixel = row * w.out_w + column;
      std::copy_n(best, kLanes, y.data + pixel * y.stride);
      if (choice) {
        std::copy_n(winner, kLanes, choice + pixel * 16);
      }
    }
  }
}

template <int kLanes>
void max_backward_line(const Window& w, Line<float> dy, const std::uint8_t* choice, Line<float> dx) {
  for (std::int64_t p = 0; p < w.in_h * w.in_w; ++p) {
    std::fill_n(dx.data + p * dx.stride, kLanes, 0.0f);
  }
  for (std::int64_t row = 0; row < w.out_h; ++row) {
    for (std::int64_t column = 0; column < w.out_w; ++column) {
      const std::int64_t pixel = row * w.out_w + column;
      const float* from = dy.data + pixel * dy.stride;
      for_each_tap(w, row, column, [&](std::int64_t in, std::uint8_t tap) {
        float* to = dx.data + in * dx.stride;
        for (int l = 0; l < kLanes; ++l) {
          to[l] += choice[pixel * 16 + l] == tap ? from[l] : 0.0f;
        }
      });
    }
  }
}

template <int kLanes>
void average_line(const Window& w, Line<float> x, Line<float> y) {
  const float scale = 1.0f / static_cast<float>(w.kernel * w.kernel);
  for (std::int64_t row = 0; row < w.out_h; ++row) {
    for (std::int64_t column = 0; column < w.out_w; ++column) {
      float sum[kLanes] = {};
      for_each_tap(w, row, column, [&](std::int64_t pixel, std::uint8_t) {
        for (int l = 0; l < kLanes; ++l) {
          sum[l] += x.data[pixel * x.stride + l];
        }
      });
      for (int l = 0; l < kLanes; ++l) {
        y.data[(row * w.out_w + column) * y.stride + l] = sum[l] * scale;
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
