// Linear layer, losses, gradient norm and Adam.
#include <limits>

#include "kernels/functors/loss.h"
#include "tests/kernels/op_case.h"

namespace densetree::test {
namespace {

using reference::LinearSize;

class LinearTest : public OpTest {};

const LinearSize kSizes[] = {{1, 1, 1}, {2, 33, 14}, {16, 1024, 14}, {3, 7, 1}, {5, 64, 100}, {128, 40, 14}};

std::string describe(const LinearSize& s) {
  return fmt::format("{} x {} to {}", s.n, s.k, s.l);
}

struct LinearData {
  Values x, w, b, dy;
  explicit LinearData(const LinearSize& s)
      : x(random_values(s.n * s.k, 1)),
        w(random_values(s.l * s.k, 2)),
        b(random_values(s.l, 3)),
        dy(random_values(s.n * s.l, 4)) {}
};

Values run_linear(Device& device, const LinearSize& s, const Values& x, const Values& w, const Values& b) {
  const Tensor x_device(device, {s.n, s.k}, {}, x), y(device, {s.n, s.l}, {});
  const Floats w_device(device, w), b_device(device, b);
  run(device, op::Linear{.x = x_device, .w = w_device, .b = b_device, .y = y});
  y.expect_clean();
  return y.read();
}

reference::LinearGradient run_linear_backward(Device& device, const LinearSize& s, const LinearData& d, bool with_dx) {
  const Tensor x(device, {s.n, s.k}, {}, d.x), dy(device, {s.n, s.l}, {}, d.dy), dx(device, {s.n, s.k}, {});
  const Floats w(device, d.w), dw(device, s.l * s.k), db(device, s.l);
  const View to = with_dx ? dx.view() : View{};
  run(device, op::LinearGradient{.x = x, .w = w, .dy = dy, .dx = to, .dw = dw, .db = db});
  dx.expect_clean();
  return {dx.read(), dw.read(), db.read()};
}

TEST_P(LinearTest, Forward) {
  for (const LinearSize& s : kSizes) {
    const LinearData d(s);
    const Values scale =
        reference::linear(s, reference::absolute(d.x), reference::absolute(d.w), reference::absolute(d.b));
    expect_close(run_linear(device(), s, d.x, d.w, d.b), reference::linear(s, d.x, d.w, d.b), times(scale, 2 * kEps),
                 describe(s));
  }
}

TEST_P(LinearTest, BackwardOverwrites) {
  for (const LinearSize& s : kSizes) {
    const LinearData d(s);
    const reference::LinearGradient expected = reference::linear_backward(s, d.x, d.w, d.dy);
    const reference::LinearGradient scale =
        reference::linear_backward(s, reference::absolute(d.x), reference::absolute(d.w), reference::absolute(d.dy));
    for (bool with_dx : {true, false}) {
      const reference::LinearGradient got = run_linear_backward(device(), s, d, with_dx);
      if (with_dx) expect_close(got.dx, expected.dx, times(scale.dx, 2 * kEps), describe(s) + " dx");
      expect_close(got.dw, expected.dw, times(scale.dw, 2 * kEps), describe(s) + " dw");
      expect_close(got.db, expected.db, times(scale.db, 2 * kEps), describe(s) + " db");
    }
  }
}

TEST_P(LinearTest, GradientsAreFiniteDifferences) {
  const LinearSize s{4, 33, 14};
  const LinearData d(s);
  const reference::LinearGradient got = run_linear_backward(device(), s, d, true);
  expect_directional([&](const Values& x) { return dot(d.dy, run_linear(device(), s, x, d.w, d.b)); }, d.x, got.dx, 0.5,
                     1e-5, "dx");
  expect_directional([&](const Values& w) { return dot(d.dy, run_linear(device(), s, d.x, w, d.b)); }, d.w, got.dw, 0.5,
                     1e-5, "dw");
  expect_directional([&](const Values& b) { return dot(d.dy, run_linear(device(), s, d.x, d.w, b)); }, d.b, got.db, 0.5,
                     1e-5, "db");
}

// ---- Sigmoid and losses --------------------------------------------------------------------------

class LossTest : public OpTest {};

TEST(Sigmoid, OverTheWholeRange) {
  Values x = random_values(1001, 1, -20, 20);
  for (double v : {0.0, 1e-30, -80.0, 80.0, -87.0, 88.8, -103.0, 200.0, -200.0, 1e30, -1e30}) x.push_back(v);
  x.push_back(INFINITY), x.push_back(-INFINITY);
  for (const double v : x) {
    const double expected = reference::sigmoid(v);
    EXPECT_NEAR(sigmoid_of(v), expected, 1e-15 * expected) << v;
  }
  EXPECT_TRUE(std::isnan(sigmoid_of(NAN)));
}

struct LossCase {
  LossKind kind;
  std::int64_t n, l;
  bool missing, weighted;
  double range;  // of the logits
};

std::string describe(const LossCase& c) {
  return fmt::format("{} {}x{}{}{}, logits within {}", c.kind == LossKind::kMse ? "MSE" : "BCE", c.n, c.l,
                     c.missing ? ", some missing" : "", c.weighted ? ", weighted" : "", c.range);
}

std::vector<LossCase> loss_cases() {
  std::vector<LossCase> all;
  for (LossKind kind : {LossKind::kMse, LossKind::kBce}) {
    for (bool missing : {false, true}) {
      for (bool weighted : {false, true}) {
        all.push_back({kind, 1, 1, false, weighted, 2});
        all.push_back({kind, 5, 13, missing, weighted, 4});
        all.push_back({kind, 128, 14, missing, weighted, 4});
        all.push_back({kind, 7, 3, missing, weighted, 90});
      }
    }
  }
  return all;
}

struct LossData {
  Values z, y, weights;
  explicit LossData(const LossCase& c)
      : z(random_values(c.n * c.l, 1, -c.range, c.range)), y(random_values(c.n * c.l, 2, 0, 1)) {
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = c.missing && i % 5 == 3 ? NAN : (y[i] < 0.3 ? 1 : 0);
    if (c.weighted) weights = random_values(c.l, 3, 0.5, 9);
  }
};

struct DeviceLoss {
  double loss;
  Values dz;
};
DeviceLoss run_loss(Device& device, const LossCase& c, const LossData& d, bool with_gradient = true) {
  const Tensor z(device, {c.n, c.l}, {}, d.z), dz(device, {c.n, c.l}, {});
  const Floats y(device, d.y), weights(device, d.weights);
  const Array<double> loss(device, 1);
  op::Loss operation{.kind = c.kind, .z = z, .y = y, .loss = loss};
  if (c.weighted) operation.positive_weights = weights;
  if (with_gradient) operation.dz = dz;
  run(device, operation);
  dz.expect_clean();
  return {loss.read()[0], dz.read()};
}

TEST_P(LossTest, ValueAndGradient) {
  for (const LossCase& c : loss_cases()) {
    const LossData d(c);
    const reference::LossValue expected = reference::loss(c.kind, d.z, d.y, d.weights, c.n, c.l);
    const DeviceLoss got = run_loss(device(), c, d);
    EXPECT_NEAR(got.loss, expected.loss, 2 * kEps * expected.magnitude) << describe(c);
    expect_close(got.dz, expected.dz, times(expected.dz_magnitude, 4 * kEps), describe(c));
    EXPECT_EQ(run_loss(device(), c, d, false).loss, got.loss) << "without a gradient, " << describe(c);
  }
}

TEST_P(LossTest, MissingTargetsCountForNothing) {
  for (LossKind kind : {LossKind::kMse, LossKind::kBce}) {
    LossCase c{kind, 4, 3, true, false, 3};
    LossData d(c);
    const DeviceLoss before = run_loss(device(), c, d);
    for (std::size_t i = 0; i < d.y.size(); ++i) {
      if (std::isnan(d.y[i])) {
        EXPECT_EQ(before.dz[i], 0);
        d.z[i] = 50;
      }
    }
    const DeviceLoss after = run_loss(device(), c, d);
    EXPECT_EQ(before.loss, after.loss);
    EXPECT_EQ(before.dz, after.dz);

    d.y.assign(d.y.size(), NAN);
    const DeviceLoss nothing = run_loss(device(), c, d);
    EXPECT_EQ(nothing.loss, 0) << "no target at all";
    EXPECT_EQ(nothing.dz, Values(12, 0.0));
  }
}

TEST_P(LossTest, DivergedLogitsShow) {
  for (LossKind kind : {LossKind::kMse, LossKind::kBce}) {
    const LossCase c{kind, 4, 3, false, false, 3};
    LossData d(c);
    d.z[5] = NAN;
    EXPECT_TRUE(std::isnan(run_loss(device(), c, d).loss));
  }
}

TEST_P(LossTest, GradientIsAFiniteDifference) {
  for (const LossCase& c : loss_cases()) {
    if (c.range > 10) continue;  // flat there
    const LossData d(c);
    const auto value = [&](const Values& z) {
      LossData moved = d;
      moved.z = z;
      return run_loss(device(), c, moved).loss;
    };
    expect_directional(value, d.z, run_loss(device(), c, d).dz, 1e-2, 1e-3, describe(c));
  }
}

// ---- Optimiser -----------------------------------------------------------------------------------

class AdamTest : public OpTest {
 protected:
  double norm(const Values& g) const {
    const Floats gradient(device(), g);
    const Array<double> out(device(), 1);
    run(device(), op::L2Norm{.g = gradient, .norm = out});
    return out.read()[0];
  }
  void adam(const AdamStep& step, const densetree::Array<double>& norm, const Floats& g, const Floats& m,
            const Floats& v, const Floats& w) const {
    const Array<AdamScalars> scalars(device(), std::vector{AdamScalars(step)});
    run(device(), op::Adam{.scalars = scalars, .norm = norm, .g = g, .m = m, .v = v, .w = w});
  }
};

TEST_P(AdamTest, NormOfTheGradient) {
  for (std::int64_t n : {1, 2, 17, 1000, 300001}) {
    const Values g = random_values(n, 1);
    const double expected = reference::l2_norm(g);
    EXPECT_NEAR(norm(g), expected, kEps * expected) << n << " elements";
  }
  EXPECT_EQ(norm(Values(100, 0.0)), 0);
  const Values huge = times(Values(100, 1.0), 0x1p100);  // whose squares fp32 cannot hold
  EXPECT_NEAR(norm(huge), 10 * 0x1p100, kEps * 10 * 0x1p100) << "clipping is there for exploding gradients";
  Values diverged(100, 1.0);
  diverged[70] = NAN;
  EXPECT_TRUE(std::isnan(norm(diverged)));
}

struct AdamCase {
  AdamStep step;
  std::int64_t n;
  std::string name;
};

std::vector<AdamCase> adam_cases() {
  std::vector<AdamCase> all;
  for (std::int64_t n : {1, 17, 5000}) {
    AdamStep step;
    all.push_back({step, n, "first step"});
    step.step = 2;
    all.push_back({step, n, "second step"});
    step.step = 1000000, step.lr = 0.05, step.beta1 = 0.8, step.beta2 = 0.99, step.eps = 1e-6;
    all.push_back({step, n, "late step"});
    step.weight_decay = 0.1;
    all.push_back({step, n, "weight decay"});
    step.clip_norm = 0.25;
    all.push_back({step, n, "clipping and weight decay"});
    step.clip_norm = 1e6;
    all.push_back({step, n, "a bound out of reach"});
  }
  return all;
}

TEST_P(AdamTest, OneStep) {
  for (const AdamCase& c : adam_cases()) {
    const Values g = random_values(c.n, 1, -2, 2);
    const reference::AdamState before{random_values(c.n, 2, -0.1, 0.1), random_values(c.n, 3, 0, 0.01),
                                      random_values(c.n, 4)};
    const double total = reference::l2_norm(g);
    const reference::AdamState expected = reference::adam(c.step, total, g, before);
    const Floats gradient(device(), g), m(device(), before.m), v(device(), before.v), w(device(), before.w);
    const Array<double> norm(device(), std::vector<double>{total});
    adam(c.step, c.step.clip_norm > 0 ? norm : densetree::Array<double>(), gradient, m, v, w);
    // m may cancel: its error, and with it the update's, scales with its parts.
    const Values parts = plus(reference::absolute(before.m), reference::absolute(g));
    expect_close(m.read(), expected.m, times(parts, 2 * kEps), c.name + " m");
    expect_close(v.read(), expected.v, times(expected.v, 4 * kEps), c.name + " v");
    Values tolerance = parts;
    for (std::size_t i = 0; i < tolerance.size(); ++i) {
      const double t = static_cast<double>(c.step.step), b1 = c.step.beta1, b2 = c.step.beta2;
      const double root = std::sqrt(expected.v[i] / (1 - std::pow(b2, t))) + c.step.eps;
      const double m_parts = (b1 * std::abs(before.m[i]) + (1 - b1) * std::abs(g[i])) / (1 - std::pow(b1, t));
      tolerance[i] = kEps * std::abs(before.w[i]) + 6 * kEps * c.step.lr * m_parts / root;
    }
    expect_close(w.read(), expected.w, tolerance, c.name + " w");
    EXPECT_EQ(gradient.read(), g) << "the gradient is read only";
  }
}

TEST_P(AdamTest, ManyStepsFollowFloat64) {
  const std::int64_t n = 64;
  reference::AdamState state{Values(64, 0.0), Values(64, 0.0), random_values(n, 4)};
  const Floats m(device(), state.m), v(device(), state.v), w(device(), state.w);
  AdamStep step;
  for (step.step = 1; step.step <= 100; ++step.step) {
    const Values g = random_values(n, 1000 + static_cast<unsigned>(step.step));
    const Floats gradient(device(), g);
    adam(step, {}, gradient, m, v, w);
    device().synchronize();
    state = reference::adam(step, 0, g, state);
  }
  // Each step moves a weight by up to 1e-3 and rounds it once.
  expect_close(w.read(), state.w, 10 * kEps, "w after 100 steps");
}

TEST_P(AdamTest, VanishingGradientsDivideByEpsAlone) {
  AdamStep step;
  const Values g{1e-20f, 1e-12f, -1e-30f, 0}, zero(4, 0.0), w0{0, 1, 1, 1};
  const Floats gradient(device(), g), m(device(), zero), v(device(), zero), w(device(), w0);
  adam(step, {}, gradient, m, v, w);
  const reference::AdamState expected = reference::adam(step, 0, g, {zero, zero, w0});
  expect_close(w.read(), expected.w, Values{1e-21, kEps, kEps, 0}, "w");
}

TEST_P(AdamTest, ClippingAZeroGradientChangesNothing) {
  AdamStep step;
  step.clip_norm = 1;
  const Values zero(3, 0.0), w0{1, -2, 3};
  const Floats gradient(device(), zero), m(device(), zero), v(device(), zero), w(device(), w0);
  const Array<double> norm(device(), std::vector<double>{0});
  adam(step, norm, gradient, m, v, w);
  EXPECT_EQ(w.read(), w0);
  EXPECT_EQ(m.read(), zero);
}

TEST_P(AdamTest, WithoutANormNothingIsClipped) {
  AdamStep step;
  const Values g{3, -4}, zero(2, 0.0), w0{1, -2};
  const Floats gradient(device(), g), m(device(), zero), v(device(), zero), w(device(), w0), m2(device(), zero),
      v2(device(), zero), w2(device(), w0);
  adam(step, {}, gradient, m, v, w);
  step.clip_norm = 1;
  adam(step, {}, gradient, m2, v2, w2);
  EXPECT_EQ(m.read(), m2.read());
  EXPECT_EQ(w.read(), w2.read());
}

TEST(AdamScalarsTest, StepsCountFromOne) {
  expect_error([] { AdamScalars(AdamStep{.step = 0}); }, "step 0");
}

TEST_P(AdamTest, OneRankHasItsOwnGradientsInSum) {
  const Values g = random_values(1000, 4);
  const Floats gradient(device(), g);
  run(device(), op::AllReduce{.g = gradient});
  EXPECT_EQ(gradient.read(), g);
}

RUN_ON_DEVICES(LinearTest);
RUN_ON_DEVICES(LossTest);
RUN_ON_DEVICES(AdamTest);

}  // namespace
}  // namespace densetree::test
