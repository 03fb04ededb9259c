// bfloat16 on the host: the upper half of an fp32 number.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace densetree {

// To the nearest, ties to even; a NaN stays one.
inline std::uint16_t bfloat16_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) {
    return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  }
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

inline float float_of_bfloat16(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

// One such number in memory.
struct BFloat16 {
  std::uint16_t bits;
};
inline float to_float(float value) {
  return value;
}
inline float to_float(BFloat16 value) {
  return float_of_bfloat16(value.bits);
}
// `value` as a T, rounded where T is bf16.
template <class T>
T rounded_to(float value) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return {bfloat16_bits(value)};
  } else {
    return value;
  }
}

}  // namespace densetree
