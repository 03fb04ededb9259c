// The float64 references themselves: against PyTorch (constants of version 1.13 in float64), and their backward
// functions against central differences of their forward functions.
#include "tests/kernels/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace densetree::reference {
namespace {

// The inputs of the PyTorch cases, and the projection that boils a result down to one number.
Values wave(std::int64_t count, double phase) {
  Values values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(0.7 * static_cast<double>(i) + phase);
  return values;
}
double projection(const Values& values) {
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) sum += values[i] * std::cos(0.3 * static_cast<double>(i));
  return sum;
}
double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}
constexpr double kTorch = 1e-11;

// gradient is that of f at x, element by element.
void expect_gradient(const std::function<double(const Values&)>& f, Values x, const Values& gradient,
                     const std::string& what) {
  ASSERT_EQ(x.size(), gradient.size()) << what;
  const double h = 1e-5;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double middle = x[i];
    x[i] = middle + h;
    const double above = f(x);
    x[i] = middle - h;
    const double below = f(x);
    x[i] = middle;
    EXPECT_NEAR((above - below) / (2 * h), gradient[i], 1e-6) << what << " at " << i;
  }
}

ConvolutionShape convolution(const Shape& input, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                             std::int64_t padding) {
  ConvolutionShape shape;
  shape.input = input;
  shape.out_channels = out, shape.kernel = kernel, shape.stride = stride, shape.padding = padding;
  return shape;
}

TEST(Reference, ConvolutionIsPyTorchs) {
  const auto expect = [](const ConvolutionShape& s, double y, double dx, double dw) {
    const Values x = wave(s.input.elements(), 0), w = wave(s.weights(), 1), dy = wave(s.output().elements(), 2);
    EXPECT_NEAR(projection(convolution_forward(s, x, w)), y, kTorch);
    EXPECT_NEAR(projection(convolution_backward_data(s, dy, w)), dx, kTorch);
    EXPECT_NEAR(projection(convolution_backward_weights(s, x, dy)), dw, kTorch);
  };
  expect(convolution({2, 3, 9, 7}, 4, 7, 2, 3), 1.9738140915632165, 1.5796556823369512, 2.20166003732103);
  expect(convolution({2, 5, 7, 5}, 3, 3, 1, 1), -0.07832997819760479, -8.32051408985858, 13.29611907110079);
  expect(convolution({2, 6, 3, 4}, 5, 1, 1, 0), -3.0710016295368954, -1.222439534289346, -3.1306377333898325);
}

TEST(Reference, ConvolutionGradients) {
  for (const ConvolutionShape& s : {convolution({2, 3, 5, 4}, 2, 3, 1, 1), convolution({1, 2, 7, 6}, 3, 5, 2, 2),
                                    convolution({2, 4, 3, 2}, 3, 1, 1, 0)}) {
    const Values x = wave(s.input.elements(), 0), w = wave(s.weights(), 1), dy = wave(s.output().elements(), 2);
    expect_gradient([&](const Values& moved) { return dot(dy, convolution_forward(s, moved, w)); }, x,
                    convolution_backward_data(s, dy, w), "dx");
    expect_gradient([&](const Values& moved) { return dot(dy, convolution_forward(s, x, moved)); }, w,
                    convolution_backward_weights(s, x, dy), "dw");
  }
}

TEST(Reference, BatchNormIsPyTorchs) {
  const Shape shape{3, 4, 5, 6};
  const Values x = wave(shape.elements(), 0), gamma = wave(4, 1), beta = wave(4, 2), dy = wave(shape.elements(), 3);
  EXPECT_NEAR(projection(batch_norm_relu(shape, x, gamma, beta, 1e-5, true)), 5.090118847561964, kTorch);
  const BatchNormGradient gradient = batch_norm_relu_backward(shape, dy, x, gamma, beta, 1e-5, true);
  EXPECT_NEAR(projection(gradient.dx), 0.8812986935414416, kTorch);
  EXPECT_NEAR(projection(gradient.dgamma), -94.7386941314098, kTorch);
  EXPECT_NEAR(projection(gradient.dbeta), -67.29833577621298, kTorch);
  Values mean(4, 0.0), variance(4, 1.0);
  update_running(channel_statistics(shape, x, 1e-5), shape.n * shape.pixels(), 0.1, mean, variance);
  EXPECT_NEAR(projection(mean), 7.393350785660357e-05, kTorch);
  EXPECT_NEAR(projection(variance), 3.233681105773784, kTorch);
}

