// Channel statistics, batch normalisation with ReLU in its factored form, running statistics.
#include "tests/kernels/op_case.h"

namespace densetree::test {
namespace {

constexpr double kBatchNormEps = 1e-5;
const Shape kShapes[] = {{2, 3, 7, 5}, {1, 8, 13, 13}, {3, 16, 7, 5}, {4, 24, 1, 1}, {2, 33, 7, 5}, {1, 64, 13, 13}};

// The device arrays behind op::Statistics, op::GradientSums and op::Affine.
struct StatisticsArrays {
  Floats mean, variance, rstd;
  StatisticsArrays(Device& device, std::int64_t c) : mean(device, c), variance(device, c), rstd(device, c) {}
  op::Statistics get() const { return {mean, variance, rstd}; }
};
struct SumsArrays {
  Array<double> s, s_xhat;
  SumsArrays(Device& device, const Values& s_values, const Values& s_xhat_values)
      : s(device, s_values), s_xhat(device, s_xhat_values) {}
  op::GradientSums get() const { return {s, s_xhat}; }
};
struct AffineArrays {
  Floats mean, rstd, gamma, beta;
  AffineArrays(Device& device, const reference::AffineValues& a)
      : mean(device, a.mean), rstd(device, a.rstd), gamma(device, a.gamma), beta(device, a.beta) {}
  op::Affine get() const { return {mean, rstd, gamma, beta}; }
};

std::string describe(const Shape& s, const Placement& place) {
  return fmt::format("({}, {}, {}, {}) {}", s.n, s.c, s.h, s.w, place.describe());
}

// ---- Statistics ----------------------------------------------------------------------------------

// The reductions are in fp64: what is left is the rounding of each x² to fp32 and of the results.
void expect_statistics(const StatisticsArrays& got, const Shape& shape, const Values& x, double eps) {
  const reference::ChannelStatistics expected = reference::channel_statistics(shape, x, eps);
  expect_close(got.mean.read(), expected.mean, times(reference::absolute(expected.mean), kEps), "mean");
  const Values variance_tolerance = times(expected.variance, 2 * kEps);
  expect_close(got.variance.read(), expected.variance, variance_tolerance, "variance");
  expect_close(got.rstd.read(), expected.rstd, times(expected.rstd, 2 * kEps), "rstd");
}

class StatisticsTest : public OpTest {
 protected:
  void expect_both(const Shape& shape, const Placement& place, const Values& x, double eps) const {
    SCOPED_TRACE(describe(shape, place));
    const Tensor input(device(), shape, place, x);
    {
      const StatisticsArrays got(device(), shape.c);
      run(device(), op::ChannelStatistics{.x = input, .eps = static_cast<float>(eps), .statistics = got.get()});
      expect_statistics(got, shape, x, static_cast<float>(eps));
    }
    for (const Placement& to : placements(device(), Use::kStack)) {
      SCOPED_TRACE("copied to " + to.describe());
      const StatisticsArrays got(device(), shape.c);
      const Tensor output(device(), shape, to);
      run(device(),
          op::ChannelStatistics{.x = input, .eps = static_cast<float>(eps), .statistics = got.get(), .y = output});
      expect_statistics(got, shape, x, static_cast<float>(eps));
      EXPECT_EQ(output.read(), x);
      output.expect_clean();
    }
    input.expect_unchanged();
  }
};

TEST_P(StatisticsTest, OfCentredFeatures) {
  for (const Shape& shape : kShapes) {
    const Values x = random_values(shape.elements(), 1, -2, 2);
    expect_both(shape, {device().layout(Use::kSpatial)}, x, kBatchNormEps);
    for (const Placement& place : placements(device(), Use::kStack)) expect_both(shape, place, x, kBatchNormEps);
  }
}

TEST_P(StatisticsTest, OfFeaturesFarFromZero) {
  const Shape shape{4, 24, 13, 13};
  expect_both(shape, {device().layout(Use::kStack)}, random_values(shape.elements(), 2, 29, 31), kBatchNormEps);
}

TEST_P(StatisticsTest, OfManyPixels) {  // an fp32 running sum would lose digits here
  const Shape shape{2, 16, 200, 200};
  expect_both(shape, {device().layout(Use::kSpatial)}, random_values(shape.elements(), 3, 0, 1), kBatchNormEps);
}

TEST_P(StatisticsTest, OfConstantChannels) {
  const Shape shape{3, 24, 7, 5};
  const Tensor input(device(), shape, {device().layout(Use::kStack)},
                     Values(static_cast<std::size_t>(shape.elements()), 0.1f));
  const StatisticsArrays got(device(), shape.c);
  run(device(), op::ChannelStatistics{.x = input, .eps = 1e-5f, .statistics = got.get()});
  expect_close(got.mean.read(), Values(24, 0.1f), 0.1 * kEps, "mean");
  for (double v : got.variance.read()) EXPECT_GE(v, 0) << "a variance is never negative";
  expect_close(got.variance.read(), Values(24, 0.0), 1e-9, "variance");
  expect_close(got.rstd.read(), Values(24, 1 / std::sqrt(1e-5)), 1e-4 / std::sqrt(1e-5), "rstd");
}

TEST_P(StatisticsTest, RunningAveragesTakeTheUnbiasedVariance) {
  const std::int64_t channels = 33, count = 50;
  const reference::ChannelStatistics batch{random_values(channels, 1), random_values(channels, 2, 0.1, 3), {}};
  Values mean = random_values(channels, 3), variance = random_values(channels, 4, 0.1, 3);
  const Floats batch_mean(device(), batch.mean), batch_variance(device(), batch.variance), rstd(device(), channels);
  const Floats running_mean(device(), mean), running_variance(device(), variance);
  const float momentum = 0.1f;
  run(device(), op::UpdateRunning{.batch = {batch_mean, batch_variance, rstd},
                                  .count = count,
                                  .momentum = momentum,
                                  .mean = running_mean,
                                  .variance = running_variance});
  reference::update_running(batch, count, momentum, mean, variance);
  expect_close(running_mean.read(), mean, 2 * kEps, "running mean");
  expect_close(running_variance.read(), variance, times(variance, 2 * kEps), "running variance");
}

TEST_P(StatisticsTest, ReciprocalStandardDeviation) {
  Values variance = random_values(33, 4, 0, 3), expected = variance;
  variance[0] = 0, variance[1] = 1e-10f, variance[2] = 1e6f;
  const Floats from(device(), variance), to(device(), 33);
  run(device(), op::ReciprocalStd{.variance = from, .eps = 1e-5f, .rstd = to});
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = 1 / std::sqrt(variance[i] + double{1e-5f});
  expect_close(to.read(), expected, times(expected, 2 * kEps), "rstd");
}

// ---- Affine and clamp ----------------------------------------------------------------------------

reference::AffineValues random_affine(std::int64_t c, unsigned seed) {
  return {random_values(c, seed), random_values(c, seed + 1, 0.5, 2), random_values(c, seed + 2, -1.5, 1.5),
          random_values(c, seed + 3)};
}

// γ·(x − mean)·rstd + β may be computed as x·scale + shift: errors scale with these parts.
Values affine_magnitude(const Shape& shape, const Values& x, const reference::AffineValues& a) {
  reference::AffineValues parts{times(reference::absolute(a.mean), -1), a.rstd, reference::absolute(a.gamma),
                                reference::absolute(a.beta)};
  return reference::affine_relu(shape, reference::absolute(x), parts, false);
}

// Moves x away from where the clamp switches, so that fp32 and float64 agree on the mask.
Values away_from_clamp(const Shape& shape, Values x, const reference::AffineValues& a, double margin) {
  const Values z = reference::affine_relu(shape, x, a, false);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i / static_cast<std::size_t>(shape.pixels()) % static_cast<std::size_t>(shape.c);
    const double slope = a.gamma[c] * a.rstd[c];
    if (std::abs(z[i]) < margin) x[i] += std::copysign(2 * margin / std::max(std::abs(slope), 0.05), slope * z[i]);
  }
  return rounded(x);
}

class AffineTest : public OpTest {};

TEST_P(AffineTest, Forward) {
  for (const Shape& shape : kShapes) {
    const Values x = random_values(shape.elements(), 1, -2, 2);
    const reference::AffineValues a = random_affine(shape.c, 10);
    const AffineArrays arrays(device(), a);
    for (const Placement& from : placements(device(), Use::kStack)) {
      for (const Placement& to : {Placement{device().layout(Use::kStack)}, Placement{device().layout(Use::kSpatial)},
                                  Placement{device().layout(Use::kStack), 24, 3}}) {
        SCOPED_TRACE(describe(shape, from) + " to " + to.describe());
        const Tensor input(device(), shape, from, x), output(device(), shape, to);
        run(device(), op::AffineRelu{.x = input, .affine = arrays.get(), .y = output});
        expect_close(output.read(), reference::affine_relu(shape, x, a, true),
                     times(affine_magnitude(shape, x, a), 2 * kEps), "y");
        output.expect_clean();
        input.expect_unchanged();
      }
    }
  }
}

TEST_P(AffineTest, ShowsNaNInsteadOfClampingIt) {
  const Shape shape{1, 16, 1, 2};
  Values x = random_values(shape.elements(), 1);
  x[5] = NAN;
  const reference::AffineValues a = random_affine(shape.c, 10);
  const AffineArrays arrays(device(), a);
  const Placement place{device().layout(Use::kStack)};
  const Tensor input(device(), shape, place, x), output(device(), shape, place);
  run(device(), op::AffineRelu{.x = input, .affine = arrays.get(), .y = output});
  EXPECT_TRUE(std::isnan(output.read()[5])) << "torch's ReLU keeps NaN; a diverged network has to show";
}

struct AffineBackwardCase {
  Shape shape;
  Placement x, dy, s;
  GradMode mode = GradMode::kOverwrite;
};

// What S, its sums, dγ and dβ have to be after one consumer, and how far fp32 may be from it.
struct AffineBackwardExpectation {
  reference::AffineGradient value, tolerance;
};

AffineBackwardExpectation expected_backward(const AffineBackwardCase& c, const Values& dz, const Values& x,
                                            const reference::AffineValues& a, const Values& s0, const Values& sum0,
                                            const Values& xhat0) {
  AffineBackwardExpectation out{reference::affine_backward(c.shape, dz, x, a), {}};
  const reference::AffineValues parts{times(reference::absolute(a.mean), -1), a.rstd, reference::absolute(a.gamma), {}};
  out.tolerance = reference::affine_backward(c.shape, reference::absolute(dz), reference::absolute(x), parts);
  if (c.mode == GradMode::kAccumulate) {
    out.value.s = plus(out.value.s, s0), out.tolerance.s = plus(out.tolerance.s, reference::absolute(s0));
    out.value.s_sum = plus(out.value.s_sum, sum0);
    out.value.s_xhat = plus(out.value.s_xhat, xhat0);
    out.tolerance.s_sum = plus(out.tolerance.s_sum, reference::absolute(sum0));
    out.tolerance.s_xhat = plus(out.tolerance.s_xhat, reference::absolute(xhat0));
  }
  for (Values* t : {&out.tolerance.s, &out.tolerance.s_xhat, &out.tolerance.dgamma, &out.tolerance.dbeta}) {
    *t = times(*t, 2 * kEps);
  }
  out.tolerance.s_sum = times(out.tolerance.s_sum, 1e-13);  // fp64 from end to end
  return out;
}

void run_affine_backward(Device& device, const AffineBackwardCase& c) {
  SCOPED_TRACE(fmt::format("x {}, dy {}, S {}, {}", describe(c.shape, c.x), c.dy.describe(), c.s.describe(),
                           c.mode == GradMode::kOverwrite ? "overwrite" : "accumulate"));
  const reference::AffineValues a = random_affine(c.shape.c, 10);
  const Values x = away_from_clamp(c.shape, random_values(c.shape.elements(), 1, -2, 2), a, 1e-4);
  const Values dy = random_values(c.shape.elements(), 2), s0 = random_values(c.shape.elements(), 3);
  const Values sum0 = random_values(c.shape.c, 4), xhat0 = random_values(c.shape.c, 5);
  const AffineBackwardExpectation expected =
      expected_backward(c, reference::relu_gradient(c.shape, dy, x, a), x, a, s0, sum0, xhat0);

  const bool adds = c.mode == GradMode::kAccumulate;
  const Values nothing(static_cast<std::size_t>(c.shape.c), NAN);
  const Tensor x_device(device, c.shape, c.x, x), dy_device(device, c.shape, c.dy, dy);
  Tensor s(device, c.shape, c.s);
  if (adds) s.write(s0);
  const SumsArrays sums(device, adds ? sum0 : nothing, adds ? xhat0 : nothing);
  const AffineArrays arrays(device, a);
  const Floats dgamma(device, c.shape.c), dbeta(device, c.shape.c);
  run(device, op::AffineReluGradient{.dy = dy_device,
                                     .x = x_device,
                                     .affine = arrays.get(),
                                     .mode = c.mode,
                                     .s = s,
                                     .sums = sums.get(),
                                     .dgamma = dgamma,
                                     .dbeta = dbeta});
  expect_close(s.read(), expected.value.s, expected.tolerance.s, "S");
  expect_close(sums.s.read(), expected.value.s_sum, expected.tolerance.s_sum, "sum of S");
  expect_close(sums.s_xhat.read(), expected.value.s_xhat, expected.tolerance.s_xhat, "sum of S·x̂");
  expect_close(dgamma.read(), expected.value.dgamma, expected.tolerance.dgamma, "dγ");
  expect_close(dbeta.read(), expected.value.dbeta, expected.tolerance.dbeta, "dβ");
  s.expect_clean();
  x_device.expect_unchanged();
  dy_device.expect_unchanged();
}

TEST_P(AffineTest, BackwardOverwritesAndAccumulates) {
  const Layout stack = device().layout(Use::kStack), spatial = device().layout(Use::kSpatial);
  for (const Shape& shape : kShapes) {
    for (GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      for (const Placement& place : placements(device(), Use::kStack)) {
        for (Layout dy : {stack, spatial}) {
          run_affine_backward(device(), {shape, place, {dy}, place, mode});
        }
      }
      run_affine_backward(device(), {shape, {stack, 8, 0}, {stack, 24, 1}, {stack}, mode});
      run_affine_backward(device(), {shape, {stack}, {stack}, {stack, 24, 0}, mode});
    }
  }
}

TEST_P(AffineTest, NoGradientWhereTheClampIsExactlyAtZero) {
  const Shape shape{1, 16, 2, 2};
  const Values zero(16, 0), one(16, 1);
  const AffineArrays arrays(device(), {zero, one, one, zero});
  const Placement place{device().layout(Use::kStack)};
  const Tensor x(device(), shape, place, Values(64, 0.0)), dy(device(), shape, place, Values(64, 1.0)),
      s(device(), shape, place);
  const SumsArrays sums(device(), zero, zero);
  const Floats dgamma(device(), 16), dbeta(device(), 16);
  run(device(),
      op::AffineReluGradient{
          .dy = dy, .x = x, .affine = arrays.get(), .s = s, .sums = sums.get(), .dgamma = dgamma, .dbeta = dbeta});
  EXPECT_EQ(s.read(), Values(64, 0.0));  // as torch: the gradient passes where the output is positive
  EXPECT_EQ(dbeta.read(), zero);
}

TEST_P(AffineTest, NormalizeBackward) {
  for (const Shape& shape : kShapes) {
    const Values x = random_values(shape.elements(), 1, -2, 2), s = random_values(shape.elements(), 2);
    const reference::AffineValues a = random_affine(shape.c, 10);
    const Values sum = random_values(shape.c, 3, -30, 30), xhat = random_values(shape.c, 4, -30, 30);
    const Values expected = reference::normalize_backward(shape, s, x, a.mean, a.rstd, sum, xhat);
    const Values tolerance =
        times(reference::normalize_backward(shape, reference::absolute(s), times(reference::absolute(x), -1),
                                            reference::absolute(a.mean), a.rstd, times(reference::absolute(sum), -1),
                                            reference::absolute(xhat)),
              4 * kEps);
    const Floats mean(device(), a.mean), variance(device(), shape.c), rstd(device(), a.rstd);
    const SumsArrays sums(device(), sum, xhat);
    for (const Placement& place : placements(device(), Use::kStack)) {
      const Tensor x_device(device(), shape, place, x);
      const auto normalize = [&](const Tensor& from, GradMode mode, const Tensor& to) {
        run(device(), op::NormalizeGradient{.s = from,
                                            .x = x_device,
                                            .statistics = {mean, variance, rstd},
                                            .sums = sums.get(),
                                            .mode = mode,
                                            .dx = to});
      };
      for (const Placement& to :
           {place, Placement{device().layout(Use::kSpatial)}, Placement{device().layout(Use::kStack), 8, 8}}) {
        SCOPED_TRACE(describe(shape, place) + " to " + to.describe());
        const Tensor s_device(device(), shape, place, s), dx(device(), shape, to);
        normalize(s_device, GradMode::kOverwrite, dx);
        expect_close(dx.read(), expected, tolerance, "dx");
        dx.expect_clean();
        const Tensor more(device(), shape, to, x);
        normalize(s_device, GradMode::kAccumulate, more);
        expect_close(more.read(), plus(x, expected), plus(tolerance, Values(x.size(), 4 * kEps)), "dx +=");
        more.expect_clean();
        s_device.expect_unchanged();
      }
      SCOPED_TRACE(describe(shape, place) + " in place");
      const Tensor in_place(device(), shape, place, s);
      normalize(in_place, GradMode::kOverwrite, in_place);
      expect_close(in_place.read(), expected, tolerance, "dx in place");
      in_place.expect_clean();
      x_device.expect_unchanged();
    }
  }
}

// A shift of a channel changes nothing behind its batch norm, so its gradients add up to zero. Roundings do so only
// as a random walk, as long as none has a side: mean(S) rounded to fp32 would, over all pixels.
TEST_P(AffineTest, GradientsOfAChannelAddUpToZero) {
  const Shape shape{4, 16, 40, 40};
  const Placement place{device().layout(Use::kStack)};
  const Values x = random_values(shape.elements(), 1, -2, 2), s = random_values(shape.elements(), 2, 0, 2);
  const reference::ChannelStatistics batch = reference::channel_statistics(shape, x, kBatchNormEps);
  const reference::AffineValues unit{batch.mean, batch.rstd, Values(16, 1.0), Values(16, 0.0)};
  const reference::AffineGradient total = reference::affine_backward(shape, s, x, unit);
  const SumsArrays sums(device(), total.s_sum, total.s_xhat);
  const Floats mean(device(), batch.mean), variance(device(), batch.variance), rstd(device(), batch.rstd);
  const Tensor x_device(device(), shape, place, x), s_device(device(), shape, place, s), dx(device(), shape, place);
  run(device(), op::NormalizeGradient{
                    .s = s_device, .x = x_device, .statistics = {mean, variance, rstd}, .sums = sums.get(), .dx = dx});
  const Values got = reference::global_average_pool(shape, dx.read());  // (N, C)
  for (std::size_t c = 0; c < 16; ++c) {
    double sum = 0, pixels = static_cast<double>(shape.pixels());
    for (std::size_t n = 0; n < 4; ++n) {
      sum += got[n * 16 + c] * pixels;
    }
    // |S| <= 2 and rstd < 1: an element errs by about eps/2, and 6400 of them by 80 times that.
    EXPECT_NEAR(sum, 0, 5 * 80 * kEps / 2) << "channel " << c;
  }
}

// ---- The whole of it against the textbook --------------------------------------------------------

// A consumer of the first `channels` of a feature: its own γ and β, and the gradient that comes back to it.
struct Consumer {
  std::int64_t channels;
  Values gamma, beta, dy;
};

// x of two clusters, half of the elements in each, and |β| small: |x̂| is about 1 and pre-activations stay clear of
// zero, also under the steps of a difference.
Values clustered(const Shape& shape, unsigned seed) {
  Values x = random_values(shape.elements(), seed, 0.8, 1.2);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t pixels = static_cast<std::size_t>(shape.pixels());
    const std::size_t image = i / pixels / static_cast<std::size_t>(shape.c);
    x[i] = 0.5 + ((image * pixels + i % pixels) % 2 == 0 ? 2 * x[i] : -2 * x[i]);
  }
  return rounded(x);
}

