// How stored grey images become input: where each pixel is sampled, and how values are scaled.
#pragma once

namespace densetree {

// Where source pixels of an augmented image come from: for output pixel (x, y), measured from the output's
// centre in output pixels, source = (xx·x + xy·y + x0, yx·x + yy·y + y0), measured from the source's centre in
// source pixels. value' = contrast·(value − 0.5) + 0.5 on [0, 1], clamped, before normalisation.
// Outside the source counts as 0 (black).
struct ImageTransform {
  float xx = 1, xy = 0, x0 = 0;
  float yx = 0, yy = 1, y0 = 0;
  float contrast = 1;
  bool operator==(const ImageTransform&) const = default;
};
inline constexpr int kInputChannels = 3;
struct InputNormalization {  // ImageNet's, as torchvision documents it
  float mean[kInputChannels] = {0.485f, 0.456f, 0.406f};
  float std[kInputChannels] = {0.229f, 0.224f, 0.225f};
};

}  // namespace densetree