TEST(Reference, BatchNormGradients) {
  const Shape shape{2, 3, 3, 4};
  const Values x = wave(shape.elements(), 0), gamma = wave(3, 1), beta = wave(3, 2), dy = wave(shape.elements(), 3);
  for (bool relu : {true, false}) {
    const BatchNormGradient gradient = batch_norm_relu_backward(shape, dy, x, gamma, beta, 1e-5, relu);
    const auto value = [&](const Values& x_, const Values& gamma_, const Values& beta_) {
      return dot(dy, batch_norm_relu(shape, x_, gamma_, beta_, 1e-5, relu));
    };
    expect_gradient([&](const Values& v) { return value(v, gamma, beta); }, x, gradient.dx, "dx");
    expect_gradient([&](const Values& v) { return value(x, v, beta); }, gamma, gradient.dgamma, "dγ");
    expect_gradient([&](const Values& v) { return value(x, gamma, v); }, beta, gradient.dbeta, "dβ");
  }
}

// docs/storage.md, section 2: one deferred normalisation gives the sum of the consumers' own batch norms.
TEST(Reference, FactoredBatchNormIsTheTextbooks) {
  const Shape shape{2, 3, 3, 4};
  const Values x = wave(shape.elements(), 0);
  const ChannelStatistics batch = channel_statistics(shape, x, 1e-5);
  Values s(x.size(), 0.0), s_sum(3, 0.0), s_xhat(3, 0.0), expected(x.size(), 0.0);
  for (int consumer = 0; consumer < 3; ++consumer) {
    const AffineValues affine{batch.mean, batch.rstd, wave(3, consumer), wave(3, consumer + 0.5)};
    const Values dy = wave(shape.elements(), consumer + 0.2);
    const AffineGradient part = affine_backward(shape, relu_gradient(shape, dy, x, affine), x, affine);
    const BatchNormGradient own = batch_norm_relu_backward(shape, dy, x, affine.gamma, affine.beta, 1e-5, true);
    for (std::size_t c = 0; c < 3; ++c) {
      EXPECT_NEAR(part.dgamma[c], own.dgamma[c], 1e-13);
      EXPECT_NEAR(part.dbeta[c], own.dbeta[c], 1e-13);
      s_sum[c] += part.s_sum[c], s_xhat[c] += part.s_xhat[c];
    }
    for (std::size_t i = 0; i < s.size(); ++i) s[i] += part.s[i], expected[i] += own.dx[i];
  }
  const Values dx = normalize_backward(shape, s, x, batch.mean, batch.rstd, s_sum, s_xhat);
  for (std::size_t i = 0; i < dx.size(); ++i) EXPECT_NEAR(dx[i], expected[i], 1e-13);
}

TEST(Reference, MaxPoolIsPyTorchs) {
  const MaxPooling p{{2, 3, 7, 5}, 3, 2, 1};
  Values x = wave(p.input.elements(), 0);
  for (double& v : x) v = std::nearbyint(2 * v);  // windows hold equals
  std::vector<std::size_t> winner;
  EXPECT_NEAR(projection(max_pool(p, x, &winner)), 2.3342340256505274, kTorch);
  EXPECT_NEAR(projection(max_pool_backward(p, wave(p.output().elements(), 1), winner)), -4.203501878426848, kTorch);
}

TEST(Reference, AveragePoolsArePyTorchs) {
  const Shape shape{2, 3, 7, 5};
  const Values x = wave(shape.elements(), 0);
  EXPECT_NEAR(projection(average_pool(shape, 2, x)), 0.016664837962483414, kTorch);
  const Values dy = wave(average_pool_output(shape, 2).elements(), 1);
  EXPECT_NEAR(projection(average_pool_backward(shape, 2, dy)), -4.076186126830768, kTorch);
  EXPECT_NEAR(projection(global_average_pool(shape, x)), 0.06699979321492174, kTorch);
  EXPECT_NEAR(projection(global_average_pool_backward(shape, wave(6, 1))), 0.02285182851996033, kTorch);
}

TEST(Reference, PoolingGradients) {
  const Shape shape{2, 2, 5, 4};
  const MaxPooling p{shape, 3, 2, 1};
  const Values x = wave(shape.elements(), 0), dy = wave(p.output().elements(), 1);
  std::vector<std::size_t> winner;
  max_pool(p, x, &winner);
  expect_gradient([&](const Values& v) { return dot(dy, max_pool(p, v)); }, x, max_pool_backward(p, dy, winner), "max");
  const Values average_dy = wave(average_pool_output(shape, 2).elements(), 1), global_dy = wave(4, 1);
  expect_gradient([&](const Values& v) { return dot(average_dy, average_pool(shape, 2, v)); }, x,
                  average_pool_backward(shape, 2, average_dy), "average");
  expect_gradient([&](const Values& v) { return dot(global_dy, global_average_pool(shape, v)); }, x,
                  global_average_pool_backward(shape, global_dy), "global average");
}