std::vector<Consumer> consumers_of(const Shape& shape, const std::vector<std::int64_t>& channels) {
  std::vector<Consumer> consumers;
  for (std::int64_t c : channels) {
    const unsigned seed = 100 + 10 * static_cast<unsigned>(consumers.size());
    const Shape read{shape.n, c, shape.h, shape.w};
    consumers.push_back({c, random_values(c, seed, 0.5, 1.5), random_values(c, seed + 1, -0.2, 0.2),
                         random_values(read.elements(), seed + 2)});
  }
  return consumers;
}

// dx of a feature as the device computes it, and what it may differ by from the textbook, which sums the dx of each
// consumer's own batch norm.
class SharedFeature {
 public:
  SharedFeature(Device& device, const Shape& shape, const Placement& place, const Values& x)
      : device_(device),
        shape_(shape),
        x_(device, shape, place, x),
        s_(device, shape, place),
        statistics_(device, shape.c),
        sums_(device, Values(static_cast<std::size_t>(shape.c), NAN), Values(static_cast<std::size_t>(shape.c), NAN)) {
    run(device,
        op::ChannelStatistics{.x = x_, .eps = static_cast<float>(kBatchNormEps), .statistics = statistics_.get()});
  }
  Values forward(const Consumer& consumer) const {
    const Floats gamma(device_, consumer.gamma), beta(device_, consumer.beta);
    const Tensor y(device_, {shape_.n, consumer.channels, shape_.h, shape_.w}, {device_.layout(Use::kSpatial)});
    run(device_, op::AffineRelu{.x = x_.slice(0, consumer.channels), .affine = affine(consumer, gamma, beta), .y = y});
    return y.read();
  }
  // The first consumer has to read all channels: it overwrites. Returns (dγ, dβ).
  std::pair<Values, Values> backward(const Consumer& consumer, GradMode mode) const {
    const Floats gamma(device_, consumer.gamma), beta(device_, consumer.beta);
    const Floats dgamma(device_, consumer.channels), dbeta(device_, consumer.channels);
    const Shape read{shape_.n, consumer.channels, shape_.h, shape_.w};
    const Tensor dy(device_, read, {device_.layout(Use::kStack)}, consumer.dy);
    const op::GradientSums sums = sums_.get();
    run(device_, op::AffineReluGradient{.dy = dy,
                                        .x = x_.slice(0, consumer.channels),
                                        .affine = affine(consumer, gamma, beta),
                                        .mode = mode,
                                        .s = s_.slice(0, consumer.channels),
                                        .sums = {first(sums.s, consumer), first(sums.s_xhat, consumer)},
                                        .dgamma = dgamma,
                                        .dbeta = dbeta});
    return {dgamma.read(), dbeta.read()};
  }
  Values finish() const {
    run(device_,
        op::NormalizeGradient{.s = s_, .x = x_, .statistics = statistics_.get(), .sums = sums_.get(), .dx = s_});
    s_.expect_clean();
    return s_.read();
  }

