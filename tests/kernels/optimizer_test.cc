// The optimiser: the norm of a gradient, sums over ranks, and Adam.
#include "tests/kernels/op_case.h"

namespace densetree::test {
namespace {

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

RUN_ON_DEVICES(AdamTest);

}  // namespace
}  // namespace densetree::test