TEST(Reference, LinearIsPyTorchsAndHasItsGradients) {
  const LinearSize s{4, 6, 3};
  const Values x = wave(24, 0), w = wave(18, 1), b = wave(3, 2), dy = wave(12, 3);
  EXPECT_NEAR(projection(linear(s, x, w, b)), 0.13744623491022567, kTorch);
  const LinearGradient gradient = linear_backward(s, x, w, dy);
  EXPECT_NEAR(projection(gradient.dx), 4.963404493826371, kTorch);
  EXPECT_NEAR(projection(gradient.dw), 8.978203096665208, kTorch);
  EXPECT_NEAR(projection(gradient.db), -1.1732594684226876, kTorch);
  expect_gradient([&](const Values& v) { return dot(dy, linear(s, v, w, b)); }, x, gradient.dx, "dx");
  expect_gradient([&](const Values& v) { return dot(dy, linear(s, x, v, b)); }, w, gradient.dw, "dw");
  expect_gradient([&](const Values& v) { return dot(dy, linear(s, x, w, v)); }, b, gradient.db, "db");
}

TEST(Reference, LossesArePyTorchsAndHaveTheirGradients) {
  Values z = wave(12, 0), y = wave(12, 5), weights = wave(3, 6);
  for (double& v : z) v *= 3;
  for (double& v : y) v = v > 0 ? 1 : 0;
  for (double& v : weights) v += 1.5;
  const LossValue mse = loss(LossKind::kMse, z, y, {}, 4, 3), bce = loss(LossKind::kBce, z, y, weights, 4, 3);
  EXPECT_NEAR(mse.loss, 0.29708557636709215, kTorch);
  EXPECT_NEAR(projection(mse.dz), -0.003691472782988863, kTorch);
  EXPECT_NEAR(bce.loss, 1.101456742307225, kTorch);
  EXPECT_NEAR(projection(bce.dz), -0.01720292839811098, kTorch);
  y[3] = y[7] = NAN;
  for (LossKind kind : {LossKind::kMse, LossKind::kBce}) {
    expect_gradient([&](const Values& v) { return loss(kind, v, y, weights, 4, 3).loss; }, z,
                    loss(kind, z, y, weights, 4, 3).dz, "dz");
  }
}

TEST(Reference, MissingTargetsLeaveTheMean) {
  const LossValue some = loss(LossKind::kBce, {1, 7, -2, 5}, {1, NAN, 0, NAN}, {}, 2, 2);
  const LossValue those = loss(LossKind::kBce, {1, -2}, {1, 0}, {}, 1, 2);
  EXPECT_DOUBLE_EQ(some.loss, those.loss);
  EXPECT_EQ(some.dz, (Values{those.dz[0], 0, those.dz[1], 0}));
}

TEST(Reference, AdamIsPyTorchs) {
  for (const auto& [decay, expected] : {std::pair{0.0, 3.208634200387698}, {0.125, 3.135950531570297}}) {
    AdamState state{Values(10, 0.0), Values(10, 0.0), wave(10, 0)};
    AdamStep step;
    step.lr = 0.0625, step.beta1 = 0.875, step.beta2 = 0.96875, step.eps = 0x1p-20, step.weight_decay = decay;
    for (step.step = 1; step.step <= 3; ++step.step) {
      state = adam(step, 0, wave(10, static_cast<double>(step.step)), state);
    }
    EXPECT_NEAR(projection(state.w), expected, kTorch);
  }
}

TEST(Reference, ClippingScalesToTheBoundAndNeverUp) {
  const AdamState before{Values(2, 0.0), Values(2, 0.0), Values(2, 1.0)};
  AdamStep clipped;
  clipped.clip_norm = 1;
  EXPECT_NEAR(adam(clipped, 5, {3, 4}, before).m[1], 0.1 * 0.8, 1e-15);
  clipped.clip_norm = 10;
  EXPECT_NEAR(adam(clipped, 5, {3, 4}, before).m[1], 0.1 * 4, 1e-15);
}

TEST(Reference, ImagesArePyTorchsGridSample) {
  const std::int64_t source = 9;
  std::vector<std::uint8_t> image;
  for (double v : wave(source * source, 0))
    image.push_back(static_cast<std::uint8_t>(std::nearbyint(127.5 + 127.5 * v)));
  ImageTransform t;
  t.xx = 1.25f, t.xy = -0.5f, t.x0 = 1.5f, t.yx = 0.5f, t.yy = 1.25f, t.y0 = -0.75f, t.contrast = 0.75f;
  EXPECT_NEAR(projection(images_to_input(image, source, {t}, InputNormalization{}, 6, 7)), -14.289451895990004, kTorch);
}

}  // namespace
}  // namespace densetree::reference