 private:
  template <class T>
  static densetree::Array<T> first(const densetree::Array<T>& of_all, const Consumer& consumer) {
    return of_all.slice(0, consumer.channels);
  }
  op::Affine affine(const Consumer& consumer, const Floats& gamma, const Floats& beta) const {
    const op::Statistics all = statistics_.get();
    return {first(all.mean, consumer), first(all.rstd, consumer), gamma, beta};
  }
  Device& device_;
  Shape shape_;
  Tensor x_, s_;
  StatisticsArrays statistics_;
  SumsArrays sums_;
};

Values padded_to(const Shape& from, const Values& values, const Shape& to) {
  Values all(static_cast<std::size_t>(to.elements()), 0.0);
  for (std::int64_t n = 0; n < from.n; ++n) {
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(reference::at(from, n, 0, 0, 0)), from.c * from.pixels(),
                all.begin() + static_cast<std::ptrdiff_t>(reference::at(to, n, 0, 0, 0)));
  }
  return all;
}

class BatchNormTest : public OpTest {};

TEST_P(BatchNormTest, SharedByConsumersIsTheTextbooks) {
  for (const Shape& shape : {Shape{2, 24, 7, 5}, Shape{3, 33, 13, 13}, Shape{8, 64, 1, 1}}) {
    const Values x = clustered(shape, 1);
    for (const Placement& place : placements(device(), Use::kStack)) {
      SCOPED_TRACE(describe(shape, place));
      const SharedFeature feature(device(), shape, place, x);
      Values expected(x.size(), 0.0), scale(x.size(), 0.0);
      GradMode mode = GradMode::kOverwrite;
      for (const Consumer& consumer : consumers_of(shape, {shape.c, 8, shape.c - 3})) {
        const Shape read{shape.n, consumer.channels, shape.h, shape.w};
        const Values mine = reference::channels_of(shape, x, 0, consumer.channels);
        expect_close(feature.forward(consumer),
                     reference::batch_norm_relu(read, mine, consumer.gamma, consumer.beta, kBatchNormEps, true),
                     16 * kEps, "y");  // |x̂| < 2, γ < 1.5
        const auto [dgamma, dbeta] = feature.backward(consumer, mode);
        mode = GradMode::kAccumulate;
        const reference::BatchNormGradient gradient = reference::batch_norm_relu_backward(
            read, consumer.dy, mine, consumer.gamma, consumer.beta, kBatchNormEps, true);
        const double terms = static_cast<double>(shape.n * shape.pixels());
        expect_close(dgamma, gradient.dgamma, 4 * kEps * terms, "dγ");
        expect_close(dbeta, gradient.dbeta, 2 * kEps * terms, "dβ");
        expected = plus(expected, padded_to(read, gradient.dx, shape));
      }
      // Per consumer |γ·dz| < 1.5 and rstd is about 1/2, so each part of dx stays below 1.
      expect_close(feature.finish(), expected, 3 * 4 * kEps, "dx");
    }
  }
}

