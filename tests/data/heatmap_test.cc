#include "data/heatmap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/philox.h"
#include "tests/data/files.h"

namespace densetree::data {
namespace {

HeatMap random_map(int width, int height, float low, float high) {
  RandomStream random(11, RandomUse::kSynth);
  HeatMap map{width, height, {}};
  for (int i = 0; i < width * height; ++i) map.values.push_back(random.uniform(low, high));
  return map;
}

GreyImage noise(int width, int height) {
  RandomStream random(5, RandomUse::kSynth);
  GreyImage image{width, height, {}};
  for (int i = 0; i < width * height; ++i) image.pixels.push_back(static_cast<std::uint8_t>(random.below(256)));
  return image;
}

std::vector<std::uint8_t> in_three(const GreyImage& image) {
  std::vector<std::uint8_t> rgb;
  for (const std::uint8_t grey : image.pixels) rgb.insert(rgb.end(), 3, grey);
  return rgb;
}

// ---- Stretching ------------------------------------------------------------------------------------

// The map at (x, y), both 0 … 1 across the square it covers: every cell counts by its hat function around its centre.
double reference(const HeatMap& map, double x, double y) {
  const auto hat = [](double at, int cell, int cells) {
    const double held = std::min(std::max(at, 0.5 / cells), 1 - 0.5 / cells);
    return std::max(0.0, 1 - std::abs(held * cells - (cell + 0.5)));
  };
  double sum = 0;
  for (int row = 0; row < map.height; ++row) {
    for (int column = 0; column < map.width; ++column) {
      const double cell = map.values[static_cast<std::size_t>(row) * map.width + column];
      sum += hat(x, column, map.width) * hat(y, row, map.height) * cell;
    }
  }
  return sum;
}

struct Case {
  int map_width, map_height, width, height;
};
class Stretch : public testing::TestWithParam<Case> {};

TEST_P(Stretch, IsBilinearBetweenTheCentresOfCells) {
  const auto [map_width, map_height, width, height] = GetParam();
  const HeatMap map = random_map(map_width, map_height, -2, 3);
  const std::vector<float> out = stretch(map, width, height);
  ASSERT_EQ(out.size(), static_cast<std::size_t>(width * height));
  const int side = std::max(width, height), left = (side - width) / 2, top = (side - height) / 2;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const double want = reference(map, (left + x + 0.5) / side, (top + y + 0.5) / side);
      ASSERT_NEAR(out[static_cast<std::size_t>(y * width + x)], want, 1e-6) << "at " << x << ", " << y;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Stretch,
                         testing::Values(Case{7, 7, 224, 224}, Case{7, 7, 101, 101}, Case{7, 7, 7, 7}, Case{7, 7, 3, 3},
                                         Case{1, 1, 9, 5}, Case{2, 2, 5, 5}, Case{3, 5, 40, 40}, Case{7, 7, 60, 41},
                                         Case{7, 7, 41, 60}, Case{8, 8, 100, 1}, Case{4, 4, 1, 1}),
                         [](const auto& test) {
                           return fmt::format("{}x{}over{}x{}", test.param.map_width, test.param.map_height,
                                              test.param.width, test.param.height);
                         });

TEST(StretchedMap, HasItsCellsCentresWhereThePictureHasThem) {
  EXPECT_EQ(stretch({2, 1, {0, 1}}, 4, 4), (std::vector<float>{0, .25f, .75f, 1, 0, .25f, .75f, 1,  //
                                                               0, .25f, .75f, 1, 0, .25f, .75f, 1}));
  const HeatMap map = random_map(7, 7, -1, 1);
  EXPECT_EQ(stretch(map, 7, 7), map.values);
}

TEST(StretchedMap, LiesWhereTheNetworkSawThePicture) {
  HeatMap map{4, 4, {}};
  for (int i = 0; i < 16; ++i) map.values.push_back(static_cast<float>(i));
  EXPECT_EQ(stretch(map, 2, 4), (std::vector<float>{1, 2, 5, 6, 9, 10, 13, 14}));  // columns beside it were black
  EXPECT_EQ(stretch(map, 4, 2), (std::vector<float>{4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(stretch(map, 4, 3), (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));  // the odd row is below
}

TEST(StretchedMap, RefusesWhatIsNoMapOrNoPicture) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
  expect_contains(error_of([] { stretch({}, 4, 4); }), "0x0 cells");
  expect_contains(error_of([] { stretch({2, 2, {1, 2, 3}}, 4, 4); }), "2x2 cells holds 3");
  expect_contains(error_of([] { stretch({-1, -1, {1}}, 4, 4); }), "-1x-1 cells");
  expect_contains(error_of([] { stretch({2, 1, {1, kNan}}, 4, 4); }), "holds nan");
  expect_contains(error_of([] { stretch({2, 1, {-kInfinity, 1}}, 4, 4); }), "holds -inf");
  expect_contains(error_of([] { stretch({1, 1, {1}}, 0, 4); }), "0x4 pixels");
}

// ---- Colours ---------------------------------------------------------------------------------------

// CIE lightness (0 … 100) of sRGB.
double lightness(const std::array<double, 3>& rgb) {
  constexpr double kLuminance[] = {0.2126, 0.7152, 0.0722};
  double y = 0;
  for (std::size_t c = 0; c < 3; ++c) {
    const double s = rgb[c] / 255;
    y += kLuminance[c] * (s <= 0.04045 ? s / 12.92 : std::pow((s + 0.055) / 1.055, 2.4));
  }
  return y > 0.008856 ? 116 * std::cbrt(y) - 16 : 903.3 * y;
}

TEST(HeatColour, RisesEvenlyInLightnessFromDarkPurpleToOrange) {
  EXPECT_EQ(heat_colour(0), (std::array<double, 3>{66, 10, 104}));
  EXPECT_EQ(heat_colour(0.5), (std::array<double, 3>{188, 55, 84}));
  EXPECT_EQ(heat_colour(1), (std::array<double, 3>{252, 165, 10}));
  const double step = (lightness(heat_colour(1)) - lightness(heat_colour(0))) / 100;
  EXPECT_GT(100 * step, 50);
  for (int i = 0; i < 100; ++i) {
    EXPECT_NEAR(lightness(heat_colour((i + 1) / 100.0)) - lightness(heat_colour(i / 100.0)), step, 0.2 * step) << i;
  }
}

// ---- Overlay ---------------------------------------------------------------------------------------

TEST(Overlay, ColoursByTheShareOfTheMaximumAndLeavesTheRestGrey) {
  const GreyImage image = noise(50, 37);
  const HeatMap map = random_map(7, 7, -1, 2.5f);
  const std::vector<float> heat = stretch(map, 50, 37);
  const double most = *std::max_element(map.values.begin(), map.values.end());
  const RgbImage out = overlay(image, map);
  ASSERT_EQ(out.width, 50);
  ASSERT_EQ(out.height, 37);
  ASSERT_EQ(out.pixels.size(), 3 * heat.size());
  int grey = 0;
  for (std::size_t i = 0; i < heat.size(); ++i) {
    const double share = heat[i] / most;
    grey += share <= 0;
    for (std::size_t c = 0; c < 3; ++c) {
      const double colour = share > 0 ? heat_colour(share)[c] : 0, alpha = share > 0 ? 0.6 * share : 0;
      const double want = (1 - alpha) * image.pixels[i] + alpha * colour;
      ASSERT_NEAR(out.pixels[3 * i + c], want, share > 0 ? 0.5 + 1e-9 : 0) << i;
    }
  }
  EXPECT_GT(grey, 100);  // both kinds of pixels are there
  EXPECT_LT(grey, 1750);
}

TEST(Overlay, WithoutEvidenceIsThePlainPicture) {
  const GreyImage image = noise(20, 31);
  EXPECT_EQ(overlay(image, random_map(7, 7, -3, -1)).pixels, in_three(image));
  EXPECT_EQ(overlay(image, {2, 2, {0, 0, -1, 0}}).pixels, in_three(image));
}

TEST(Overlay, DependsOnTheMapsShapeNotItsSize) {
  const GreyImage image = noise(32, 32);
  HeatMap map = random_map(7, 7, -1, 1);
  const std::vector<std::uint8_t> out = overlay(image, map).pixels;
  for (float& value : map.values) value *= 0x1p-90f;
  EXPECT_EQ(overlay(image, map).pixels, out);
  for (float& value : map.values) value *= 0x1p120f;
  EXPECT_EQ(overlay(image, map).pixels, out);
  EXPECT_EQ(overlay(image, {1, 1, {0x1p-149f}}).pixels, overlay(image, {1, 1, {1}}).pixels);  // the smallest float
}

// Of a constant picture, with shares of the maximum rising from 0 to 1 along a row.
std::vector<std::uint8_t> rising_over(std::uint8_t grey) {
  return overlay({101, 101, std::vector<std::uint8_t>(101 * 101, grey)}, {2, 1, {0, 1}}).pixels;
}

TEST(Overlay, IsMoreColouredTheMoreEvidenceWhateverTheAnatomy) {
  for (const int grey : {0, 60, 128, 200, 255}) {
    const std::vector<std::uint8_t> row = rising_over(static_cast<std::uint8_t>(grey));
    int last = 0;
    for (std::size_t x = 0; x < 101; ++x) {
      const auto [low, high] = std::minmax({row[3 * x], row[3 * x + 1], row[3 * x + 2]});
      EXPECT_GE(high - low, last - 1) << grey << " at " << x;  // 1: both ends are rounded
      last = std::max(last, high - low);
    }
    EXPECT_GT(last, 140) << grey;
  }
}

TEST(Overlay, KeepsTheAnatomysContrast) {
  const std::vector<std::uint8_t> dark = rising_over(40), bright = rising_over(240);
  for (std::size_t i = 0; i < dark.size(); ++i) {
    ASSERT_GE(bright[i] - dark[i], 0.4 * 200 - 1) << i;
  }
}

TEST(Overlay, IsWrittenAsAPngThatIsReadBack) {
  const TemporaryFolder folder;
  const RgbImage out = overlay(noise(60, 41), random_map(7, 7, -1, 1));
  write_png(folder / "heat.png", out);
  const GreyImage back = decode_image(folder / "heat.png");
  ASSERT_EQ(back.width, 60);
  ASSERT_EQ(back.height, 41);
  for (std::size_t i = 0; i < back.pixels.size(); ++i) {
    ASSERT_EQ(back.pixels[i], luminance(out.pixels[3 * i], out.pixels[3 * i + 1], out.pixels[3 * i + 2])) << i;
  }
}

TEST(Overlay, RefusesAPictureThatIsNotWhole) {
  GreyImage image = noise(5, 4);
  image.pixels.pop_back();
  expect_contains(error_of([&] { overlay(image, {1, 1, {1}}); }), "5x4 pixels holds 19");
  expect_contains(error_of([&] { overlay(GreyImage{}, {1, 1, {1}}); }), "0x0 pixels");
  expect_contains(error_of([&] { overlay(noise(5, 4), {}); }), "0x0 cells");
}

}  // namespace
}  // namespace densetree::data
