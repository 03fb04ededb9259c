#include "data/augment.h"

#include <cmath>
#include <numbers>

#include "kernels/core/error.h"
#include "kernels/core/philox.h"
#include "kernels/functors/image.h"

namespace densetree::data {

void AugmentOptions::validate() const {
  check_settings(*this);
  check(contrast_low <= contrast_high, "contrast runs from {} to {}; contrast-low must not be above contrast-high",
        contrast_low, contrast_high);
}

ImageTransform augment_transform(const AugmentOptions& options, std::uint64_t seed, std::uint32_t epoch,
                                 std::uint32_t image, std::int64_t source, std::int64_t output) {
  ImageTransform t = resize_transform(source, output);
  if (!options.enabled) {
    return t;
  }
  // All numbers are drawn whatever the options are, so that changing one option leaves the others' draws alone.
  RandomStream random(seed, RandomUse::kAugment, epoch, image);
  const float mirror = random.uniform() < options.flip ? -1.0f : 1.0f;
  const float side = static_cast<float>(source);
  t.x0 = random.uniform(-options.shift, options.shift) * side;
  t.y0 = random.uniform(-options.shift, options.shift) * side;
  const float angle = random.uniform(-options.rotation, options.rotation) * std::numbers::pi_v<float> / 180.0f;
  t.contrast = random.uniform(options.contrast_low, options.contrast_high);
  const float scale = t.xx, cosine = std::cos(angle) * scale, sine = std::sin(angle) * scale;
  t.xx = mirror * cosine, t.xy = -sine;
  t.yx = mirror * sine, t.yy = cosine;
  return t;
}

}  // namespace densetree::data
