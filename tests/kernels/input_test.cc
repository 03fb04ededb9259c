// Grey images to the network's input.
#include <numbers>
#include <random>

#include "tests/kernels/op_case.h"

namespace densetree::test {
namespace {

std::vector<std::uint8_t> noise(std::int64_t count, std::int64_t source) {
  std::mt19937 engine(3);
  std::vector<std::uint8_t> images(static_cast<std::size_t>(count * source * source));
  for (std::uint8_t& pixel : images) pixel = static_cast<std::uint8_t>(engine() >> 24);
  return images;
}

ImageTransform turned(double degrees, double scale, float x0, float y0, float contrast) {
  const double angle = degrees * std::numbers::pi / 180;
  ImageTransform t;
  t.xx = static_cast<float>(scale * std::cos(angle)), t.xy = static_cast<float>(-scale * std::sin(angle)), t.x0 = x0;
  t.yx = static_cast<float>(scale * std::sin(angle)), t.yy = static_cast<float>(scale * std::cos(angle)), t.y0 = y0;
  t.contrast = contrast;
  return t;
}

class InputTest : public OpTest {
 protected:
  Values input(const std::vector<std::uint8_t>& images, std::int64_t source,
               const std::vector<ImageTransform>& transforms, std::int64_t height, std::int64_t width) const {
    const Array<std::uint8_t> pixels(device(), images);
    const Array<ImageTransform> moves(device(), transforms);
    const Shape shape{static_cast<std::int64_t>(transforms.size()), kInputChannels, height, width};
    const Tensor y(device(), shape, {device().layout(Use::kInput)});
    run(device(), op::ImagesToInput{.images = pixels, .source = source, .transforms = moves, .y = y});
    y.expect_clean();
    return y.read();
  }
  // Coordinates in fp32 err by a few eps·size, and grey values differ by up to 1 from pixel to pixel.
  void expect_reference(const std::vector<std::uint8_t>& images, std::int64_t source,
                        const std::vector<ImageTransform>& transforms, std::int64_t height, std::int64_t width,
                        const std::string& what) const {
    const double size = static_cast<double>(source + height + width);
    expect_close(input(images, source, transforms, height, width),
                 reference::images_to_input(images, source, transforms, InputNormalization{}, height, width),
                 2 * kEps * size / 0.224, what);
  }
};

TEST_P(InputTest, UnmovedImagesAreNormalised) {
  const std::int64_t source = 16;
  const std::vector<std::uint8_t> images = noise(2, source);
  const Values got = input(images, source, std::vector<ImageTransform>(2), source, source);
  const double mean[] = {0.485, 0.456, 0.406}, deviation[] = {0.229, 0.224, 0.225};
  Values expected;
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t c = 0; c < 3; ++c)
      for (std::size_t i = 0; i < 256; ++i) expected.push_back((images[n * 256 + i] / 255.0 - mean[c]) / deviation[c]);
  expect_close(got, expected, 8 * kEps, "normalised");  // values below 3
}

TEST_P(InputTest, FlipMirrorsExactly) {
  const std::int64_t source = 17, n = 1;
  const std::vector<std::uint8_t> images = noise(n, source);
  ImageTransform flip;
  flip.xx = -1;
  const Values plain = input(images, source, {ImageTransform{}}, source, source),
               got = input(images, source, {flip}, source, source);
  const Shape shape{1, 3, source, source};
  for (std::int64_t c = 0; c < 3; ++c)
    for (std::int64_t h = 0; h < source; ++h)
      for (std::int64_t w = 0; w < source; ++w) {
        ASSERT_EQ(got[reference::at(shape, 0, c, h, w)], plain[reference::at(shape, 0, c, h, source - 1 - w)]);
      }
}

TEST_P(InputTest, HalvingAveragesFourPixels) {  // output centres fall between four source pixels
  const std::int64_t source = 8;
  const std::vector<std::uint8_t> images = noise(1, source);
  ImageTransform half;
  half.xx = half.yy = 2;
  const Values got = input(images, source, {half}, 4, 4);
  for (std::size_t h = 0; h < 4; ++h)
    for (std::size_t w = 0; w < 4; ++w) {
      const std::size_t i = 2 * h * 8 + 2 * w;
      const double mean = (images[i] + images[i + 1] + images[i + 8] + images[i + 9]) / (4 * 255.0);
      ASSERT_NEAR(got[h * 4 + w], (mean - 0.485) / 0.229, 8 * kEps);
    }
}

TEST_P(InputTest, OutsideIsBlack) {
  const std::vector<std::uint8_t> images(64, 255);
  ImageTransform right;
  right.x0 = 4.5f;  // output column w shows source column w + 4.5
  const Values got = input(images, 8, {right}, 8, 8);
  const double white = (1 - 0.485) / 0.229, black = (0 - 0.485) / 0.229;
  EXPECT_NEAR(got[2], white, 8 * kEps);
  EXPECT_NEAR(got[3], (white + black) / 2, 8 * kEps);  // half over the edge
  EXPECT_NEAR(got[4], black, 8 * kEps);
  EXPECT_NEAR(got[7], black, 8 * kEps);
  ImageTransform away;
  away.x0 = 1e9f, away.y0 = -1e9f;  // no pixel index holds this
  const Values nothing = input(images, 8, {away}, 8, 8);
  for (std::size_t i = 0; i < 64; ++i) ASSERT_NEAR(nothing[i], black, 8 * kEps);
}

TEST_P(InputTest, ContrastTurnsAboutTheMiddleAndClamps) {
  ImageTransform strong, weak;
  strong.contrast = 1.5f, weak.contrast = 0.5f;
  const Values got = input({0, 51, 204, 255, 0, 51, 204, 255}, 2, {strong, weak}, 2, 2);
  const double expected[2][4] = {{0, 0.05, 0.95, 1}, {0.25, 0.35, 0.65, 0.75}};
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(got[n * 12 + i], (expected[n][i] - 0.485) / 0.229, 8 * kEps);
}

TEST_P(InputTest, RotationsShiftsAndScalesFollowFloat64) {
  for (std::int64_t source : {16, 33, 64}) {
    for (const auto& [height, width] : {std::pair<std::int64_t, std::int64_t>{16, 16}, {13, 7}, {32, 40}, {1, 1}}) {
      const double scale = static_cast<double>(source) / static_cast<double>(height);
      const std::vector<ImageTransform> transforms{turned(0, scale, 0, 0, 1), turned(7, scale, 1.3f, -2.7f, 1),
                                                   turned(-90, 1, 0.25f, 0, 0.8f), turned(180, -scale, 0, 5, 1.2f),
                                                   turned(33, 0.7 * scale, -20, 11.5f, 1)};
      expect_reference(noise(5, source), source, transforms, height, width,
                       fmt::format("{} to {}x{}", source, height, width));
    }
  }
}

TEST_P(InputTest, RefusesViewsThatAreNoInput) {
  const Array<std::uint8_t> pixels(device(), noise(1, 8));
  const Array<ImageTransform> moves(device(), std::vector<ImageTransform>(1));
  const Tensor y(device(), {1, 4, 8, 8}, {device().layout(Use::kInput)});
  expect_refused(device(), op::ImagesToInput{.images = pixels, .source = 8, .transforms = moves, .y = y});
}

RUN_ON_DEVICES(InputTest);

}  // namespace
}  // namespace densetree::test
