#include "data/augment.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "kernels/functors/image.h"
#include "tests/data/files.h"

namespace densetree::data {
namespace {

TEST(Augment, DependsOnSeedEpochAndImageAlone) {
  const AugmentOptions options;
  const ImageTransform t = augment_transform(options, 1, 2, 3, 256, 224);
  EXPECT_EQ(t, augment_transform(options, 1, 2, 3, 256, 224));
  EXPECT_NE(t, augment_transform(options, 2, 2, 3, 256, 224));
  EXPECT_NE(t, augment_transform(options, 1, 3, 3, 256, 224));
  EXPECT_NE(t, augment_transform(options, 1, 2, 4, 256, 224));
}

TEST(Augment, OffIsAPlainResize) {
  const AugmentOptions off{.enabled = false};
  EXPECT_EQ(augment_transform(off, 1, 0, 0, 256, 224), resize_transform(256, 224));
}

TEST(Augment, StaysWithinItsRangesAndFillsThem) {
  const AugmentOptions options;
  const float scale = 256.0f / 224.0f;
  int flipped = 0;
  double shift_low = 0, shift_high = 0, angle_low = 0, angle_high = 0, contrast_low = 9, contrast_high = 0;
  constexpr int kDraws = 4000;
  for (std::uint32_t image = 0; image < kDraws; ++image) {
    const ImageTransform t = augment_transform(options, 11, 0, image, 256, 224);
    const float determinant = t.xx * t.yy - t.xy * t.yx;
    flipped += determinant < 0;
    EXPECT_NEAR(std::abs(determinant), scale * scale, 1e-4);  // turned and mirrored, never squeezed
    const double angle = std::atan2(-t.xy, t.yy) * 180 / std::numbers::pi;
    shift_low = std::min<double>(shift_low, std::min(t.x0, t.y0));
    shift_high = std::max<double>(shift_high, std::max(t.x0, t.y0));
    angle_low = std::min(angle_low, angle), angle_high = std::max(angle_high, angle);
    contrast_low = std::min<double>(contrast_low, t.contrast);
    contrast_high = std::max<double>(contrast_high, t.contrast);
  }
  EXPECT_NEAR(flipped, kDraws / 2, 4 * std::sqrt(kDraws / 4.0));
  EXPECT_NEAR(shift_low, -12.8, 0.1);
  EXPECT_NEAR(shift_high, 12.8, 0.1);
  EXPECT_NEAR(angle_low, -7, 0.1);
  EXPECT_NEAR(angle_high, 7, 0.1);
  EXPECT_NEAR(contrast_low, 0.8, 0.01);
  EXPECT_NEAR(contrast_high, 1.2, 0.01);
}

TEST(Augment, ChangingOneOptionLeavesTheOtherDrawsAlone) {
  AugmentOptions still;
  still.flip = 0, still.shift = 0;
  const AugmentOptions all;
  for (std::uint32_t image = 0; image < 20; ++image) {
    const ImageTransform a = augment_transform(all, 1, 0, image, 64, 64),
                         b = augment_transform(still, 1, 0, image, 64, 64);
    EXPECT_EQ(a.contrast, b.contrast);
    EXPECT_EQ(a.xy, b.xy);
    EXPECT_EQ(b.x0, 0.0f);
  }
}

TEST(Augment, RefusesOptionsOutOfRange) {
  AugmentOptions options;
  options.flip = 1.5f;
  expect_contains(error_of([&] { options.validate(); }), "flip");
  options = {}, options.contrast_low = 2;
  expect_contains(error_of([&] { options.validate(); }), "contrast");
  options = {}, options.shift = -0.1f;
  expect_contains(error_of([&] { options.validate(); }), "shift");
  options = {}, options.rotation = NAN;
  expect_contains(error_of([&] { options.validate(); }), "rotation");
}

}  // namespace
}  // namespace densetree::data
