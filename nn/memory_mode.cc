#include "nn/memory_mode.h"

#include "kernels/core/error.h"

namespace densetree::nn {

bool keeps(MemoryMode mode, Role role) {
  switch (role) {
    case Role::kFeature:
      return true;
    case Role::kBottleneck:
      return mode != MemoryMode::kRecompute;
    case Role::kNormalized:
    case Role::kPooled:
      return mode == MemoryMode::kStore;
  }
  fail("unknown role {}", static_cast<int>(role));
}

}  // namespace densetree::nn
