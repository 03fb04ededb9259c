#include "kernels/core/philox.h"

#include <cmath>
#include <numbers>

namespace densetree {

std::uint32_t RandomStream::bits() {
  if (left_ == 0) {
    drawn_ = philox(seed_, block_++, a_, b_, use_);
    left_ = 4;
  }
  return drawn_.v[4 - left_--];
}

double RandomStream::normal() {
  const double u = (bits() + 1.0) * 0x1p-32;  // (0, 1]: its logarithm is finite
  const double v = bits() * 0x1p-32;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

std::uint32_t RandomStream::below(std::uint32_t bound) {
  std::uint64_t product = std::uint64_t{bits()} * bound;
  if (static_cast<std::uint32_t>(product) < bound) {
    const std::uint32_t reject = -bound % bound;
    while (static_cast<std::uint32_t>(product) < reject) {
      product = std::uint64_t{bits()} * bound;
    }
  }
  return static_cast<std::uint32_t>(product >> 32);
}

}  // namespace densetree
