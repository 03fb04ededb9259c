// Operations on bf16 views compute in fp32 and round once, when they store: on values that bf16 holds exactly they
// give the fp32 operation's results (which other tests hold against float64) rounded to bf16, bit for bit.
#include "kernels/core/bfloat16.h"

#include <bit>
#include <cmath>

#include "tests/kernels/op_case.h"

namespace densetree::test {
namespace {

// The same values twice, as an fp32 and as a bf16 view in memory of their own: whole, or with neighbours.
class Twins {
 public:
  Twins(Device& device, const Shape& shape, const Placement& place, const Values& nchw) : Twins(device, shape, place) {
    std::size_t value = 0;
    for (std::int64_t n = 0; n < shape.n; ++n)
      for (std::int64_t c = 0; c < shape.c; ++c)
        for (std::int64_t p = 0; p < shape.pixels(); ++p, ++value) {
          const auto i = static_cast<std::size_t>(index(n, c, p));
          wide_values_[i] = static_cast<float>(nchw[value]);
          narrow_values_[i] = bfloat16_bits(wide_values_[i]);
        }
    device.upload(wide_.data(), wide_values_.data(), wide_values_.size() * sizeof(float));
    device.upload(narrow_.data(), narrow_values_.data(), narrow_values_.size() * sizeof(std::uint16_t));
    device.synchronize();
  }
  Twins(Device& device, const Shape& shape, const Placement& place)
      : whole_{shape.n, place.before + shape.c + place.after, shape.h, shape.w},
        wide_values_(static_cast<std::size_t>(storage_elements(whole_, place.layout)), 7.0f),
        narrow_values_(wide_values_.size(), bfloat16_bits(7.0f)),
        wide_(device, wide_values_),
        narrow_(device, narrow_values_),
        wide_view_(make_view(wide_.data(), whole_, place.layout).slice(place.before, shape.c)),
        narrow_view_(make_view(narrow_.data(), whole_, place.layout, DType::kBFloat16).slice(place.before, shape.c)) {}

  const View& wide() const { return wide_view_; }
  const View& narrow() const { return narrow_view_; }

  // All of memory, the neighbours too.
  void expect_same() const {
    const std::vector<float> wide = wide_.read();
    const std::vector<std::uint16_t> narrow = narrow_.read();
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < wide.size(); ++i) {
      wrong += narrow[i] != bfloat16_bits(wide[i]);
    }
    EXPECT_EQ(wrong, 0u) << "of " << wide.size() << " elements are not the fp32 result rounded to bf16";
  }

 private:
  std::int64_t index(std::int64_t n, std::int64_t c, std::int64_t p) const { return wide_view_.offset(n, c, p); }

