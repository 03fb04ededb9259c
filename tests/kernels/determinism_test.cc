// The same bits for one, two and three CPU threads, and for one run after another on any device.
#include <bit>

#include "tests/kernels/op_case.h"

namespace densetree::test {
namespace {

// Everything but convolutions (whose library may split work differently for another number of threads), run once
// on sizes large enough to be split among threads; all results one after another, as bits.
class Everything {
 public:
  explicit Everything(Device& device) : device_(device) {}

  std::vector<std::uint32_t> bits() {
    batch_norm();
    pooling();
    classifier_and_optimizer();
    input();
    return std::move(bits_);
  }

 private:
  void keep(const Values& values) {
    for (double v : values) bits_.push_back(std::bit_cast<std::uint32_t>(static_cast<float>(v)));
  }
  void keep(double value) {
    const auto word = std::bit_cast<std::uint64_t>(value);
    bits_.push_back(static_cast<std::uint32_t>(word)), bits_.push_back(static_cast<std::uint32_t>(word >> 32));
  }

  void batch_norm() {
    const Layout stack = device_.layout(Use::kStack);
    const Tensor x(device_, kShape, {device_.layout(Use::kSpatial)}, random_values(kShape.elements(), 1));
    const Tensor copy(device_, kShape, {stack, 8, 5}),
        dy(device_, kShape, {stack}, random_values(kShape.elements(), 2));
    const Floats mean(device_, kShape.c), variance(device_, kShape.c), rstd(device_, kShape.c);
    const op::Statistics statistics{mean, variance, rstd};
    run(device_, op::ChannelStatistics{.x = x, .eps = 1e-5f, .statistics = statistics});
    keep(mean.read()), keep(variance.read()), keep(rstd.read());
    run(device_, op::ChannelStatistics{.x = x, .eps = 1e-5f, .statistics = statistics, .y = copy});
    keep(mean.read()), keep(variance.read()), keep(rstd.read()), keep(copy.read());

    const Floats gamma(device_, random_values(kShape.c, 3)), beta(device_, random_values(kShape.c, 4));
    const op::Affine affine{mean, rstd, gamma, beta};
    const Tensor y(device_, kShape, {stack}), s(device_, kShape, {stack, 8, 5});
    run(device_, op::AffineRelu{.x = copy, .affine = affine, .y = y});
    keep(y.read());
    const Array<double> s_sum(device_, kShape.c), s_xhat(device_, kShape.c);
    const Floats dgamma(device_, kShape.c), dbeta(device_, kShape.c);
    const op::GradientSums sums{s_sum, s_xhat};
    for (GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      run(device_, op::AffineReluGradient{.dy = dy,
                                          .x = copy,
                                          .affine = affine,
                                          .mode = mode,
                                          .s = s,
                                          .sums = sums,
                                          .dgamma = dgamma,
                                          .dbeta = dbeta});
    }
    keep(s.read()), keep(dgamma.read()), keep(dbeta.read());
    for (const Array<double>* sums_of : {&s_sum, &s_xhat}) {
      for (double v : sums_of->read()) {
        keep(v);
      }
    }
    run(device_, op::NormalizeGradient{.s = s, .x = copy, .statistics = statistics, .sums = sums, .dx = s});
    keep(s.read());
  }

  void pooling() {
    const reference::MaxPooling p{kShape, 3, 2, 1};
    const Layout stack = device_.layout(Use::kStack);
    const Tensor x(device_, kShape, {device_.layout(Use::kSpatial)}, random_values(kShape.elements(), 1));
    const Tensor y(device_, p.output(), {stack}), dx(device_, kShape, {device_.layout(Use::kSpatial)});
    const Array<std::uint8_t> argmax(device_, op::argmax_bytes(p.output()));
    run(device_, op::MaxPool{.window = {3, 2, 1}, .x = x, .y = y, .argmax = argmax});
    run(device_, op::MaxPoolGradient{.window = {3, 2, 1}, .dy = y, .argmax = argmax, .dx = dx});
    keep(y.read()), keep(dx.read());
    const Tensor half(device_, reference::average_pool_output(kShape, 2), {stack});
    run(device_, op::AveragePool{.kernel = 2, .x = x, .y = half});
    run(device_, op::AveragePoolGradient{.kernel = 2, .dy = half, .dx = dx});
    keep(half.read()), keep(dx.read());
    const Tensor mean(device_, {kShape.n, kShape.c}, {});
    run(device_, op::GlobalAveragePool{.x = x, .y = mean});
    keep(mean.read());
  }

