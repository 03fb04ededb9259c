// What the synthetic radiographs are painted with: a frame that places the patient on the film, soft strokes and
// discs, smooth noise. Coordinates (u, v) are the patient's: u to the image's right, v down, the film about [-1, 1]².
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/core/philox.h"

namespace densetree::data {

struct Point {
  float u = 0, v = 0;
};
struct Box {
  float u0, v0, u1, v1;
};
using Plane = std::vector<float>;  // size×size

inline float clamp01(float x) {
  return std::min(std::max(x, 0.0f), 1.0f);
}
// 0 below `from`, 1 above `to`, smooth between.
inline float step(float from, float to, float x) {
  const float t = clamp01((x - from) / (to - from));
  return t * t * (3.0f - 2.0f * t);
}
// 1 at 0, about 1/4 at 1, 0 from 2 on: a bell without an exponential.
inline float bell(float x) {
  const float t = std::max(1.0f - 0.25f * x * x, 0.0f);
  return t * t * t * t;
}
// The larger of two, rounded where they are closer than `blend`.
inline float soft_max(float x, float y, float blend) {
  const float near = std::max(blend - std::abs(x - y), 0.0f) / blend;
  return std::max(x, y) + 0.25f * blend * near * near;
}
inline float square(float x) {
  return x * x;
}

// Turns, scales and shifts the patient: (u, v) = turn·zoom·(pixel in [-1, 1]²) + shift.
class Frame {
 public:
  Frame(std::int64_t size, float zoom, float radians, Point shift)
      : size_(size), cosine_(zoom * std::cos(radians)), sine_(zoom * std::sin(radians)), shift_(shift) {}

  std::int64_t size() const { return size_; }
  float pixel() const { return 2.0f / static_cast<float>(size_); }  // its side, about, in (u, v)

  // Index of the pixel that shows p, clamped to the film.
  std::int64_t index(Point p) const {
    const Point at = film(p);
    return clamp(at.v) * size_ + clamp(at.u);
  }

  // f(index, u, v) for every pixel of the film that may lie in box.
  template <class F>
  void each(const Box& box, F f) const {
    Point low{1e9f, 1e9f}, high{-1e9f, -1e9f};
    for (const Point corner : {Point{box.u0, box.v0}, {box.u1, box.v0}, {box.u0, box.v1}, {box.u1, box.v1}}) {
      const Point at = film(corner);
      low = {std::min(low.u, at.u), std::min(low.v, at.v)}, high = {std::max(high.u, at.u), std::max(high.v, at.v)};
    }
    if (high.u < 0 || high.v < 0 || low.u >= static_cast<float>(size_) || low.v >= static_cast<float>(size_)) {
      return;
    }
    const std::int64_t x0 = clamp(low.u), x1 = clamp(high.u), y1 = clamp(high.v);
    for (std::int64_t y = clamp(low.v); y <= y1; ++y) {
      const float row = (static_cast<float>(y) + 0.5f) * pixel() - 1.0f;
      for (std::int64_t x = x0; x <= x1; ++x) {
        const float column = (static_cast<float>(x) + 0.5f) * pixel() - 1.0f;
        f(y * size_ + x, cosine_ * column - sine_ * row + shift_.u, sine_ * column + cosine_ * row + shift_.v);
      }
    }
  }
  template <class F>
  void each(F f) const {
    each({-9, -9, 9, 9}, f);
  }

 private:
  std::int64_t clamp(float at) const {
    return static_cast<std::int64_t>(std::min(std::max(at, 0.0f), static_cast<float>(size_ - 1)));
  }
  Point film(Point p) const;  // in pixels from the upper left corner

  std::int64_t size_;
  float cosine_, sine_;
  Point shift_;
};

enum class Blend : std::uint8_t { kAdd, kLargest };

// A line from a to b, its half-width running from wa to wb, its edges soft; `amount` in its middle.
void paint_stroke(const Frame& frame, Plane& plane, Point a, Point b, float wa, float wb, float amount,
                  Blend blend = Blend::kAdd);

// Smooth noise of mean 0, roughly in [-1, 1], with features of about `scale` in (u, v).
class Noise {
 public:
  explicit Noise(RandomStream& random);
  float at(float u, float v, float scale) const;
  float cloud(float u, float v, float scale) const {  // three octaves
    return 0.6f * at(u, v, scale) + 0.3f * at(v + 3, u, scale * 0.5f) + 0.2f * at(u, v + 7, scale * 0.25f);
  }

 private:
  static constexpr int kSide = 64;
  std::vector<float> lattice_;
};

}  // namespace densetree::data
