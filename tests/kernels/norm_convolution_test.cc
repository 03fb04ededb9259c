// Batch norm, ReLU and convolution in one, against the three of them in float64, on the devices that have it.
#include "tests/kernels/op_case.h"
#include "tests/kernels/unbound.h"

namespace densetree::test {
namespace {

constexpr float kBatchNormEps = 1e-5f;
constexpr double kTolerance = 6;  // × eps × Σ |terms|: a product's rounding, and that of the z it is made of

// What storing a number may lose of it, and multiplying by it.
double stored(DType type) {
  return type == DType::kBFloat16 ? 0x1.01p-8 : 0;
}
double multiplied(Precision precision) {
  return precision == Precision::kBFloat16 ? 0x1.01p-8 : precision == Precision::kTensorFloat32 ? 0x1p-9 : 0;
}

ConvolutionShape convolution(const Shape& input, std::int64_t out, std::int64_t kernel) {
  ConvolutionShape shape;
  shape.input = input;
  shape.out_channels = out, shape.kernel = kernel, shape.padding = kernel / 2;
  shape.input_use = shape.output_use = Use::kStack;
  return shape;
}

// Single tiles and many, whole runs of pixels and rests, odd numbers of vectors, several parts.
std::vector<ConvolutionShape> cases() {
  std::vector<ConvolutionShape> all;
  for (const Shape& input : {Shape{1, 16, 1, 1}, Shape{2, 48, 5, 3}, Shape{3, 32, 7, 7}, Shape{2, 64, 28, 27},
                             Shape{1, 16, 13, 56}, Shape{4, 32, 30, 31}}) {
    for (const std::int64_t out : {16, 32, 48}) {
      all.push_back(convolution(input, out, 1));
      all.push_back(convolution(input, out, 3));
    }
  }
  all.push_back(convolution({2, 512, 7, 7}, 128, 1));
  all.push_back(convolution({2, 128, 14, 14}, 32, 3));
  return all;
}

std::string name_of_case(const ConvolutionShape& s) {
  return fmt::format("{} {}x{}, ({}, {}, {}, {}) to {}", name_of(s.precision), s.kernel, s.kernel, s.input.n, s.input.c,
                     s.input.h, s.input.w, s.out_channels);
}

// Batch norm's parameters, and the distance of every z from the clamp: γ·x̂ + β is nowhere near zero, so that rounding
// does not decide which gradients pass.
struct Data {
  Values x, w, dy, s;
  reference::AffineValues affine;
  Values z;

