// Linear layer and losses.

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

RUN_ON_DEVICES(LinearTest);
RUN_ON_DEVICES(LossTest);

}  // namespace
}  // namespace densetree::test
