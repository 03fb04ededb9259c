// What matrices and tensors of a vendor library hold, widened to fp64, in which the stand-ins compute.
#pragma once

#include <cuda_bf16.h>

#include <bit>
#include <cstddef>
#include <cstdint>

namespace densetree::emulation {

// fp32 with the 10 bits of mantissa that TF32 keeps, to nearest.
inline float rounded_to_tf32(float value) {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(value) + 0x1000) & 0xFFFFE000);
}

// An array of fp32 or bf16.
struct Numbers {
  void* data;
  bool is_bf16;

  double at(std::int64_t i) const {
    return is_bf16 ? __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]) : static_cast<const float*>(data)[i];
  }
  void set(std::int64_t i, double value) const {
    if (is_bf16) {
      static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(static_cast<float>(value));
    } else {
      static_cast<float*>(data)[i] = static_cast<float>(value);
    }
  }
  // As an operand of a product.
  double operand(std::int64_t i, bool tf32) const { return tf32 ? rounded_to_tf32(static_cast<float>(at(i))) : at(i); }
};

}  // namespace densetree::emulation
