// Sums over images and pixels in two stages: parts that are added up side by side, then the parts in order. How many
// parts there are depends on shapes only, so results do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/functors/statistics.h"
#include "kernels/operations.h"

namespace densetree::cpu {

// Two fp64 sums per channel: data[part][2][channels].
struct PartialSums {
  double* data;
  std::int64_t parts, channels;

  double* at(std::int64_t part, int which, std::int64_t channel) const {
    return data + (part * 2 + which) * channels + channel;
  }
  double total(int which, std::int64_t channel) const {
    double sum = 0;
    for (std::int64_t part = 0; part < parts; ++part) {
      sum += *at(part, which, channel);
    }
    return sum;
  }
};

// From Σx and Σx² over `count` values of each channel.
inline void finish_statistics(const PartialSums& sums, std::int64_t count, float eps, const op::Statistics& out) {
  for (std::int64_t c = 0; c < sums.channels; ++c) {
    const ChannelStatistics channel =
        statistics_of(sums.total(0, c), sums.total(1, c), static_cast<double>(count), eps);
    out.mean[c] = channel.mean;
    out.variance[c] = channel.variance;
    out.rstd[c] = channel.rstd;
  }
}

// From Σ dz·(x − mean) and Σ dz: what op::AffineReluGradient and op::NormConvolutionGradient, which o is, want per
// channel.
template <class Op>
void finish_affine_gradient(const PartialSums& partial, const Op& o) {
  const bool accumulate = o.mode == GradMode::kAccumulate;
  for (std::int64_t c = 0; c < partial.channels; ++c) {
    const double gamma_sum = partial.total(0, c) * o.affine.rstd[c], beta_sum = partial.total(1, c);
    o.dgamma[c] = static_cast<float>(gamma_sum);
    o.dbeta[c] = static_cast<float>(beta_sum);
    o.sums.s[c] = (accumulate ? o.sums.s[c] : 0.0) + o.affine.gamma[c] * beta_sum;
    o.sums.s_xhat[c] = (accumulate ? o.sums.s_xhat[c] : 0.0) + o.affine.gamma[c] * gamma_sum;
  }
}

}  // namespace densetree::cpu
