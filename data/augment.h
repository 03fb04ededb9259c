// Random flips, shifts, rotations and contrast changes of training images, as the transform that
// op::ImagesToInput samples at: augmented pixels are never stored. What an image gets depends only on seed,
// epoch and the image's row in the data set, so it is the same whatever thread or order loads it.
#pragma once

#include <cstdint>

#include "engine/io/settings.h"
#include "kernels/core/image_transform.h"

namespace densetree::data {

struct AugmentOptions {
  bool enabled = true;  // false: plain resize
  float flip = 0.5f, shift = 0.05f, rotation = 7.0f, contrast_low = 0.8f, contrast_high = 1.2f;

  static void settings(auto& o, auto&& f) {
    f(o.enabled, Setting{"augment", "random flips, shifts, rotations, contrast"});
    f(o.flip, Setting{"flip", "probability of a mirrored image", between(0, 1)});
    f(o.shift, Setting{"shift", "largest shift each way, in x and y, as a part of the side", from_below(0, 1)});
    f(o.rotation, Setting{"rotation", "largest rotation each way, in degrees", between(0, 180)});
    f(o.contrast_low, Setting{"contrast-low", "lowest contrast, a factor around mid-grey", above(0, 100)});
    f(o.contrast_high, Setting{"contrast-high", "highest contrast, not below the lowest", above(0, 100)});
  }
  // Throws Error naming the setting that is out of range.
  void validate() const;
};

// From a source×source image to an output×output one. Options are taken to be valid.
ImageTransform augment_transform(const AugmentOptions& options, std::uint64_t seed, std::uint32_t epoch,
                                 std::uint32_t image, std::int64_t source, std::int64_t output);

}  // namespace densetree::data