  Shape whole_;
  std::vector<float> wide_values_;
  std::vector<std::uint16_t> narrow_values_;
  Array<float> wide_;
  Array<std::uint16_t> narrow_;
  View wide_view_, narrow_view_;
};

struct Place {
  Shape shape;
  std::int64_t before, after;
};
// Whole vectors and single elements, whole tensors and slices, padded ones among them.
const Place kPlaces[] = {{{2, 16, 7, 5}, 0, 0}, {{2, 32, 6, 6}, 8, 24},  {{3, 5, 7, 5}, 0, 0},
                         {{1, 24, 4, 4}, 3, 8}, {{2, 32, 5, 4}, 16, 16}, {{2, 8, 5, 3}, 4, 4}};

class BFloat16Test : public OpTest {
 protected:
  void SetUp() override {
    if (const std::string why_not = device().why_not(Precision::kBFloat16); !why_not.empty()) {
      GTEST_SKIP() << why_not;
    }
  }
  Twins twins(const Place& place, unsigned seed) const {
    return Twins(device(), place.shape, placement(place),
                 rounded_to(DType::kBFloat16, random_values(place.shape.elements(), seed, -2, 2)));
  }
  Twins empty(const Place& place) const { return Twins(device(), place.shape, placement(place)); }
  Placement placement(const Place& place) const { return {device().layout(Use::kStack), place.before, place.after}; }
};

struct Channels {
  Floats mean, variance, rstd, gamma, beta;
  Channels(Device& device, std::int64_t c)
      : mean(device, random_values(c, 11)),
        variance(device, random_values(c, 12, 0.5, 2)),
        rstd(device, random_values(c, 13, 0.5, 2)),
        gamma(device, random_values(c, 14)),
        beta(device, random_values(c, 15)) {}
  op::Affine affine() const { return {mean, rstd, gamma, beta}; }
  op::Statistics statistics() const { return {mean, variance, rstd}; }
};

TEST_P(BFloat16Test, CopiesAndStatistics) {
  for (const Place& place : kPlaces) {
    const std::int64_t c = place.shape.c;
    const Twins x = twins(place, 1), copied = empty(place), with_statistics = empty(place);
    run(device(), op::Copy{.x = x.wide(), .y = copied.wide()});
    run(device(), op::Copy{.x = x.narrow(), .y = copied.narrow()});
    copied.expect_same();
    const Channels wide(device(), c), narrow(device(), c), in_place(device(), c);
    const auto take = [&](const View& from, const Channels& to, const View& copy) {
      run(device(), op::ChannelStatistics{.x = from, .eps = 1e-5f, .statistics = to.statistics(), .y = copy});
    };
    take(x.wide(), wide, with_statistics.wide());
    take(x.narrow(), narrow, with_statistics.narrow());
    take(x.narrow(), in_place, {});
    with_statistics.expect_same();
    for (const Channels* got : {&narrow, &in_place}) {
      expect_close(got->mean.read(), wide.mean.read(), 2 * kEps, "mean");
      expect_close(got->variance.read(), wide.variance.read(), 4 * kEps, "variance");
      expect_close(got->rstd.read(), wide.rstd.read(), 4 * kEps, "rstd");
    }
  }
}

TEST_P(BFloat16Test, CopiesBetweenTypesAndLayouts) {
  const Place place{{2, 5, 4, 3}, 0, 0};
  const Values values = rounded_to(DType::kBFloat16, random_values(place.shape.elements(), 2));
  const Twins x = twins(place, 2);
  Tensor planar(device(), place.shape, {Layout::kPlanar});
  run(device(), op::Copy{.x = x.narrow(), .y = planar});
  Tensor expected(device(), place.shape, {Layout::kPlanar});
  run(device(), op::Copy{.x = x.wide(), .y = expected});
  EXPECT_EQ(planar.read(), expected.read());
  const Twins back = empty(place);
  run(device(), op::Copy{.x = planar, .y = back.narrow()});
  run(device(), op::Copy{.x = planar, .y = back.wide()});
  back.expect_same();
}

TEST_P(BFloat16Test, AffineReluBothWays) {
  for (const Place& place : kPlaces) {
    const std::int64_t c = place.shape.c;
    const Channels channels(device(), c);
    const Twins x = twins(place, 3), dy = twins(place, 4), y = empty(place), dx = empty(place);
    run(device(), op::AffineRelu{.x = x.wide(), .affine = channels.affine(), .y = y.wide()});
    run(device(), op::AffineRelu{.x = x.narrow(), .affine = channels.affine(), .y = y.narrow()});
    y.expect_same();
    for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      const Twins s = twins(place, 5);
      const auto backward = [&](const View& dy_view, const View& x_view, const View& s_view) {
        const Array<double> sum(device(), std::vector<double>(static_cast<std::size_t>(c), 0.25)),
            xhat(device(), std::vector<double>(static_cast<std::size_t>(c), 0.5));
        const Floats dgamma(device(), c), dbeta(device(), c);
        run(device(), op::AffineReluGradient{.dy = dy_view,
                                             .x = x_view,
                                             .affine = channels.affine(),
                                             .mode = mode,
                                             .s = s_view,
                                             .sums = {sum, xhat},
                                             .dgamma = dgamma,
                                             .dbeta = dbeta});
        return std::vector<Values>{sum.read(), xhat.read(), dgamma.read(), dbeta.read()};
      };
      const auto wide = backward(dy.wide(), x.wide(), s.wide());
      const auto narrow = backward(dy.narrow(), x.narrow(), s.narrow());
      s.expect_same();
      for (std::size_t i = 0; i < wide.size(); ++i) {
        expect_close(narrow[i], wide[i], 1e-5, "a sum over the channel");
      }
    }
    const Array<double> sum(device(), std::vector<double>(static_cast<std::size_t>(c), 0.75));
    const auto normalize = [&](const View& s_view, const View& x_view, const View& dx_view) {
      run(device(),
          op::NormalizeGradient{
              .s = s_view, .x = x_view, .statistics = channels.statistics(), .sums = {sum, sum}, .dx = dx_view});
    };
    normalize(dy.wide(), x.wide(), dx.wide());
    normalize(dy.narrow(), x.narrow(), dx.narrow());
    dx.expect_same();
  }
}