  void classifier_and_optimizer() {
    const std::int64_t n = 32, k = 333, l = 14, many = 100003;
    const Tensor x(device_, {n, k}, {}, random_values(n * k, 1)), y(device_, {n, l}, {}), dz(device_, {n, l}, {}),
        dx(device_, {n, k}, {});
    const Floats w(device_, random_values(l * k, 2)), b(device_, random_values(l, 3)), dw(device_, l * k),
        db(device_, l);
    run(device_, op::Linear{.x = x, .w = w, .b = b, .y = y});
    keep(y.read());
    const Floats targets(device_, Values(static_cast<std::size_t>(n * l), 1.0));
    const Array<double> loss(device_, 1), norm(device_, 1);
    for (LossKind kind : {LossKind::kMse, LossKind::kBce}) {
      run(device_, op::Loss{.kind = kind, .z = y, .y = targets, .loss = loss, .dz = dz});
      keep(loss.read()[0]), keep(dz.read());
    }
    run(device_, op::LinearGradient{.x = x, .w = w, .dy = dz, .dx = dx, .dw = dw, .db = db});
    keep(dx.read()), keep(dw.read()), keep(db.read());
    const Floats g(device_, random_values(many, 4)), m(device_, random_values(many, 5)),
        v(device_, random_values(many, 6, 0, 1)), p(device_, random_values(many, 7));
    run(device_, op::L2Norm{.g = g, .norm = norm});
    keep(norm.read()[0]);
    AdamStep step;
    step.clip_norm = 1;
    const Array<AdamScalars> scalars(device_, std::vector{AdamScalars(step)});
    run(device_, op::Adam{.scalars = scalars, .norm = norm, .g = g, .m = m, .v = v, .w = p});
    keep(m.read()), keep(v.read()), keep(p.read());
  }

  void input() {
    std::vector<std::uint8_t> images(4 * 64 * 64);
    for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<std::uint8_t>(i * i >> 3);
    ImageTransform t;
    t.xx = 0.9f, t.xy = 0.2f, t.yx = -0.2f, t.yy = 0.9f, t.x0 = 3;
    const Array<std::uint8_t> pixels(device_, images);
    const Array<ImageTransform> moves(device_, std::vector<ImageTransform>(4, t));
    const Tensor y(device_, {4, 3, 48, 48}, {device_.layout(Use::kInput)});
    run(device_, op::ImagesToInput{.images = pixels, .source = 64, .transforms = moves, .y = y});
    keep(y.read());
  }

  static constexpr Shape kShape{5, 40, 37, 29};
  Device& device_;
  std::vector<std::uint32_t> bits_;
};

TEST(Determinism, ThreadsDoNotChangeABit) {
  const auto one = make_device("cpu", 1);
  const std::vector<std::uint32_t> expected = Everything(*one).bits();
  for (int threads : {2, 3}) {
    const auto several = make_device("cpu", threads);
    EXPECT_TRUE(Everything(*several).bits() == expected) << threads << " threads differ from one";
  }
}

class DeterminismTest : public OpTest {};

TEST_P(DeterminismTest, RunsDoNotDifferInABit) {
  const std::vector<std::uint32_t> expected = Everything(device()).bits();
  for (int again = 0; again < 3; ++again) EXPECT_TRUE(Everything(device()).bits() == expected);
}

RUN_ON_DEVICES(DeterminismTest);

}  // namespace
}  // namespace densetree::test
