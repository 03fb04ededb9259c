#include "data/resize.h"

#include <gtest/gtest.h>

#include "kernels/core/philox.h"
#include "tests/data/files.h"

namespace densetree::data {
namespace {

GreyImage noise(int width, int height, std::uint64_t seed) {
  RandomStream random(seed, RandomUse::kSynth);
  GreyImage image{width, height, {}};
  for (int i = 0; i < width * height; ++i) image.pixels.push_back(static_cast<std::uint8_t>(random.below(256)));
  return image;
}

double overlap(double a, double a_end, double b, double b_end) {
  return std::max(0.0, std::min(a_end, b_end) - std::max(a, b));
}

// The mean over the square of source that output pixel (column, row) covers, in double, from the definition.
double reference(const GreyImage& image, int size, int row, int column) {
  const int side = std::max(image.width, image.height);
  const int left = (side - image.width) / 2, top = (side - image.height) / 2;
  const double step = static_cast<double>(side) / size;
  double sum = 0;
  for (int y = 0; y < image.height; ++y) {
    const double high = overlap(top + y, top + y + 1, row * step, (row + 1) * step);
    if (high == 0) continue;
    for (int x = 0; x < image.width; ++x) {
      const double wide = overlap(left + x, left + x + 1, column * step, (column + 1) * step);
      sum += high * wide * image.pixels[static_cast<std::size_t>(y) * image.width + x];
    }
  }
  return sum / (step * step);
}

struct Case {
  int width, height, size;
};
class Resize : public testing::TestWithParam<Case> {};

TEST_P(Resize, IsTheRoundedMeanOfTheArea) {
  const auto [width, height, size] = GetParam();
  const GreyImage image = noise(width, height, 7);
  const GreyImage out = resize_area(image, size);
  ASSERT_EQ(out.width, size);
  ASSERT_EQ(out.height, size);
  ASSERT_EQ(out.pixels.size(), static_cast<std::size_t>(size * size));
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      const double want = reference(image, size, y, x);
      ASSERT_NEAR(out.pixels[static_cast<std::size_t>(y * size + x)], want, 0.5 + 1e-9) << "at " << x << ", " << y;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Resize,
                         testing::Values(Case{64, 64, 16}, Case{64, 64, 64}, Case{100, 100, 28}, Case{37, 37, 11},
                                         Case{16, 16, 40}, Case{5, 5, 7}, Case{1, 1, 9}, Case{50, 31, 12},
                                         Case{31, 50, 12}, Case{50, 3, 64}, Case{2, 9, 4}, Case{200, 1, 3},
                                         Case{97, 64, 96}),
                         [](const auto& test) {
                           return fmt::format("{}x{}to{}", test.param.width, test.param.height, test.param.size);
                         });

TEST(ResizeArea, KeepsTheSameSizeAndConstantPictures) {
  const GreyImage image = noise(33, 33, 1);
  EXPECT_EQ(resize_area(image, 33).pixels, image.pixels);
  const GreyImage white{1021, 1021, std::vector<std::uint8_t>(1021 * 1021, 255)};
  EXPECT_EQ(resize_area(white, 224).pixels, std::vector<std::uint8_t>(224 * 224, 255));
}

TEST(ResizeArea, RoundsHalvesUp) {
  const GreyImage image{2, 2, {0, 1, 0, 1}};
  EXPECT_EQ(resize_area(image, 1).pixels, std::vector<std::uint8_t>{1});
}

TEST(ResizeArea, PadsToASquareWithBlack) {
  const GreyImage tall{1, 3, {90, 91, 92}};
  EXPECT_EQ(resize_area(tall, 3).pixels, (std::vector<std::uint8_t>{0, 90, 0, 0, 91, 0, 0, 92, 0}));
  const GreyImage wide{4, 1, {1, 2, 3, 4}};  // the odd rest of three rows: one above, two below
  EXPECT_EQ(resize_area(wide, 4).pixels, (std::vector<std::uint8_t>{0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(ResizeArea, RefusesEmptyImagesAndSizes) {
  EXPECT_THROW(resize_area(GreyImage{}, 8), Error);
  EXPECT_THROW(resize_area(noise(2, 2, 1), 0), Error);
  expect_contains(error_of([] { resize_area(noise(2, 2, 1), 20000); }), "20000");
}

}  // namespace
}  // namespace densetree::data
