// Batch statistics of one channel: from sums, into running averages, and the reciprocal standard deviation.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/core/host_device.h"

namespace densetree {

// 1/sqrt(variance + eps)
DT_HD inline float reciprocal_std_of(double variance, float eps) {
  return static_cast<float>(1.0 / sqrt(variance + eps));
}

struct ChannelStatistics {
  float mean, variance, rstd;
};

// From Σx and Σx² over `count` values: mean, biased variance, reciprocal standard deviation.
DT_HD inline ChannelStatistics statistics_of(double sum, double square_sum, double count, float eps) {
  const double mean = sum / count;
  const double difference = square_sum / count - mean * mean;
  const double variance = difference < 0 ? 0.0 : difference;  // rounding may leave it below 0; a NaN stays
  return {static_cast<float>(mean), static_cast<float>(variance), reciprocal_std_of(variance, eps)};
}

// (1 − momentum)·running + momentum·batch
DT_HD inline float moved(float running, float batch, float momentum) {
  return running + momentum * (batch - running);
}

// The unbiased variance of `count` values whose biased one is given. count >= 2.
DT_HD inline float unbiased(float variance, std::int64_t count) {
  return static_cast<float>(variance * (static_cast<double>(count) / static_cast<double>(count - 1)));
}

}  // namespace densetree
