// Sums over images and pixels in two stages: parts that are added up side by side, then the parts in order. How many
// parts there are depends on shapes only, so results do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/device.h"
#include "kernels/functors/statistics.h"

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
inline void finish_statistics(const PartialSums& sums, std::int64_t count, float eps, const Statistics& out) {
  for (std::int64_t c = 0; c < sums.channels; ++c) {
    const ChannelStatistics channel =
        statistics_of(sums.total(0, c), sums.total(1, c), static_cast<double>(count), eps);
    out.mean[c] = channel.mean;
    out.variance[c] = channel.variance;
    out.rstd[c] = channel.rstd;
  }
}

// From Σ dz·(x − mean) and Σ dz: Device::affine_relu_backward's results per channel.
inline void finish_affine_backward(const PartialSums& partial, const Affine& affine, bool accumulate,
                                   const GradientSums& sums, float* dgamma, float* dbeta) {
  for (std::int64_t c = 0; c < partial.channels; ++c) {
    const double gamma_sum = partial.total(0, c) * affine.rstd[c], beta_sum = partial.total(1, c);
    dgamma[c] = static_cast<float>(gamma_sum);
    dbeta[c] = static_cast<float>(beta_sum);
    sums.s[c] = (accumulate ? sums.s[c] : 0.0) + affine.gamma[c] * beta_sum;
    sums.s_xhat[c] = (accumulate ? sums.s_xhat[c] : 0.0) + affine.gamma[c] * gamma_sum;
  }
}

}  // namespace densetree::cpu
