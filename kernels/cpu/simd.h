// Registers of 8 or 16 numbers, and single numbers under the same names: what they are in memory, and how fp32, bf16
// and fp64 become each other. GCC's and Clang's vectors: + - * > ?: work lane by lane.
//
// Where a loop waits for a conversion it is an intrinsic: GCC 12 takes vectors apart to convert them.
#pragma once

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include <cstdint>
#include <type_traits>

#include "kernels/core/bfloat16.h"

namespace densetree::cpu {

// Channels in a block of the layouts that are fast with what this is compiled for.
#ifdef __AVX512F__
inline constexpr int kBlock = 16;
#else
inline constexpr int kBlock = 8;
#endif

template <class T, int kLanes>
struct VectorOf {
  using Type [[gnu::vector_size(sizeof(T) * kLanes)]] = T;
  // In memory it needs no more alignment than one number.
  using InMemory [[gnu::vector_size(sizeof(T) * kLanes), gnu::aligned(alignof(T)), gnu::may_alias]] = T;
};

template <int kLanes>
struct Simd {
  static_assert(kLanes == 8 || kLanes == 16);
  using Float = typename VectorOf<float, kLanes>::Type;
  using Double = typename VectorOf<double, kLanes>::Type;
  using Int = typename VectorOf<std::int32_t, kLanes>::Type;
  using Bits = typename VectorOf<std::uint32_t, kLanes>::Type;
  using Half = typename VectorOf<std::uint16_t, kLanes>::Type;  // the bits of bf16
  using Byte = typename VectorOf<std::uint8_t, kLanes>::Type;
  using FloatInMemory = typename VectorOf<float, kLanes>::InMemory;
  using BitsInMemory = typename VectorOf<std::uint32_t, kLanes>::InMemory;
  using HalfInMemory = typename VectorOf<std::uint16_t, kLanes>::InMemory;
  using ByteInMemory = typename VectorOf<std::uint8_t, kLanes>::InMemory;

  static Float load(const float* from) { return *reinterpret_cast<const FloatInMemory*>(from); }
  static void store(Float value, float* to) { *reinterpret_cast<FloatInMemory*>(to) = value; }
  static Float load(const BFloat16* from) { return reinterpret_cast<Float>(load_bits(from) << 16); }
  static void store(Float value, BFloat16* to) { *reinterpret_cast<HalfInMemory*>(to) = rounded(value); }
  static Bits load_pairs(const BFloat16* from) { return *reinterpret_cast<const BitsInMemory*>(from); }
  static void store_pairs(Bits value, BFloat16* to) { *reinterpret_cast<BitsInMemory*>(to) = value; }
  static Int load_bytes(const std::uint8_t* from) {
    return __builtin_convertvector(*reinterpret_cast<const ByteInMemory*>(from), Int);
  }
  static void store_bytes(Int value, std::uint8_t* to) {
    *reinterpret_cast<ByteInMemory*>(to) = __builtin_convertvector(value, Byte);
  }

  // The bits of bf16, each in the lower half of a lane.
  static Bits load_bits(const BFloat16* from) {
    const Half bits = *reinterpret_cast<const HalfInMemory*>(from);
#ifdef __AVX512F__
    if constexpr (kLanes == 16) {
      return reinterpret_cast<Bits>(_mm512_maskz_cvtepu16_epi32(0xFFFF, reinterpret_cast<__m256i>(bits)));
    }
#endif
#ifdef __AVX2__
    if constexpr (kLanes == 8) {
      return reinterpret_cast<Bits>(_mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(bits)));
    }
#endif
    return __builtin_convertvector(bits, Bits);
  }

  // The bits of the nearest bf16 in the upper half of each lane, and zeros below.
  static Bits nearest_bits(Float value) {
    const auto bits = reinterpret_cast<Bits>(value);
    const Bits nearest = bits + 0x7FFF + (bits >> 16 & 1);
    return (value != value ? bits | 0x400000 : nearest) & 0xFFFF0000;
  }

  // The nearest bf16. The instruction takes numbers below 2^-126 for zero; nothing else tells the two ways apart.
  static Half rounded(Float value) {
#ifdef __AVX512BF16__
    if constexpr (kLanes == 16) {
      return reinterpret_cast<Half>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(value)));
    } else {
      return reinterpret_cast<Half>(_mm256_cvtneps_pbh(reinterpret_cast<__m256>(value)));
    }
#endif
    const Bits bits = nearest_bits(value) >> 16;
#ifdef __AVX512VL__
    if constexpr (kLanes == 16) {
      return reinterpret_cast<Half>(_mm512_maskz_cvtepi32_epi16(0xFFFF, reinterpret_cast<__m512i>(bits)));
    } else {
      return reinterpret_cast<Half>(_mm256_cvtepi32_epi16(reinterpret_cast<__m256i>(bits)));
    }
#endif
    return __builtin_convertvector(bits, Half);
  }

  static Double widen(Float value) {
#ifdef __AVX512F__
    if constexpr (kLanes == 8) {
      return _mm512_maskz_cvtps_pd(0xFF, value);  // the mask takes every lane
    }
#endif
    return __builtin_convertvector(value, Double);
  }
  static Float narrow(Double value) {
    return __builtin_convertvector(value, Float);
  }
};

template <>
struct Simd<1> {
  using Float = float;
  using Double = double;
  using Int = std::int32_t;

  static Float load(const float* from) { return *from; }
  static void store(Float value, float* to) { *to = value; }
  static Float load(const BFloat16* from) { return to_float(*from); }
  static void store(Float value, BFloat16* to) { *to = rounded_to<BFloat16>(value); }
  static Int load_bytes(const std::uint8_t* from) { return *from; }
  static void store_bytes(Int value, std::uint8_t* to) { *to = static_cast<std::uint8_t>(value); }
  static Double widen(Float value) { return value; }
};

}  // namespace densetree::cpu
