// From stored grey images to network input, one output pixel at a time: bilinear sampling at an affine transform,
// black outside the image, contrast, clamp, normalisation per channel. Written once for the CPU and CUDA loops of
// op::ImagesToInput: the grey value is computed once and normalised for every channel.
//
// Coordinates: pixel i of n has its centre at i − (n−1)/2, so image centres coincide and, with
// resize_transform(), corners of source and output do too (torch's align_corners=False). A bilinear sample reads
// 2×2 source pixels: shrinking by less than 2 (256 → 224) aliases a little, by more it skips pixels. Data that is
// to be shrunk further is prepared at a smaller size, where `prepare` averages over areas.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/core/host_device.h"
#include "kernels/core/image_transform.h"

namespace densetree {

// Centre of output pixel `index` of `size`, measured from the image's centre.
DT_HD inline float centered(std::int64_t index, std::int64_t size) {
  return static_cast<float>(index) - 0.5f * static_cast<float>(size - 1);
}

// The whole source scaled to the whole output, contrast unchanged. Images are square: sizes are sides in pixels.
DT_HD inline ImageTransform resize_transform(std::int64_t source, std::int64_t output) {
  ImageTransform transform;
  transform.xx = transform.yy = static_cast<float>(source) / static_cast<float>(output);
  return transform;
}

// Bilinear value in [0, 255] of a size×size image at (x, y) in pixel indices; pixels outside the image are 0.
DT_HD inline float bilinear(const std::uint8_t* image, std::int64_t size, float x, float y) {
  const float last = static_cast<float>(size - 1);
  // From one pixel outside on, nothing of the image is reached: the clamp changes no value and keeps indices small.
  x = fminf(fmaxf(x, -1.0f), last + 1.0f), y = fminf(fmaxf(y, -1.0f), last + 1.0f);
  const float left = floorf(x), top = floorf(y);
  const float right_part = x - left, lower_part = y - top;
  // Weights of taps outside the image are 0, their addresses those of border pixels.
  const float wl = left >= 0 && left <= last ? 1.0f - right_part : 0.0f, wr = left < last ? right_part : 0.0f;
  const float wt = top >= 0 && top <= last ? 1.0f - lower_part : 0.0f, wb = top < last ? lower_part : 0.0f;
  const auto il = static_cast<std::int64_t>(fminf(fmaxf(left, 0.0f), last));
  const auto it = static_cast<std::int64_t>(fminf(fmaxf(top, 0.0f), last));
  const auto ir = static_cast<std::int64_t>(fminf(left + 1.0f, last));
  const auto ib = static_cast<std::int64_t>(fminf(top + 1.0f, last));
  const std::uint8_t *upper = image + it * size, *lower = image + ib * size;
  return wt * (wl * static_cast<float>(upper[il]) + wr * static_cast<float>(upper[ir])) +
         wb * (wl * static_cast<float>(lower[il]) + wr * static_cast<float>(lower[ir]));
}

// Grey value in [0, 1], contrast applied and clamped, of the output pixel at (x, y) from the output's centre.
DT_HD inline float sample(const std::uint8_t* image, std::int64_t size, const ImageTransform& t, float x, float y) {
  const float middle = 0.5f * static_cast<float>(size - 1);
  const float source_x = t.xx * x + t.xy * y + t.x0 + middle, source_y = t.yx * x + t.yy * y + t.y0 + middle;
  const float value = bilinear(image, size, source_x, source_y) * (1.0f / 255.0f);
  return fminf(fmaxf(t.contrast * (value - 0.5f) + 0.5f, 0.0f), 1.0f);
}

// (grey − mean)/std as one multiplication and addition per channel; made once per launch.
struct ChannelNormalize {
  float scale[kInputChannels], shift[kInputChannels];

  DT_HD explicit ChannelNormalize(const InputNormalization& n) {
    for (int c = 0; c < kInputChannels; ++c) {
      scale[c] = 1.0f / n.std[c];
      shift[c] = -n.mean[c] / n.std[c];
    }
  }
  DT_HD float operator()(float grey, int channel) const { return grey * scale[channel] + shift[channel]; }
};

}  // namespace densetree
