// Random flips, shifts, rotations and contrast changes of training images, as the transform that
// op::ImagesToInput samples at: augmented pixels are never stored. What an image gets depends only on seed,
// epoch and the image's row in the data set, so it is the same whatever thread or order loads it.
#pragma once

#include <cstdint>

#include "kernels/core/image_transform.h"

namespace densetree::data {

struct AugmentOptions {
  bool enabled = true;        // false: plain resize
  float flip = 0.5f;          // probability of a mirrored image
  float shift = 0.05f;        // up to this part of the side, each way, in x and y
  float rotation = 7.0f;      // up to this many degrees, each way
  float contrast_low = 0.8f;  // factor around mid-grey
  float contrast_high = 1.2f;

  // Throws Error naming the option that is out of range.
  void validate() const;
};

// From a source×source image to an output×output one. Options are taken to be valid.
ImageTransform augment_transform(const AugmentOptions& options, std::uint64_t seed, std::uint32_t epoch,
                                 std::uint32_t image, std::int64_t source, std::int64_t output);

}  // namespace densetree::data
