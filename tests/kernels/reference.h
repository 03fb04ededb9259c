// What every operation of kernels/operations.h should compute, in float64 over dense NCHW vectors.
//
// The loops follow the formulas of operations.h and PyTorch's documentation word for word, with no thought for speed,
// and share no code with the devices: they are what a device is held against. They are themselves checked by finite
// differences and against constants from PyTorch in reference_test.cc.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"

namespace densetree::reference {

using Values = std::vector<double>;  // (N, C, H, W) in C-order, or one per channel

// Where element (n, c, h, w) lies in Values.
inline std::size_t at(const Shape& shape, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
  return static_cast<std::size_t>(((n * shape.c + c) * shape.h + h) * shape.w + w);
}
Values absolute(Values values);

// The channels [begin, begin + count) of a tensor of that shape.
Values channels_of(const Shape& shape, const Values& x, std::int64_t begin, std::int64_t count);

// ---- Convolution. Weights (O, I, kH, kW). The sum of the terms' magnitudes is the same call on absolute values.
Values convolution_forward(const ConvolutionShape& shape, const Values& x, const Values& w);
Values convolution_backward_data(const ConvolutionShape& shape, const Values& dy, const Values& w);
Values convolution_backward_weights(const ConvolutionShape& shape, const Values& x, const Values& dy);

// ---- Batch normalisation and ReLU, as one textbook layer.
Values batch_norm_relu(const Shape& shape, const Values& x, const Values& gamma, const Values& beta, double eps,
                       bool relu);
struct BatchNormGradient {
  Values dx, dgamma, dbeta;
};
BatchNormGradient batch_norm_relu_backward(const Shape& shape, const Values& dy, const Values& x, const Values& gamma,
                                           const Values& beta, double eps, bool relu);

// ---- The same in the factored form of operations.h.
struct ChannelStatistics {
  Values mean, variance, rstd;  // variance biased
};
ChannelStatistics channel_statistics(const Shape& shape, const Values& x, double eps);

struct AffineValues {
  Values mean, rstd, gamma, beta;
};
Values affine_relu(const Shape& shape, const Values& x, const AffineValues& affine, bool relu);
// dy where the clamp let through, else 0.
Values relu_gradient(const Shape& shape, const Values& dy, const Values& x, const AffineValues& affine);
struct AffineGradient {
  Values s, s_sum, s_xhat, dgamma, dbeta;  // what this consumer alone adds to S, Σ S and Σ S·x̂
};
// From dz, the gradient after the clamp.
AffineGradient affine_backward(const Shape& shape, const Values& dz, const Values& x, const AffineValues& affine);
Values normalize_backward(const Shape& shape, const Values& s, const Values& x, const Values& mean, const Values& rstd,
                          const Values& s_sum, const Values& s_xhat);

// running = (1 − momentum)·running + momentum·batch, the variance times count/(count − 1).
void update_running(const ChannelStatistics& batch, std::int64_t count, double momentum, Values& running_mean,
                    Values& running_variance);

// ---- Pooling
struct MaxPooling {
  Shape input;
  int kernel = 2, stride = 2, padding = 0;
  Shape output() const {
    return {input.n, input.c, (input.h + 2 * padding - kernel) / stride + 1,
            (input.w + 2 * padding - kernel) / stride + 1};
  }
};
// winner[i] is where output i's value lies in x: the first in row-major order among equals, as in torch.
Values max_pool(const MaxPooling& pooling, const Values& x, std::vector<std::size_t>* winner = nullptr);
Values max_pool_backward(const MaxPooling& pooling, const Values& dy, const std::vector<std::size_t>& winner);

Shape average_pool_output(const Shape& input, int kernel);
Values average_pool(const Shape& input, int kernel, const Values& x);
Values average_pool_backward(const Shape& input, int kernel, const Values& dy);
Values global_average_pool(const Shape& input, const Values& x);  // (N, C)
Values global_average_pool_backward(const Shape& input, const Values& dy);

// ---- Classifier
struct LinearSize {
  std::int64_t n, k, l;
};
Values linear(const LinearSize& size, const Values& x, const Values& w, const Values& b);
struct LinearGradient {
  Values dx, dw, db;
};
LinearGradient linear_backward(const LinearSize& size, const Values& x, const Values& w, const Values& dy);

double sigmoid(double x);
struct LossValue {
  double loss = 0;
  double magnitude = 0;  // Σ |parts of each term|·weight / M, the scale of rounding errors in the loss
  Values dz;
  Values dz_magnitude;
};
// NaN targets are missing. positive_weights empty: all 1.
LossValue loss(LossKind kind, const Values& z, const Values& y, const Values& positive_weights, std::int64_t n,
               std::int64_t l);

// ---- Optimiser
double l2_norm(const Values& g);
struct AdamState {
  Values m, v, w;
};
AdamState adam(const AdamStep& step, double norm, const Values& g, const AdamState& before);

// ---- Input. y is (N, 3, height, width).
Values images_to_input(const std::vector<std::uint8_t>& images, std::int64_t source,
                       const std::vector<ImageTransform>& transforms, const InputNormalization& normalization,
                       std::int64_t height, std::int64_t width);

}  // namespace densetree::reference
