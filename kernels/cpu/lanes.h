// Channels side by side in registers. The loops of the CPU device are written over these types rather than left to the
// compiler's vectoriser, which takes or leaves a loop for reasons that nobody reads in it: ten times in speed.
//
// A group of 16 or 8 channels is walked in octets; single channels use plain numbers, and the same code.
#pragma once

#include "kernels/cpu/simd.h"

namespace densetree::cpu {

inline constexpr int kOctet = 8;

// What a group of kLanes channels is made of: kParts registers of kWidth lanes.
template <int kLanes>
struct Group : Simd<kLanes == 1 ? 1 : kOctet> {
  static_assert(kLanes == 1 || kLanes % kOctet == 0);
  static constexpr int kWidth = kLanes == 1 ? 1 : kOctet;
  static constexpr int kParts = kLanes / kWidth;
  using typename Simd<kWidth>::Float;
  using typename Simd<kWidth>::Double;

  // Lane i of a register is number(i).
  template <class Number>
  static Float gather(const Number& number) {
    if constexpr (kLanes == 1) {
      return number(0);
    } else {
      return Float{number(0), number(1), number(2), number(3), number(4), number(5), number(6), number(7)};
    }
  }
  static void add_to(double* sums, Double value) {
    if constexpr (kLanes == 1) {
      *sums += value;
    } else {
      for (int i = 0; i < kWidth; ++i) {
        sums[i] += value[i];
      }
    }
  }
};

}  // namespace densetree::cpu
