// What is done to one line of pixels for a group of channels (kernels/cpu/lines.h): the inner loops of batch norm.
#pragma once

#include <array>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/lines.h"
#include "kernels/functors/normalization.h"
#include "kernels/operations.h"

namespace densetree::cpu {

// Batch norm's numbers for a group of channels, in registers.
template <int kLanes>
using AffineGroup = std::array<AffineOf<typename Group<kLanes>::Float>, Group<kLanes>::kParts>;

// From the arrays of the channels from `channel` on.
template <int kLanes>
AffineGroup<kLanes> affine_group(const op::Affine& affine, std::int64_t channel) {
  using G = Group<kLanes>;
  AffineGroup<kLanes> group;
  for (auto& part : group) {
    ChannelAffine f[G::kWidth];
    for (int l = 0; l < G::kWidth; ++l, ++channel) {
      f[l] = {affine.mean[channel], affine.rstd[channel], affine.gamma[channel], affine.beta[channel]};
    }
    part = {G::gather([&](int l) { return f[l].mean; }), G::gather([&](int l) { return f[l].scale; }),
            G::gather([&](int l) { return f[l].shift; }), G::gather([&](int l) { return f[l].gamma; })};
  }
  return group;
}

// Adds Σx and Σx² of a line to sum and square; copies it to y where kCopy.
template <bool kCopy, class T, int kLanes>
void sum_line(Line<T, kLanes> x, Line<T, kLanes> y, std::int64_t pixels, double* sum, double* square) {
  using G = Group<kLanes>;
  typename G::Double a[G::kParts] = {}, b[G::kParts] = {};
  for (std::int64_t p = 0; p < pixels; ++p) {
    for (int part = 0; part < G::kParts; ++part) {
      const auto value = G::load(x.at(p) + part * G::kWidth);
      const auto wide = G::widen(value);
      a[part] += wide;
      b[part] += wide * wide;
      if constexpr (kCopy) {
        G::store(value, y.at(p) + part * G::kWidth);
      }
    }
  }
  for (int part = 0; part < G::kParts; ++part) {
    G::add_to(sum + part * G::kWidth, a[part]);
    G::add_to(square + part * G::kWidth, b[part]);
  }
}

// y = max(0, γ·x̂ + β).
template <class T, int kLanes>
void affine_line(Line<T, kLanes> x, Line<T, kLanes> y, std::int64_t pixels, const AffineGroup<kLanes>& f) {
  using G = Group<kLanes>;
  for (std::int64_t p = 0; p < pixels; ++p) {
    for (int part = 0; part < G::kParts; ++part) {
      G::store(f[part].forward(G::load(x.at(p) + part * G::kWidth)), y.at(p) + part * G::kWidth);
    }
  }
}

// dz = dy where the clamp let through; S (+)= γ·dz; adds Σ dz·(x − mean) and Σ dz to the two sums.
template <class T, class Gradient, int kLanes>
void affine_gradient_line(Line<T, kLanes> x, Line<Gradient, kLanes> dy, Line<T, kLanes> s, std::int64_t pixels,
                          const AffineGroup<kLanes>& f, bool accumulate, double* sum_dz_centered, double* sum_dz) {
  using G = Group<kLanes>;
  typename G::Double a[G::kParts] = {}, b[G::kParts] = {};
  for (std::int64_t p = 0; p < pixels; ++p) {
    for (int part = 0; part < G::kParts; ++part) {
      const int lane = part * G::kWidth;
      const auto value = G::load(x.at(p) + lane), dz = f[part].backward(value, G::load(dy.at(p) + lane));
      a[part] += G::widen(dz) * G::widen(f[part].centered(value));
      b[part] += G::widen(dz);
      const auto before = accumulate ? G::load(s.at(p) + lane) : typename G::Float{};
      G::store(before + f[part].gamma * dz, s.at(p) + lane);
    }
  }
  for (int part = 0; part < G::kParts; ++part) {
    G::add_to(sum_dz_centered + part * G::kWidth, a[part]);
    G::add_to(sum_dz + part * G::kWidth, b[part]);
  }
}

}  // namespace densetree::cpu
