// The same bits for one, two and three CPU threads, and for one run after another on any device.
#include <bit>

#include "tests/kernels/op_case.h"

namespace densetree::test {
namespace {

// Everything but convolutions (whose library may split work differently for another number of threads), run once
// on sizes large enough to be split among threads; all results one after another, as bits.
class Everything {
 public:
  explicit Everything(Device& device) : device_(device), workspace_(device, device.reduction_bytes(kShape.c)) {}

  std::vector<std::uint32_t> run() {
    feature_ops();
    pooling();
    vectors();
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

  void feature_ops() {
    const Layout stack = device_.layout(Use::kStack);
    const Tensor x(device_, kShape, {device_.layout(Use::kSpatial)}, random_values(kShape.elements(), 1));
    const Tensor copy(device_, kShape, {stack, 8, 5}),
        dy(device_, kShape, {stack}, random_values(kShape.elements(), 2));
    const Floats mean(device_, kShape.c), variance(device_, kShape.c), rstd(device_, kShape.c);
    const Statistics statistics{mean.data(), variance.data(), rstd.data()};
    device_.channel_statistics(x.view(), 1e-5f, statistics, workspace_.data());
    keep(mean.read()), keep(variance.read()), keep(rstd.read());
    device_.copy_with_statistics(x.view(), copy.view(), 1e-5f, statistics, workspace_.data());
    keep(mean.read()), keep(variance.read()), keep(rstd.read()), keep(copy.read());

    const Floats gamma(device_, random_values(kShape.c, 3)), beta(device_, random_values(kShape.c, 4));
    const Affine affine{mean.data(), rstd.data(), gamma.data(), beta.data()};
    const Tensor y(device_, kShape, {stack}), s(device_, kShape, {stack, 8, 5});
    device_.affine_relu(copy.view(), affine, true, y.view());
    keep(y.read());
    const Array<double> s_sum(device_, kShape.c), s_xhat(device_, kShape.c);
    const Floats dgamma(device_, kShape.c), dbeta(device_, kShape.c);
    const GradientSums sums{s_sum.data(), s_xhat.data()};
    for (GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      device_.affine_relu_backward(dy.view(), copy.view(), affine, true, mode, s.view(), sums, dgamma.data(),
                                   dbeta.data(), workspace_.data());
    }
    keep(s.read()), keep(dgamma.read()), keep(dbeta.read());
    for (const Array<double>* sums_of : {&s_sum, &s_xhat}) {
      for (double v : sums_of->read()) {
        keep(v);
      }
    }
    device_.normalize_backward(s.view(), copy.view(), statistics, sums, GradMode::kOverwrite, s.view());
    keep(s.read());
  }

  void pooling() {
    const reference::MaxPooling p{kShape, 3, 2, 1};
    const Layout stack = device_.layout(Use::kStack);
    const Tensor x(device_, kShape, {device_.layout(Use::kSpatial)}, random_values(kShape.elements(), 1));
    const Tensor y(device_, p.output(), {stack}), dx(device_, kShape, {device_.layout(Use::kSpatial)});
    const Array<std::uint8_t> choice(device_, Device::choice_bytes(p.output()));
    device_.max_pool(x.view(), 3, 2, 1, y.view(), choice.data());
    device_.max_pool_backward(y.view(), choice.data(), 3, 2, 1, dx.view());
    keep(y.read()), keep(dx.read());
    const Tensor half(device_, reference::average_pool_output(kShape, 2), {stack});
    device_.average_pool(x.view(), 2, half.view());
    device_.average_pool_backward(half.view(), 2, dx.view());
    keep(half.read()), keep(dx.read());
    const Floats mean(device_, kShape.n * kShape.c);
    device_.global_average_pool(x.view(), mean.data());
    keep(mean.read());
  }

  void vectors() {
    const std::int64_t n = 32, k = 333, l = 14, many = 100003;
    const Floats x(device_, random_values(n * k, 1)), w(device_, random_values(l * k, 2)),
        b(device_, random_values(l, 3));
    const Floats y(device_, n * l), dz(device_, n * l), dx(device_, n * k), dw(device_, l * k), db(device_, l);
    device_.linear(x.data(), w.data(), b.data(), n, k, l, y.data());
    keep(y.read());
    const Floats targets(device_, Values(static_cast<std::size_t>(n * l), 1.0));
    const Array<double> loss(device_, 1), norm(device_, 1);
    for (LossKind kind : {LossKind::kMse, LossKind::kBce}) {
      device_.loss(kind, y.data(), targets.data(), nullptr, n, l, loss.data(), dz.data());
      keep(loss.read()[0]), keep(dz.read());
    }
    device_.linear_backward(x.data(), w.data(), dz.data(), n, k, l, dx.data(), dw.data(), db.data());
    keep(dx.read()), keep(dw.read()), keep(db.read());
    const Floats g(device_, random_values(many, 4)), m(device_, random_values(many, 5)),
        v(device_, random_values(many, 6, 0, 1)), p(device_, random_values(many, 7));
    device_.l2_norm(g.data(), many, norm.data(), workspace_.data());
    keep(norm.read()[0]);
    AdamStep step;
    step.clip_norm = 1;
    const Array<AdamScalars> scalars(device_, std::vector{AdamScalars(step)});
    device_.adam(scalars.data(), norm.data(), many, g.data(), m.data(), v.data(), p.data());
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
    device_.images_to_input(pixels.data(), 64, moves.data(), InputNormalization{}, y.view());
    keep(y.read());
  }

  static constexpr Shape kShape{5, 40, 37, 29};
  Device& device_;
  Workspace workspace_;
  std::vector<std::uint32_t> bits_;
};

TEST(Determinism, ThreadsDoNotChangeABit) {
  const auto one = make_device("cpu", 1);
  const std::vector<std::uint32_t> expected = Everything(*one).run();
  for (int threads : {2, 3}) {
    const auto several = make_device("cpu", threads);
    EXPECT_TRUE(Everything(*several).run() == expected) << threads << " threads differ from one";
  }
}

class DeterminismTest : public OpTest {};

TEST_P(DeterminismTest, RunsDoNotDifferInABit) {
  const std::vector<std::uint32_t> expected = Everything(device()).run();
  for (int again = 0; again < 3; ++again) EXPECT_TRUE(Everything(device()).run() == expected);
}

RUN_ON_DEVICES(DeterminismTest);

}  // namespace
}  // namespace densetree::test
