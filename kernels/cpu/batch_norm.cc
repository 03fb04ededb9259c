// Batch normalisation, factored: statistics, what is made of them, and gradients (kernels/operations.h explains it).
#include "kernels/cpu/feature_lines.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/partial_sums.h"

namespace densetree::cpu {
namespace {

// Images are reduced in this many parts at most.
constexpr std::int64_t kSlots = 16;

std::size_t reduction_bytes(std::int64_t channels) {
  return static_cast<std::size_t>(kSlots * 2 * channels) * sizeof(double);
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

template <class T, int kLanes>
void normalize_gradient_line(Line<T, kLanes> s, Line<T, kLanes> x, Line<T, kLanes> dx, std::int64_t pixels,
                             const ChannelNormalizeGradient* channels, bool accumulate) {
  using G = Group<kLanes>;
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

std::size_t scratch_bytes(const Team&, const op::ChannelStatistics& o) {
  return reduction_bytes(o.x.c);
}

void compute(const Team& team, const op::ChannelStatistics& o, void* workspace) {
  const View &x = o.x, &y = o.y.present() ? o.y : o.x;
  with_lines({x, y}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    const auto sums = reduce_lines(team.threads, x, kLanes, workspace,
                                   [&](std::int64_t n, std::int64_t c, double* sum, double* square) {
                                     if (o.y.present()) {
                                       sum_line<true>(walk.line(x, n, c), walk.line(y, n, c), x.pixels(), sum, square);
                                     } else {
                                       sum_line<false>(walk.line(x, n, c), {}, x.pixels(), sum, square);
                                     }
                                   });
    finish_statistics(sums, x.count(), o.eps, o.statistics);
    if (o.y.present()) {
      walk.clear_padding(y);
    }
  });
}

void compute(const Team&, const op::UpdateRunning& o, void*) {
  for (std::int64_t c = 0; c < o.mean.count; ++c) {
    o.mean[c] = moved(o.mean[c], o.batch.mean[c], o.momentum);
    o.variance[c] = moved(o.variance[c], unbiased(o.batch.variance[c], o.count), o.momentum);
  }
}

void compute(const Team&, const op::ReciprocalStd& o, void*) {
  for (std::int64_t c = 0; c < o.variance.count; ++c) {
    o.rstd[c] = reciprocal_std_of(o.variance[c], o.eps);
  }
}

void compute(const Team& team, const op::AffineRelu& o, void*) {
  with_lines({o.x, o.y}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    for_each_line(team.threads, o.x.n, o.x.c, kLanes, [&](std::int64_t n, std::int64_t c) {
      affine_line(walk.line(o.x, n, c), walk.line(o.y, n, c), o.x.pixels(), affine_group<kLanes>(o.affine, c));
    });
    walk.clear_padding(o.y);
  });
}

std::size_t scratch_bytes(const Team&, const op::AffineReluGradient& o) {
  return reduction_bytes(o.x.c);
}

void compute(const Team& team, const op::AffineReluGradient& o, void* workspace) {
  const bool accumulate = o.mode == GradMode::kAccumulate;
  with_lines({o.dy, o.x, o.s}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    const auto partial = reduce_lines(
        team.threads, o.x, kLanes, workspace, [&](std::int64_t n, std::int64_t c, double* sum0, double* sum1) {
          affine_gradient_line(walk.line(o.x, n, c), walk.line(o.dy, n, c), walk.line(o.s, n, c), o.x.pixels(),
                               affine_group<kLanes>(o.affine, c), accumulate, sum0, sum1);
        });
    finish_affine_gradient(partial, o);
    if (!accumulate) {
      walk.clear_padding(o.s);
    }
  });
}

void compute(const Team& team, const op::NormalizeGradient& o, void*) {
  const bool accumulate = o.mode == GradMode::kAccumulate;
  const double scale = 1.0 / static_cast<double>(o.x.count());
  with_lines({o.s, o.x, o.dx}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
    for_each_line(team.threads, o.x.n, o.x.c, kLanes, [&](std::int64_t n, std::int64_t c) {
      ChannelNormalizeGradient f[kLanes];
      for (int l = 0; l < kLanes; ++l) {
        f[l] = {o.statistics.mean[c + l], o.statistics.rstd[c + l], o.sums.s[c + l] * scale,
                o.sums.s_xhat[c + l] * scale};
      }
      normalize_gradient_line(walk.line(o.s, n, c), walk.line(o.x, n, c), walk.line(o.dx, n, c), o.x.pixels(), f,
                              accumulate);
    });
    if (!accumulate) {
      walk.clear_padding(o.dx);
    }
  });
}

}  // namespace densetree::cpu
