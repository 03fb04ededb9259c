// Element-wise and per-channel operations on features: copies, statistics, and factored batch normalisation.
#include <omp.h>

#include "kernels/core/error.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/feature_lines.h"
#include "kernels/cpu/partial_sums.h"
#include "kernels/functors/image.h"

namespace densetree {
namespace {

using cpu::affine_backward_line;
using cpu::affine_group;
using cpu::affine_line;
using cpu::finish_affine_backward;
using cpu::finish_statistics;
using cpu::for_each_line;
using cpu::Line;
using cpu::PartialSums;
using cpu::sum_line;
using cpu::Walk;
using cpu::with_lines;

// Images are reduced in this many parts at most.
constexpr std::int64_t kSlots = 16;

void check_same_shape(const char* operation, const View& a, const View& b) {
  check(a.shape() == b.shape(), "{}: shapes ({}, {}, {}, {}) and ({}, {}, {}, {}) differ", operation, a.n, a.c, a.h,
        a.w, b.n, b.c, b.h, b.w);
}

// Two fp64 sums per channel. body(image, channel, sum0, sum1) adds one line to its group's sums.
template <class Body>
PartialSums reduce_lines(int threads, const View& x, std::int64_t lanes, void* workspace, const Body& body) {
  const PartialSums partial{static_cast<double*>(workspace), std::min(x.n, kSlots), x.c};
  const std::int64_t groups = x.c / lanes, slots = partial.parts;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
  for (std::int64_t group = 0; group < groups; ++group) {
    for (std::int64_t slot = 0; slot < slots; ++slot) {
      double* sum0 = partial.at(slot, 0, group * lanes);
      double* sum1 = partial.at(slot, 1, group * lanes);
      std::fill_n(sum0, lanes, 0.0);
      std::fill_n(sum1, lanes, 0.0);
      for (std::int64_t image = slot * x.n / slots; image < (slot + 1) * x.n / slots; ++image) {
        body(image, group * lanes, sum0, sum1);
      }
    }
  }
  return partial;
}

template <class From, class To, int kLanes>
void copy_line(Line<From, kLanes> x, Line<To, kLanes> y, std::int64_t pixels) {
  using G = cpu::Group<kLanes>;
  for (std::int64_t p = 0; p < pixels; ++p) {
    for (int lane = 0; lane < kLanes; lane += G::kWidth) {
      G::store(G::load(x.at(p) + lane), y.at(p) + lane);
    }
  }
}

template <class T, int kLanes>
void normalize_backward_line(Line<T, kLanes> s, Line<T, kLanes> x, Line<T, kLanes> dx, std::int64_t pixels,
                             const ChannelNormalizeGradient* channels, bool accumulate) {
  using G = cpu::Group<kLanes>;
  NormalizeGradientOf<typename G::Float> f[G::kParts];
  for (int part = 0; part < G::kParts; ++part) {
    const ChannelNormalizeGradient* c = channels + part * G::kWidth;
    f[part] = {G::gather([&](int l) { return c[l].mean; }), G::gather([&](int l) { return c[l].rstd; }),
               G::gather([&](int l) { return c[l].mean_s; }), G::gather([&](int l) { return c[l].rest; }),
               G::gather([&](int l) { return c[l].slope; })};
  }
  for (std::int64_t p = 0; p < pixels; ++p) {
    for (int part = 0; part < G::kParts; ++part) {
      const int lane = part * G::kWidth;
      const auto gradient = f[part](G::load(x.at(p) + lane), G::load(s.at(p) + lane));
      T* to = dx.at(p) + lane;
      G::store(accumulate ? G::load(to) + gradient : gradient, to);
    }
  }
}

}  // namespace

std::size_t CpuDevice::reduction_bytes(std::int64_t c) const {
  return kSlots * 2 * c * sizeof(double);
}

void CpuDevice::images_to_input(const std::uint8_t* images, std::int64_t source, const ImageTransform* transforms,
                                const InputNormalization& normalization, const View& y) {
  check(y.c == kInputChannels, "images_to_input: the input has {} channels; it needs {}", y.c, kInputChannels);
  const ChannelNormalize normalize(normalization);
  with_lines("images_to_input", {y}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads_)
    for (std::int64_t n = 0; n < y.n; ++n) {
      for (std::int64_t row = 0; row < y.h; ++row) {
        const std::uint8_t* image = images + n * source * source;
        for (std::int64_t column = 0; column < y.w; ++column) {
          const float grey = sample(image, source, transforms[n], centered(column, y.w), centered(row, y.h));
          for (int c = 0; c < kInputChannels; ++c) {
            y.as<T>()[y.offset(n, c, row * y.w + column)] = rounded_to<T>(normalize(grey, c));
          }
        }
      }
    }
    walk.clear_padding(y);
  });
}

