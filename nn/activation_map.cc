#include "nn/activation_map.h"

#include "kernels/core/error.h"

namespace densetree::nn {

data::HeatMap activation_map(std::span<const float> features, const Shape& shape, std::span<const float> classifier,
                             std::span<const double> gradients) {
  const auto channels = static_cast<std::size_t>(shape.c), pixels = static_cast<std::size_t>(shape.pixels());
  const std::size_t labels = gradients.size();
  check(features.size() == channels * pixels, "an image has {} features; ({}, {}, {}) are {}", features.size(), shape.c,
        shape.h, shape.w, channels * pixels);
  check(classifier.size() == labels * channels, "the classifier has {} weights; {} labels of {} channels have {}",
        classifier.size(), labels, channels, labels * channels);
  std::vector<double> sums(pixels, 0.0);
  for (std::size_t c = 0; c < channels; ++c) {
    double weight = 0;
    for (std::size_t l = 0; l < labels; ++l) {
      weight += gradients[l] * classifier[l * channels + c];
    }
    for (std::size_t p = 0; p < pixels; ++p) {
      sums[p] += weight * features[c * pixels + p];
    }
  }
  return {static_cast<int>(shape.w), static_cast<int>(shape.h), {sums.begin(), sums.end()}};
}

}  // namespace densetree::nn