TEST_P(BatchNormTest, GradientsAreFiniteDifferences) {
  const Shape shape{3, 24, 7, 5};
  const Values x = clustered(shape, 1);
  const std::vector<Consumer> consumers = consumers_of(shape, {24, 8});
  const Placement place{device().layout(Use::kStack)};
  const auto value = [&](const Values& features, const std::vector<Consumer>& readers) {
    const SharedFeature feature(device(), shape, place, features);
    double sum = 0;
    for (const Consumer& reader : readers) sum += dot(reader.dy, feature.forward(reader));
    return sum;
  };
  const SharedFeature feature(device(), shape, place, x);
  const auto [dgamma, dbeta] = feature.backward(consumers[0], GradMode::kOverwrite);
  feature.backward(consumers[1], GradMode::kAccumulate);
  expect_directional([&](const Values& moved) { return value(moved, consumers); }, x, feature.finish(), 1e-2, 1e-3,
                     "dx");
  const auto with_first = [&](const Values& gamma, const Values& beta) {
    return value(x, {{24, gamma, beta, consumers[0].dy}});
  };
  expect_directional([&](const Values& gamma) { return with_first(gamma, consumers[0].beta); }, consumers[0].gamma,
                     dgamma, 0.05, 1e-4, "dγ");
  expect_directional([&](const Values& beta) { return with_first(consumers[0].gamma, beta); }, consumers[0].beta, dbeta,
                     0.05, 1e-4, "dβ");
}

