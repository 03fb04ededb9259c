#include "data/synth/canvas.h"

namespace densetree::data {

Point Frame::film(Point p) const {
  const float norm = cosine_ * cosine_ + sine_ * sine_, u = p.u - shift_.u, v = p.v - shift_.v;
  const float half = 0.5f * static_cast<float>(size_);
  return {((cosine_ * u + sine_ * v) / norm + 1.0f) * half, ((cosine_ * v - sine_ * u) / norm + 1.0f) * half};
}

void paint_stroke(const Frame& frame, Plane& plane, Point a, Point b, float wa, float wb, float amount, Blend blend) {
  const float reach = 2.0f * std::max(wa, wb) + 2.0f * frame.pixel();
  const float du = b.u - a.u, dv = b.v - a.v, over_length = 1.0f / std::max(du * du + dv * dv, 1e-12f);
  // Thinner than a pixel: drawn a pixel wide and fainter, so that small images show what large ones do.
  const float thinnest = 0.6f * frame.pixel();
  const Box box{std::min(a.u, b.u) - reach, std::min(a.v, b.v) - reach, std::max(a.u, b.u) + reach,
                std::max(a.v, b.v) + reach};
  frame.each(box, [&](std::int64_t i, float u, float v) {
    const float t = clamp01(((u - a.u) * du + (v - a.v) * dv) * over_length);
    const float distance = std::sqrt(square(u - a.u - t * du) + square(v - a.v - t * dv));
    const float width = wa + t * (wb - wa), drawn = std::max(width, thinnest);
    const float value = amount * width / drawn * bell(distance / drawn);
    float& pixel = plane[static_cast<std::size_t>(i)];
    pixel = blend == Blend::kAdd ? pixel + value : std::max(pixel, value);
  });
}

Noise::Noise(RandomStream& random) : lattice_(kSide * kSide) {
  for (float& value : lattice_) {
    value = random.uniform(-1.6f, 1.6f);
  }
}

float Noise::at(float u, float v, float scale) const {
  const float x = (u + 16.0f) / scale, y = (v + 16.0f) / scale;  // positive for all that is on a film
  const int xi = static_cast<int>(x), yi = static_cast<int>(y);
  float tx = x - static_cast<float>(xi), ty = y - static_cast<float>(yi);
  tx = tx * tx * (3.0f - 2.0f * tx), ty = ty * ty * (3.0f - 2.0f * ty);
  const int x0 = xi & (kSide - 1), x1 = (xi + 1) & (kSide - 1);
  const int y0 = (yi & (kSide - 1)) * kSide, y1 = ((yi + 1) & (kSide - 1)) * kSide;
  const float* p = lattice_.data();
  const float upper = p[y0 + x0] + tx * (p[y0 + x1] - p[y0 + x0]);
  const float lower = p[y1 + x0] + tx * (p[y1 + x1] - p[y1 + x0]);
  return upper + ty * (lower - upper);
}

}  // namespace densetree::data