  explicit Data(const ConvolutionShape& shape) {
    const std::int64_t channels = shape.input.c;
    const DType type = element_type(shape.precision);
    x = random_values(shape.input.elements(), 1);
    w = rounded_to(type, random_values(shape.weights(), 2));
    dy = rounded_to(type, random_values(shape.output().elements(), 3));
    s = rounded_to(type, random_values(shape.input.elements(), 4));
    affine = {random_values(channels, 5, -0.3, 0.3), random_values(channels, 6, 0.5, 2), random_values(channels, 7),
              random_values(channels, 8, -0.5, 0.5)};
    const std::int64_t pixels = shape.input.pixels();
    for (std::int64_t i = 0; i < shape.input.elements(); ++i) {
      const std::int64_t c = i / pixels % channels;
      const double scale = affine.rstd[c] * affine.gamma[c];
      if (std::abs((x[i] - affine.mean[c]) * scale + affine.beta[c]) < 1e-3) {
        x[i] += 0.01 / std::max(std::abs(scale), 0.05);
      }
    }
    x = rounded_to(type, x);
    z = reference::affine_relu(shape.input, x, affine, true);
  }
};

class NormConvolutionTest : public OpTest {
 protected:
  // Every case in fp32 and a part of them in other precisions, where the device has a fused form of it.
  template <class Body>
  void for_each_case(const Body& body) {
    int taken = 0;
    for (const Precision precision : {Precision::kFloat32, Precision::kTensorFloat32, Precision::kBFloat16}) {
      if (!device().why_not(precision).empty()) {
        continue;
      }
      for (ConvolutionShape shape : cases()) {
        shape.precision = precision;
        if (precision != Precision::kFloat32 && shape.out_channels < 48 && shape.input.c < 128) {
          continue;  // a pair of vectors and an odd one is enough
        }
        if (why_not_fused(shape).empty()) {
          ++taken;
          body(shape);
        }
      }
    }
    if (taken == 0) {
      GTEST_SKIP() << "this device has no fused batch norm and convolution";
    }
  }
  // The device's reasons where it has no fused form of these channels in a stack, else empty.
  std::string why_not_fused(const ConvolutionShape& shape) {
    std::vector<Refusal> refusals;
    const auto kernel = device().prepare(
        unbound_norm_convolution(device(), shape, {0, shape.input.c + 16}, {32, shape.out_channels + 48}), &refusals);
    std::string reasons;
    for (const Refusal& refusal : refusals) {
      EXPECT_FALSE(refusal.implementation.empty() || refusal.reason.empty()) << shape.describe();
      reasons += refusal.reason + "; ";
    }
    EXPECT_EQ(kernel == nullptr, !reasons.empty()) << shape.describe() << ": " << reasons;
    return kernel ? "" : reasons;
  }
  // What every device with a fused form has it in.
  Precision reduced_where_there() const {
    return device().why_not(Precision::kBFloat16).empty() ? Precision::kBFloat16 : Precision::kFloat32;
  }
  // Channel parameters in device memory.
  struct DeviceAffine {
    Floats mean, rstd, gamma, beta;
    DeviceAffine(Device& device, const reference::AffineValues& a)
        : mean(device, a.mean), rstd(device, a.rstd), gamma(device, a.gamma), beta(device, a.beta) {}
    op::Affine get() const { return {mean, rstd, gamma, beta}; }
  };
  Placement slab(std::int64_t before, std::int64_t after, DType type = DType::kFloat32) {
    return {device().layout(Use::kStack), before, after, type};
  }
};

TEST_P(NormConvolutionTest, ForwardWithStatisticsAndKept) {
  for_each_case([&](const ConvolutionShape& shape) {
    const Data d(shape);
    const std::int64_t out = shape.out_channels;
    const DType type = element_type(shape.precision);
    const Tensor x(device(), shape.input, slab(0, 32, type), d.x), y(device(), shape.output(), slab(32, 16, type));
    const Tensor z(device(), shape.input, slab(0, 0, type));
    const Floats w(device(), d.w), mean(device(), out), variance(device(), out), rstd(device(), out);
    const DeviceAffine affine(device(), d.affine);
    const op::NormConvolution operation{.shape = shape,
                                        .x = x,
                                        .affine = affine.get(),
                                        .w = w,
                                        .y = y,
                                        .eps = kBatchNormEps,
                                        .statistics = {mean, variance, rstd},
                                        .z = z};
    const auto kernel = prepared(device(), operation);
    run(device(), *kernel, operation);

    const std::string name = name_of_case(shape);
    const Values expected = reference::convolution_forward(shape, d.z, d.w);
    const Values scale = reference::convolution_forward(shape, plus(reference::absolute(d.z), Values(d.z.size(), 2.0)),
                                                        reference::absolute(d.w));
    expect_close(
        y.read(), expected,
        plus(times(scale, kTolerance * kEps + multiplied(shape.precision)), bounded(expected, stored(type), 0)), name);
    expect_close(z.read(), d.z, bounded(d.z, stored(type), 8 * kEps), name + ", z");
    const auto actual = reference::channel_statistics(shape.output(), y.read(), kBatchNormEps);
    expect_close(mean.read(), actual.mean, 1e-6, name + ", mean");
    expect_close(variance.read(), actual.variance, times(actual.variance, 1e-6), name + ", variance");
    expect_close(rstd.read(), actual.rstd, times(actual.rstd, 1e-6), name + ", rstd");
    y.expect_clean();
    x.expect_unchanged();

    // Without what is not asked for, the same y.
    const Tensor again(device(), shape.output(), slab(32, 16, type));
    run(device(), *kernel,
        op::NormConvolution{.shape = shape, .x = x, .affine = affine.get(), .w = w, .y = again, .eps = kBatchNormEps});
    EXPECT_EQ(again.read(), y.read()) << name;
  });
}

TEST_P(NormConvolutionTest, Backward) {
  for_each_case([&](const ConvolutionShape& shape) {
    const Data d(shape);
    const std::string name = name_of_case(shape);
    const std::int64_t channels = shape.input.c;
    const Values dz = reference::convolution_backward_data(shape, d.dy, d.w);
    const Values passed = reference::relu_gradient(shape.input, dz, d.x, d.affine);
    const auto expected = reference::affine_backward(shape.input, passed, d.x, d.affine);
    const Values dw = reference::convolution_backward_weights(shape, d.z, d.dy);
    const Values dw_scale = reference::convolution_backward_weights(
        shape, plus(reference::absolute(d.z), Values(d.z.size(), 2.0)), reference::absolute(d.dy));
    const Values dz_scale =
        reference::convolution_backward_data(shape, reference::absolute(d.dy), reference::absolute(d.w));
    Values sum_scale(channels, 0.0);  // of Σ |dz|·(|x̂| + 1)
    for (std::int64_t i = 0; i < shape.input.elements(); ++i) {
      sum_scale[i / shape.input.pixels() % channels] += 6 * dz_scale[i];
    }

    const DType type = element_type(shape.precision);
    const Tensor x(device(), shape.input, slab(0, 16, type), d.x),
        dy(device(), shape.output(), slab(16, 0, type), d.dy);
    const Tensor z(device(), shape.input, slab(0, 0, type), d.z);
    // A GPU stores ∂L/∂z; of TF32 products, dy and w are rounded.
    const double of_dz = device().info().name.starts_with("cpu") ? 0 : multiplied(shape.precision);
    const Floats w(device(), d.w);
    const DeviceAffine affine(device(), d.affine);
    for (const bool kept : {false, true}) {
      for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
        const bool adds = mode == GradMode::kAccumulate;
        const Tensor s(device(), shape.input, slab(0, 16, type), d.s);
        const Floats got_dw(device(), shape.weights()), dgamma(device(), channels), dbeta(device(), channels);
        const Array<double> sum(device(), Values(channels, 0.25)), xhat(device(), Values(channels, -0.5));
        const op::NormConvolutionGradient operation{.shape = shape,
                                                    .x = x,
                                                    .affine = affine.get(),
                                                    .w = w,
                                                    .dy = dy,
                                                    .z = kept ? z.view() : View{},
                                                    .mode = mode,
                                                    .s = s,
                                                    .sums = {sum, xhat},
                                                    .dw = got_dw,
                                                    .dgamma = dgamma,
                                                    .dbeta = dbeta};
        run(device(), *prepared(device(), operation), operation);

        const std::string what = fmt::format("{}{}{}", name, kept ? ", z kept" : "", adds ? ", adding" : "");
        const double before = adds ? 1 : 0;
        expect_close(got_dw.read(), dw, times(dw_scale, kTolerance * kEps + multiplied(shape.precision)),
                     what + ", dw");
        const Values expected_s = plus(expected.s, d.s, before);
        expect_close(s.read(), expected_s,
                     plus(times(dz_scale, kTolerance * kEps + of_dz), bounded(expected_s, stored(type), kEps)),
                     what + ", S");
        expect_close(dgamma.read(), expected.dgamma, times(sum_scale, kTolerance * kEps + of_dz), what + ", dgamma");
        expect_close(dbeta.read(), expected.dbeta, times(sum_scale, kTolerance * kEps + of_dz), what + ", dbeta");
        expect_close(sum.read(), plus(expected.s_sum, Values(channels, 0.25), before),
                     times(sum_scale, kTolerance * kEps + of_dz), what + ", s");
        expect_close(xhat.read(), plus(expected.s_xhat, Values(channels, -0.5), before),
                     times(sum_scale, kTolerance * kEps + of_dz), what + ", s_xhat");
        x.expect_unchanged();
        dy.expect_unchanged();
        s.expect_clean();
      }
    }
  });
}

TEST_P(NormConvolutionTest, KeepingChangesNoBit) {
  ConvolutionShape shape = convolution({3, 32, 9, 8}, 32, 3);
  shape.precision = reduced_where_there();
  if (const std::string why_not = why_not_fused(shape); !why_not.empty()) {
    GTEST_SKIP() << why_not;
  }
  const DType type = element_type(shape.precision);
  const Data d(shape);
  const Tensor x(device(), shape.input, slab(0, 0, type), d.x), y(device(), shape.output(), slab(0, 0, type));
  const Tensor z(device(), shape.input, slab(0, 0, type)), dy(device(), shape.output(), slab(0, 0, type), d.dy);
  const Floats w(device(), d.w);
  const DeviceAffine affine(device(), d.affine);
  run(device(), op::NormConvolution{
                    .shape = shape, .x = x, .affine = affine.get(), .w = w, .y = y, .eps = kBatchNormEps, .z = z});
  std::unique_ptr<Kernel> kernel;  // the same for both
  std::vector<Values> results;
  for (const View& kept : {View{}, z.view()}) {
    const Tensor s(device(), shape.input, slab(0, 0, type));
    const Floats dw(device(), shape.weights()), dgamma(device(), shape.input.c), dbeta(device(), shape.input.c);
    const Array<double> sum(device(), static_cast<std::size_t>(shape.input.c)),
        xhat(device(), static_cast<std::size_t>(shape.input.c));
    const op::NormConvolutionGradient operation{.shape = shape,
                                                .x = x,
                                                .affine = affine.get(),
                                                .w = w,
                                                .dy = dy,
                                                .z = kept,
                                                .s = s,
                                                .sums = {sum, xhat},
                                                .dw = dw,
                                                .dgamma = dgamma,
                                                .dbeta = dbeta};
    if (!kernel) {
      kernel = prepared(device(), operation);
    }
    run(device(), *kernel, operation);
    for (const Values& part : {s.read(), dw.read(), dgamma.read(), dbeta.read(), sum.read(), xhat.read()}) {
      results.push_back(part);
    }
  }
  for (std::size_t i = 0; i < results.size() / 2; ++i) {
    EXPECT_EQ(results[i], results[i + results.size() / 2]) << i;
  }
}

TEST_P(NormConvolutionTest, RefusesWhatItWasNotMadeFor) {
  ConvolutionShape shape = convolution({2, 32, 9, 8}, 32, 3);
  shape.training = false;
  shape.precision = reduced_where_there();
  if (const std::string why_not = why_not_fused(shape); !why_not.empty()) {
    GTEST_SKIP() << why_not;
  }
  const DType type = element_type(shape.precision);
  const Tensor x(device(), shape.input, slab(0, 0, type)), y(device(), shape.output(), slab(0, 0, type)),
      other(device(), {2, 32, 9, 7}, slab(0, 0, type));
  const auto expect_refusal = [&](const Tensor& input, const Tensor& output, const View& z, const std::string& reason) {
    op::NormConvolution operation = unbound_norm_convolution(device(), shape, {0, 32}, {0, 32});
    operation.x = input, operation.y = output, operation.z = z;
    expect_error([&] { prepared(device(), operation); }, reason);
  };
  expect_refusal(other, y, {}, "input is (2, 32, 9, 7)");
  expect_refusal(x, other, {}, "output is (2, 32, 9, 7)");
  expect_refusal(x, y, other.view(), "z is (2, 32, 9, 7)");
  op::NormConvolutionGradient gradient{};
  gradient.shape = shape, gradient.x = x, gradient.dy = y, gradient.s = x;
  expect_error([&] { run(device(), gradient); }, "prepared for inference");
}

// Slabs and whole vectors are what the CPU's kernels walk over.
TEST(FusedOnTheCpu, NeedsStacksAndChannelsOnTheirBoundaries) {
  Device& cpu = device_named("cpu");
  ConvolutionShape shape = convolution({2, 32, 9, 8}, 32, 3);
  if (!cpu.prepare(unbound_norm_convolution(cpu, shape, {0, 32}, {0, 32}))) {
    GTEST_SKIP() << "this processor has no fused batch norm and convolution";
  }
  const auto gradient = [&](std::int64_t of_x, std::int64_t of_s, std::int64_t of_y) {
    const op::NormConvolution a = unbound_norm_convolution(cpu, shape, {of_x, 64}, {of_y, 64});
    const op::NormConvolution b = unbound_norm_convolution(cpu, shape, {of_s, 64}, {of_y, 64});
    densetree::Array<double> sums(nullptr, 32);
    sums.storage = 0;
    return op::NormConvolutionGradient{.shape = shape,
                                       .x = a.x,
                                       .affine = a.affine,
                                       .w = a.w,
                                       .dy = a.y,
                                       .s = b.x,
                                       .sums = {sums, sums},
                                       .dw = a.w,
                                       .dgamma = a.affine.gamma,
                                       .dbeta = a.affine.beta};
  };
  EXPECT_NE(cpu.prepare(gradient(16, 0, 32)), nullptr);
  for (const auto& [x, s, y] : {std::array<std::int64_t, 3>{4, 0, 0}, {0, 4, 0}, {0, 0, 4}}) {
    std::vector<Refusal> refusals;
    EXPECT_EQ(cpu.prepare(gradient(x, s, y), &refusals), nullptr);
    ASSERT_EQ(refusals.size(), 1u);
    EXPECT_NE(refusals[0].reason.find("begin at 4"), std::string::npos) << refusals[0].reason;
  }
  shape.input_use = shape.output_use = Use::kSpatial;
  expect_error([&] { cpu.prepare(unbound_norm_convolution(cpu, shape, {0, 32}, {0, 32})); }, "from stack to stack");
}

RUN_ON_DEVICES(NormConvolutionTest);

}  // namespace
}  // namespace densetree::test