TEST_P(BFloat16Test, Pooling) {
  for (const Place& place : kPlaces) {
    const Shape& in = place.shape;
    const auto pooled = [&](std::int64_t h, std::int64_t w) { return Place{{in.n, in.c, h, w}, 0, 0}; };
    const Place max_place = pooled((in.h - 1) / 2 + 1, (in.w - 1) / 2 + 1), average_place = pooled(in.h / 2, in.w / 2);
    const Twins x = twins(place, 6), y = empty(max_place), dy = twins(max_place, 7), dx = empty(place);
    const Array<std::uint8_t> argmax(device(), op::argmax_bytes(max_place.shape));
    const op::Window window{3, 2, 1};
    run(device(), op::MaxPool{.window = window, .x = x.wide(), .y = y.wide(), .argmax = argmax});
    run(device(), op::MaxPoolGradient{.window = window, .dy = dy.wide(), .argmax = argmax, .dx = dx.wide()});
    run(device(), op::MaxPool{.window = window, .x = x.narrow(), .y = y.narrow(), .argmax = argmax});
    run(device(), op::MaxPoolGradient{.window = window, .dy = dy.narrow(), .argmax = argmax, .dx = dx.narrow()});
    y.expect_same();
    dx.expect_same();

    const Twins average = empty(average_place), daverage = twins(average_place, 8), dx2 = empty(place);
    run(device(), op::AveragePool{.kernel = 2, .x = x.wide(), .y = average.wide()});
    run(device(), op::AveragePool{.kernel = 2, .x = x.narrow(), .y = average.narrow()});
    run(device(), op::AveragePoolGradient{.kernel = 2, .dy = daverage.wide(), .dx = dx2.wide()});
    run(device(), op::AveragePoolGradient{.kernel = 2, .dy = daverage.narrow(), .dx = dx2.narrow()});
    average.expect_same();
    dx2.expect_same();

    const Tensor mean(device(), {in.n, in.c}, {}), mean_of_narrow(device(), {in.n, in.c}, {});
    run(device(), op::GlobalAveragePool{.x = x.wide(), .y = mean});
    run(device(), op::GlobalAveragePool{.x = x.narrow(), .y = mean_of_narrow});
    EXPECT_EQ(mean.read(), mean_of_narrow.read());
    const Twins dx3 = empty(place);
    run(device(), op::GlobalAveragePoolGradient{.dy = mean, .dx = dx3.wide()});
    run(device(), op::GlobalAveragePoolGradient{.dy = mean, .dx = dx3.narrow()});
    dx3.expect_same();
  }
}

TEST_P(BFloat16Test, NetworkInput) {
  std::vector<std::uint8_t> pixels(2 * 10 * 10);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(i * 37 % 256);
  }
  const Array<std::uint8_t> images(device(), pixels);
  const Array<ImageTransform> transforms(device(),
                                         std::vector<ImageTransform>{{1.2f, 0.1f, 0.3f, -0.1f, 1.2f, 0.2f, 0.9f}, {}});
  const Twins y(device(), {2, 3, 8, 8}, {device().layout(Use::kInput)});
  for (const View& to : {y.wide(), y.narrow()}) {
    run(device(), op::ImagesToInput{.images = images, .source = 10, .transforms = transforms, .y = to});
  }
  y.expect_same();
}

TEST_P(BFloat16Test, MixedTypesAreRefused) {
  const Place place{{1, 8, 2, 2}, 0, 0};
  const Twins x = twins(place, 9), y = empty(place);
  const Channels channels(device(), 8);
  const op::AffineRelu mixed{.x = x.wide(), .affine = channels.affine(), .y = y.narrow()};
  expect_error([&] { run(device(), mixed); }, "all bf16");
}

RUN_ON_DEVICES(BFloat16Test);

TEST(BFloat16, RoundsToNearestEven) {
  for (const auto& [value, bits] : std::vector<std::pair<float, int>>{{0.0f, 0x0000},
                                                                      {-0.0f, 0x8000},
                                                                      {1.0f, 0x3F80},
                                                                      {0x1.01p0f, 0x3F80},  // half way, even below
                                                                      {0x1.03p0f, 0x3F82},  // half way, even above
                                                                      {0x1.0101p0f, 0x3F81},
                                                                      {3.4028235e38f, 0x7F80},
                                                                      {INFINITY, 0x7F80},
                                                                      {-INFINITY, 0xFF80}}) {
    EXPECT_EQ(bfloat16_bits(value), bits) << value;
  }
  EXPECT_TRUE(std::isnan(float_of_bfloat16(bfloat16_bits(std::bit_cast<float>(0x7F800001u)))));
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = float_of_bfloat16(static_cast<std::uint16_t>(bits));
    if (!std::isnan(value)) {
      EXPECT_EQ(bfloat16_bits(value), bits);
    }
  }
}

}  // namespace
}  // namespace densetree::test
