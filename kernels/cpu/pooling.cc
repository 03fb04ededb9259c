// Max, average and global average pooling.
#include <limits>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/lines.h"
#include "kernels/cpu/operations.h"

namespace densetree::cpu {
namespace {

// A window on planes of these sizes.
struct Pooling {
  std::int64_t in_h, in_w, out_h, out_w;
  int kernel, stride, padding;
};

Pooling pooling_of(const View& in, const View& out, const op::Window& w) {
  return {in.h, in.w, out.h, out.w, w.kernel, w.stride, w.padding};
}

// They lie as [N][ceil(C/16)][pixels][16], whatever the layouts of x and y, so that forward and backward need not walk
// in groups of the same size.
std::uint8_t* argmax_line(const Array<std::uint8_t>& argmax, const View& y, std::int64_t image, std::int64_t channel) {
  return argmax.data + ((image * quotient_up(y.c, 16) + channel / 16) * y.pixels()) * 16 + channel % 16;
}

// Calls body(input pixel, which of the kernel² taps) for the taps of one output pixel that lie inside the image.
template <class Body>
void for_each_tap(const Pooling& w, std::int64_t row, std::int64_t column, const Body& body) {
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

int first_tap(const Pooling& w, std::int64_t row, std::int64_t column) {
  const std::int64_t i = std::max<std::int64_t>(0, w.padding - row * w.stride);
  const std::int64_t j = std::max<std::int64_t>(0, w.padding - column * w.stride);
  return static_cast<int>(i * w.kernel + j);
}

template <class T, int kLanes>
void max_line(const Pooling& w, Line<T, kLanes> x, Line<T, kLanes> y, std::uint8_t* argmax) {
  using G = Group<kLanes>;
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
          const auto value = G::load(x.at(pixel) + part * G::kWidth);
          const auto better = (value > best[part]) | (value != value);  // a NaN wins and stays, as in torch
          best[part] = better ? value : best[part];
          winner[part] = better ? typename G::Int{} + tap : winner[part];
        }
      });
      const std::int64_t pixel = row * w.out_w + column;
      for (int part = 0; part < G::kParts; ++part) {
        G::store(best[part], y.at(pixel) + part * G::kWidth);
        if (argmax) {
          G::store_bytes(winner[part], argmax + pixel * 16 + part * G::kWidth);
        }
      }
    }
  }
}

// The windows along one axis that a pixel lies in, for one pixel after another.
class Covering {
 public:
  Covering(const Pooling& w, std::int64_t windows)
      : stride_(w.stride), kernel_(w.kernel), windows_(windows), at_(w.padding - 1) {}
  void advance() {
    ++at_;
    while (begin_ * stride_ + kernel_ <= at_) ++begin_;
    while (end_ < windows_ && end_ * stride_ <= at_) ++end_;
  }
  std::int64_t begin() const { return begin_; }
  std::int64_t end() const { return end_; }
  std::int64_t tap(std::int64_t window) const { return at_ - window * stride_; }  // its place in that window

 private:
  std::int64_t stride_, kernel_, windows_, at_, begin_ = 0, end_ = 0;
};

// Every input pixel gathers from the windows over it, in their order.
template <class T, int kLanes>
void max_gradient_line(const Pooling& w, Line<T, kLanes> dy, const std::uint8_t* argmax, Line<T, kLanes> dx) {
  using G = Group<kLanes>;
  Covering rows(w, w.out_h);
  for (std::int64_t row = 0; row < w.in_h; ++row) {
    rows.advance();
    Covering columns(w, w.out_w);
    for (std::int64_t column = 0; column < w.in_w; ++column) {
      columns.advance();
      typename G::Float sum[G::kParts] = {};
      for (std::int64_t i = rows.begin(); i < rows.end(); ++i) {
        for (std::int64_t j = columns.begin(); j < columns.end(); ++j) {
          const auto tap = static_cast<std::int32_t>(rows.tap(i) * w.kernel + columns.tap(j));
          const std::int64_t pixel = i * w.out_w + j;
          for (int part = 0; part < G::kParts; ++part) {
            const int lane = part * G::kWidth;
            const auto gradient = G::load(dy.at(pixel) + lane);
            sum[part] += G::load_bytes(argmax + pixel * 16 + lane) == tap ? gradient : typename G::Float{};
          }
        }
      }
      for (int part = 0; part < G::kParts; ++part) {
        G::store(sum[part], dx.at(row * w.in_w + column) + part * G::kWidth);
      }
    }
  }
}

template <class T, int kLanes>
void average_line(const Pooling& w, Line<T, kLanes> x, Line<T, kLanes> y) {
  using G = Group<kLanes>;
  const float scale = 1.0f / static_cast<float>(w.kernel * w.kernel);
  for (std::int64_t row = 0; row < w.out_h; ++row) {
    for (std::int64_t column = 0; column < w.out_w; ++column) {
      typename G::Float sum[G::kParts] = {};
      for_each_tap(w, row, column, [&](std::int64_t pixel, int) {
        for (int part = 0; part < G::kParts; ++part) {
          sum[part] += G::load(x.at(pixel) + part * G::kWidth);
        }
      });
      for (int part = 0; part < G::kParts; ++part) {
        G::store(sum[part] * scale, y.at(row * w.out_w + column) + part * G::kWidth);
      }
    }
  }
}