void CpuDevice::copy_view(const View& x, const View& y) {
  check_same_shape("copy_view", x, y);
  with_lines("copy_view", {x}, [&]<class From, int kOfX>(Walk<From, kOfX>) {
    with_lines("copy_view", {y}, [&]<class To, int kOfY>(Walk<To, kOfY> walk) {
      constexpr int kLanes = kOfX == kOfY ? kOfX : 1;
      for_each_line(threads_, x.n, x.c, kLanes, [&](std::int64_t n, std::int64_t c) {
        copy_line(Walk<From, kLanes>::line(x, n, c), Walk<To, kLanes>::line(y, n, c), x.pixels());
      });
      walk.clear_padding(y);
    });
  });
}

void CpuDevice::channel_statistics(const View& x, float eps, const Statistics& statistics, void* workspace) {
  with_lines("channel_statistics", {x}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    const auto sums =
        reduce_lines(threads_, x, kLanes, workspace, [&](std::int64_t n, std::int64_t c, double* sum, double* square) {
          sum_line<false>(walk.line(x, n, c), {}, x.pixels(), sum, square);
        });
    finish_statistics(sums, x.count(), eps, statistics);
  });
}

void CpuDevice::copy_with_statistics(const View& x, const View& y, float eps, const Statistics& statistics,
                                     void* workspace) {
  check_same_shape("copy_with_statistics", x, y);
  with_lines("copy_with_statistics", {x, y}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    const auto sums =
        reduce_lines(threads_, x, kLanes, workspace, [&](std::int64_t n, std::int64_t c, double* sum, double* square) {
          sum_line<true>(walk.line(x, n, c), walk.line(y, n, c), x.pixels(), sum, square);
        });
    finish_statistics(sums, x.count(), eps, statistics);
    walk.clear_padding(y);
  });
}

void CpuDevice::update_running(const Statistics& batch, std::int64_t channels, std::int64_t count, float momentum,
                               float* running_mean, float* running_variance) {
  check(count > 1, "update_running: the unbiased variance of {} value needs at least 2; use a larger batch or image",
        count);
  for (std::int64_t c = 0; c < channels; ++c) {
    running_mean[c] = moved(running_mean[c], batch.mean[c], momentum);
    running_variance[c] = moved(running_variance[c], unbiased(batch.variance[c], count), momentum);
  }
}

void CpuDevice::reciprocal_std(const float* variance, std::int64_t channels, float eps, float* rstd) {
  for (std::int64_t c = 0; c < channels; ++c) {
    rstd[c] = reciprocal_std_of(variance[c], eps);
  }
}

void CpuDevice::affine_relu(const View& x, const Affine& affine, bool relu, const View& y) {
  check_same_shape("affine_relu", x, y);
  with_lines("affine_relu", {x, y}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    for_each_line(threads_, x.n, x.c, kLanes, [&](std::int64_t n, std::int64_t c) {
      affine_line(walk.line(x, n, c), walk.line(y, n, c), x.pixels(), affine_group<kLanes>(affine, c), relu);
    });
    walk.clear_padding(y);
  });
}

void CpuDevice::affine_relu_backward(const View& dy, const View& x, const Affine& affine, bool relu, GradMode mode,
                                     const View& s, const GradientSums& sums, float* dgamma, float* dbeta,
                                     void* workspace) {
  check_same_shape("affine_relu_backward", dy, x);
  check_same_shape("affine_relu_backward", s, x);
  const bool accumulate = mode == GradMode::kAccumulate;
  with_lines("affine_relu_backward", {dy, x, s}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    const auto partial =
        reduce_lines(threads_, x, kLanes, workspace, [&](std::int64_t n, std::int64_t c, double* sum0, double* sum1) {
          affine_backward_line(walk.line(x, n, c), walk.line(dy, n, c), walk.line(s, n, c), x.pixels(),
                               affine_group<kLanes>(affine, c), relu, accumulate, sum0, sum1);
        });
    finish_affine_backward(partial, affine, accumulate, sums, dgamma, dbeta);
    if (!accumulate) {
      walk.clear_padding(s);
    }
  });
}

void CpuDevice::normalize_backward(const View& s, const View& x, const Statistics& statistics, const GradientSums& sums,
                                   GradMode mode, const View& dx) {
  check_same_shape("normalize_backward", s, x);
  check_same_shape("normalize_backward", dx, x);
  const double scale = 1.0 / static_cast<double>(x.count());
  with_lines("normalize_backward", {s, x, dx}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    for_each_line(threads_, x.n, x.c, kLanes, [&](std::int64_t n, std::int64_t c) {
      ChannelNormalizeGradient f[kLanes];
      for (int l = 0; l < kLanes; ++l) {
        f[l] = {statistics.mean[c + l], statistics.rstd[c + l], sums.s[c + l] * scale, sums.s_xhat[c + l] * scale};
      }
      normalize_backward_line(walk.line(s, n, c), walk.line(x, n, c), walk.line(dx, n, c), x.pixels(), f,
                              mode == GradMode::kAccumulate);
    });
    if (mode == GradMode::kOverwrite) {
      walk.clear_padding(dx);
    }
  });
}

}  // namespace densetree
