// Channels side by side in a vector register. The loops of the CPU device are written over these types rather than left
// to the compiler's vectoriser, which takes or leaves a loop for reasons that nobody reads in it: ten times in speed.
//
// A group of 16 or 8 channels is walked in octets; single channels use plain numbers, and the same code.
#pragma once

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include <cstdint>
#include <type_traits>

#include "kernels/core/bfloat16.h"

namespace densetree::cpu {

// GCC's and Clang's vectors: + - * > ?: work lane by lane. In memory they need no more alignment than one number.
typedef float Float8 __attribute__((vector_size(32)));
typedef double Double8 __attribute__((vector_size(64)));
typedef std::int32_t Int8 __attribute__((vector_size(32)));
typedef std::uint8_t Byte8 __attribute__((vector_size(8)));
typedef float Float8InMemory __attribute__((vector_size(32), aligned(4), may_alias));
typedef std::uint8_t Byte8InMemory __attribute__((vector_size(8), aligned(1), may_alias));
typedef std::uint32_t Bits8 __attribute__((vector_size(32)));
typedef std::uint16_t Short8 __attribute__((vector_size(16)));
typedef std::uint16_t Short8InMemory __attribute__((vector_size(16), aligned(2), may_alias));

inline constexpr int kOctet = 8;

// bf16 to fp32, and back to the nearest. By name where there are names: GCC 12 takes vectors apart to convert them. The
// instruction that rounds takes numbers below 2^-126 for zero; nothing else tells the two ways apart.
inline Float8 widened(Short8 bits) {
#ifdef __AVX2__
  return reinterpret_cast<Float8>(_mm256_slli_epi32(_mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(bits)), 16));
#else
  return reinterpret_cast<Float8>(__builtin_convertvector(bits, Bits8) << 16);
#endif
}
inline Short8 rounded(Float8 value) {
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
  return reinterpret_cast<Short8>(_mm256_cvtneps_pbh(reinterpret_cast<__m256>(value)));
#else
  const auto bits = reinterpret_cast<Bits8>(value);
  const Bits8 nearest = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  const Bits8 result = value != value ? bits >> 16 | 0x40 : nearest;
#ifdef __AVX512VL__
  return reinterpret_cast<Short8>(_mm256_cvtepi32_epi16(reinterpret_cast<__m256i>(result)));
#else
  return __builtin_convertvector(result, Short8);
#endif
#endif
}

// What a group of kLanes channels is made of: kParts registers of kWidth lanes.
template <int kLanes>
struct Group {
  static_assert(kLanes == 1 || kLanes % kOctet == 0);
  static constexpr int kWidth = kLanes == 1 ? 1 : kOctet;
  static constexpr int kParts = kLanes / kWidth;
  using Float = std::conditional_t<kLanes == 1, float, Float8>;
  using Double = std::conditional_t<kLanes == 1, double, Double8>;
  using Int = std::conditional_t<kLanes == 1, std::int32_t, Int8>;

  static Float load(const float* from) {
    if constexpr (kLanes == 1) {
      return *from;
    } else {
      return *reinterpret_cast<const Float8InMemory*>(from);
    }
  }
  static void store(Float value, float* to) {
    if constexpr (kLanes == 1) {
      *to = value;
    } else {
      *reinterpret_cast<Float8InMemory*>(to) = value;
    }
  }
  static Float load(const BFloat16* from) {
    if constexpr (kLanes == 1) {
      return to_float(*from);
    } else {
      return widened(*reinterpret_cast<const Short8InMemory*>(from));
    }
  }
  static void store(Float value, BFloat16* to) {
    if constexpr (kLanes == 1) {
      *to = rounded_to<BFloat16>(value);
    } else {
      *reinterpret_cast<Short8InMemory*>(to) = rounded(value);
    }
  }
  static Int load_bytes(const std::uint8_t* from) {
    if constexpr (kLanes == 1) {
      return *from;
    } else {
      return __builtin_convertvector(*reinterpret_cast<const Byte8InMemory*>(from), Int8);
    }
  }
  static void store_bytes(Int value, std::uint8_t* to) {
    if constexpr (kLanes == 1) {
      *to = static_cast<std::uint8_t>(value);
    } else {
      *reinterpret_cast<Byte8InMemory*>(to) = __builtin_convertvector(value, Byte8);
    }
  }
  static Double widen(Float value) {
    if constexpr (kLanes == 1) {
      return value;
    } else {
#ifdef __AVX512F__
      // By name: GCC 12 converts halves and joins them, six instructions for one. The mask takes every lane.
      return _mm512_maskz_cvtps_pd(0xFF, value);
#else
      return __builtin_convertvector(value, Double8);
#endif
    }
  }
  // Lane i of a register is number(i).
  template <class Number>
  static Float gather(const Number& number) {
    if constexpr (kLanes == 1) {
      return number(0);
    } else {
      return Float8{number(0), number(1), number(2), number(3), number(4), number(5), number(6), number(7)};
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