template <class T, int kLanes>
void average_gradient_line(const Pooling& w, Line<T, kLanes> dy, Line<T, kLanes> dx) {
  using G = Group<kLanes>;
  const float scale = 1.0f / static_cast<float>(w.kernel * w.kernel);
  for (std::int64_t row = 0; row < w.in_h; ++row) {
    const std::int64_t i = row / w.kernel;
    std::int64_t column = 0;
    for (std::int64_t j = 0; i < w.out_h && j < w.out_w; ++j) {
      for (int k = 0; k < w.kernel; ++k, ++column) {
        for (int lane = 0; lane < kLanes; lane += G::kWidth) {
          G::store(G::load(dy.at(i * w.out_w + j) + lane) * scale, dx.at(row * w.in_w + column) + lane);
        }
      }
    }
    for (; column < w.in_w; ++column) {  // beyond the last whole window
      std::fill_n(dx.at(row * w.in_w + column), kLanes, T{});
    }
  }
}

}  // namespace

void compute(const Team& team, const op::MaxPool& o, void*) {
  const Pooling pooling = pooling_of(o.x, o.y, o.window);
  with_lines({o.x, o.y}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    for_each_line(team.threads, o.y.n, o.y.c, kLanes, [&](std::int64_t n, std::int64_t c) {
      max_line(pooling, walk.line(o.x, n, c), walk.line(o.y, n, c),
               o.argmax.present() ? argmax_line(o.argmax, o.y, n, c) : nullptr);
    });
    walk.clear_padding(o.y);
  });
}

void compute(const Team& team, const op::MaxPoolGradient& o, void*) {
  const Pooling pooling = pooling_of(o.dx, o.dy, o.window);
  with_lines({o.dy, o.dx}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    for_each_line(team.threads, o.dy.n, o.dy.c, kLanes, [&](std::int64_t n, std::int64_t c) {
      max_gradient_line(pooling, walk.line(o.dy, n, c), argmax_line(o.argmax, o.dy, n, c), walk.line(o.dx, n, c));
    });
    walk.clear_padding(o.dx);
  });
}

void compute(const Team& team, const op::AveragePool& o, void*) {
  const Pooling pooling = pooling_of(o.x, o.y, {o.kernel, o.kernel, 0});
  with_lines({o.x, o.y}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    for_each_line(team.threads, o.y.n, o.y.c, kLanes, [&](std::int64_t n, std::int64_t c) {
      average_line(pooling, walk.line(o.x, n, c), walk.line(o.y, n, c));
    });
    walk.clear_padding(o.y);
  });
}

void compute(const Team& team, const op::AveragePoolGradient& o, void*) {
  const Pooling pooling = pooling_of(o.dx, o.dy, {o.kernel, o.kernel, 0});
  with_lines({o.dy, o.dx}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    for_each_line(team.threads, o.dy.n, o.dy.c, kLanes, [&](std::int64_t n, std::int64_t c) {
      average_gradient_line(pooling, walk.line(o.dy, n, c), walk.line(o.dx, n, c));
    });
    walk.clear_padding(o.dx);
  });
}

void compute(const Team& team, const op::GlobalAveragePool& o, void*) {
  const View& x = o.x;
  float* y = o.y.as<float>();
  const double scale = 1.0 / static_cast<double>(x.pixels());
  with_lines({x}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    for_each_line(team.threads, x.n, x.c, kLanes, [&](std::int64_t n, std::int64_t c) {
      const auto line = walk.line(x, n, c);
      double sum[kLanes] = {};
      for (std::int64_t p = 0; p < x.pixels(); ++p) {
        for (int l = 0; l < kLanes; ++l) {
          sum[l] += to_float(line.at(p)[l]);
        }
      }
      for (int l = 0; l < kLanes; ++l) {
        y[n * x.c + c + l] = static_cast<float>(sum[l] * scale);
      }
    });
  });
}

void compute(const Team& team, const op::GlobalAveragePoolGradient& o, void*) {
  const View& dx = o.dx;
  const float* dy = o.dy.as<float>();
  const float scale = 1.0f / static_cast<float>(dx.pixels());
  with_lines({dx}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    for_each_line(team.threads, dx.n, dx.c, kLanes, [&](std::int64_t n, std::int64_t c) {
      const auto line = walk.line(dx, n, c);
      for (std::int64_t p = 0; p < dx.pixels(); ++p) {
        for (int l = 0; l < kLanes; ++l) {
          line.at(p)[l] = rounded_to<T>(dy[n * dx.c + c + l] * scale);
        }
      }
    });
    walk.clear_padding(dx);
  });
}

}  // namespace densetree::cpu
