// What is kept between forward and backward. The losses are the same in every mode.
#pragma once

#include <cstdint>

#include "kernels/core/names.h"

namespace densetree::nn {

enum class MemoryMode : std::uint8_t {
  kStore,      // everything that backward reads
  kShared,     // features and bottleneck outputs; batch-norm outputs are made again
  kRecompute,  // features only; the bottleneck convolution runs again too
};
constexpr Names<MemoryMode, 3> names(MemoryMode) {
  return {"memory mode",
          {{MemoryMode::kStore, "store"}, {MemoryMode::kShared, "shared"}, {MemoryMode::kRecompute, "recompute"}}};
}

// What a tensor of the network is, as far as keeping it goes.
enum class Role : std::uint8_t {
  kFeature,     // what concatenations and convolutions between blocks hold
  kBottleneck,  // the output of a dense layer's first convolution
  kNormalized,  // the output of batch norm and ReLU
  kPooled,      // what average pooling makes of it
};
// The one table of what each mode drops.
bool keeps(MemoryMode mode, Role role);

}  // namespace densetree::nn
