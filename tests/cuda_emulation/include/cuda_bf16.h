// Stands in for CUDA's bf16: the upper half of an fp32, rounded to nearest, ties to even.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

struct __nv_bfloat16 {
  std::uint16_t bits;

  __nv_bfloat16() = default;
  __nv_bfloat16(float value);
  operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};

inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  auto word = std::bit_cast<std::uint32_t>(value);
  word += 0x7FFF + (word >> 16 & 1);  // carries into the upper half above a half, and from it where that is odd
  __nv_bfloat16 rounded;
  rounded.bits = std::isnan(value) ? 0x7FFF : static_cast<std::uint16_t>(word >> 16);
  return rounded;
}
inline __nv_bfloat16 __float2bfloat16(float value) {
  return __float2bfloat16_rn(value);
}
inline float __bfloat162float(__nv_bfloat16 value) {
  return value;
}
inline __nv_bfloat16::__nv_bfloat16(float value) : __nv_bfloat16(__float2bfloat16_rn(value)) {}
