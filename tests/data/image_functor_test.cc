#include "kernels/functors/image.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/core/philox.h"

namespace densetree {
namespace {

std::vector<std::uint8_t> random_image(std::int64_t size, std::uint64_t seed) {
  RandomStream random(seed, RandomUse::kSynth);
  std::vector<std::uint8_t> image(static_cast<std::size_t>(size * size));
  for (std::uint8_t& pixel : image) {
    pixel = static_cast<std::uint8_t>(random.below(256));
  }
  return image;
}

// The definition, in float64: every source pixel is weighed with a triangle of width 1 around the sampled point.
double reference(const std::vector<std::uint8_t>& image, std::int64_t size, const ImageTransform& t, double x,
                 double y) {
  const double middle = 0.5 * static_cast<double>(size - 1);
  const double u = double{t.xx} * x + double{t.xy} * y + double{t.x0} + middle;
  const double v = double{t.yx} * x + double{t.yy} * y + double{t.y0} + middle;
  double sum = 0;
  for (std::int64_t row = 0; row < size; ++row) {
    for (std::int64_t column = 0; column < size; ++column) {
      const double wu = std::max(0.0, 1.0 - std::abs(u - static_cast<double>(column)));
      const double wv = std::max(0.0, 1.0 - std::abs(v - static_cast<double>(row)));
      sum += wu * wv * image[static_cast<std::size_t>(row * size + column)];
    }
  }
  return std::clamp(double{t.contrast} * (sum / 255.0 - 0.5) + 0.5, 0.0, 1.0);
}

TEST(ImageFunctor, MatchesTheDefinitionAtRandomTransforms) {
  RandomStream random(5, RandomUse::kAugment);
  for (const std::int64_t size : {1, 2, 7, 33}) {
    const auto image = random_image(size, 3);
    for (int draw = 0; draw < 400; ++draw) {
      ImageTransform t{random.uniform(-2, 2), random.uniform(-1, 1), random.uniform(-4, 4),     random.uniform(-1, 1),
                       random.uniform(-2, 2), random.uniform(-4, 4), random.uniform(0.5f, 1.6f)};
      const float half = 0.7f * static_cast<float>(size);
      const float x = random.uniform(-half, half), y = random.uniform(-half, half);
      EXPECT_NEAR(sample(image.data(), size, t, x, y), reference(image, size, t, x, y), 2e-5)
          << "size " << size << " at " << x << ", " << y;
    }
  }
}

TEST(ImageFunctor, IdentityGivesThePixels) {
  const std::int64_t size = 9;
  const auto image = random_image(size, 4);
  const ImageTransform t = resize_transform(size, size);
  for (std::int64_t y = 0; y < size; ++y) {
    for (std::int64_t x = 0; x < size; ++x) {
      const float grey = sample(image.data(), size, t, centered(x, size), centered(y, size));
      EXPECT_NEAR(grey * 255.0f, image[static_cast<std::size_t>(y * size + x)], 1e-4);
    }
  }
}

TEST(ImageFunctor, ResizeKeepsCornersTogether) {
  // 8 → 4: each output pixel lies in the middle of 2×2 source pixels.
  const std::int64_t size = 8, output = 4;
  const auto image = random_image(size, 6);
  const ImageTransform t = resize_transform(size, output);
  for (std::int64_t y = 0; y < output; ++y) {
    for (std::int64_t x = 0; x < output; ++x) {
      const auto at = static_cast<std::size_t>(2 * y * size + 2 * x);
      const float mean = 0.25f * static_cast<float>(image[at] + image[at + 1] + image[at + 8] + image[at + 9]);
      EXPECT_NEAR(255.0f * sample(image.data(), size, t, centered(x, output), centered(y, output)), mean, 1e-3);
    }
  }
}

TEST(ImageFunctor, OutsideIsBlackHoweverFar) {
  const auto image = std::vector<std::uint8_t>(16, 255);
  EXPECT_NEAR(bilinear(image.data(), 4, -0.5f, 1.0f), 127.5f, 1e-4);
  EXPECT_NEAR(bilinear(image.data(), 4, 3.25f, 3.25f), 255.0f * 0.75f * 0.75f, 1e-3);
  for (const float far : {-1.0f, 4.0f, 1e9f, -1e30f, INFINITY, -INFINITY, NAN}) {
    EXPECT_EQ(bilinear(image.data(), 4, far, 1.0f), 0.0f) << far;
    EXPECT_EQ(bilinear(image.data(), 4, 1.0f, far), 0.0f) << far;
  }
}

TEST(ImageFunctor, NormalizesEachChannel) {
  const InputNormalization n;
  const ChannelNormalize normalize(n);
  for (int c = 0; c < kInputChannels; ++c) {
    EXPECT_NEAR(normalize(0.3f, c), (0.3 - n.mean[c]) / n.std[c], 1e-6);
  }
}

}  // namespace
}  // namespace densetree