// ---- Errors --------------------------------------------------------------------------------------

TEST_P(AffineTest, RefusesDifferentShapes) {
  const Placement place{device().layout(Use::kStack)};
  const Tensor x(device(), {2, 16, 3, 5}, place), y(device(), {2, 24, 3, 5}, place);
  const AffineArrays arrays(device(), random_affine(24, 1));
  const StatisticsArrays statistics(device(), 24);
  const SumsArrays sums(device(), Values(24, 0.0), Values(24, 0.0));
  const Floats dgamma(device(), 24), dbeta(device(), 24);
  expect_refused(device(), op::AffineRelu{.x = x, .affine = arrays.get(), .y = y});
  for (const auto& [from, to] : {std::pair{&y, &x}, {&x, &y}}) {
    expect_refused(device(), op::AffineReluGradient{.dy = *from,
                                                    .x = x,
                                                    .affine = arrays.get(),
                                                    .s = *to,
                                                    .sums = sums.get(),
                                                    .dgamma = dgamma,
                                                    .dbeta = dbeta});
    expect_refused(device(), op::NormalizeGradient{
                                 .s = *from, .x = x, .statistics = statistics.get(), .sums = sums.get(), .dx = *to});
  }
  expect_refused(device(), op::ChannelStatistics{.x = x, .eps = 1e-5f, .statistics = statistics.get(), .y = y});
}

RUN_ON_DEVICES(StatisticsTest);
RUN_ON_DEVICES(AffineTest);
RUN_ON_DEVICES(BatchNormTest);

}  // namespace
}  // namespace densetree::test
