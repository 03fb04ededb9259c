// The losses that a network is trained with.
#pragma once

#include <cstdint>

#include "kernels/core/names.h"

namespace densetree {

enum class LossKind : std::uint8_t {
  kMse,  // mean of (sigmoid(z) − y)²
  kBce,  // binary cross-entropy with logits
};
constexpr Names<LossKind, 2> names(LossKind) {
  return {"loss", {{LossKind::kMse, "mse"}, {LossKind::kBce, "bce"}}};
}

}  // namespace densetree
