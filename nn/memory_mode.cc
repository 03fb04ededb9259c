#include "nn/memory_mode.h"

#include "kernels/core/error.h"

namespace densetree::nn {

MemoryMode parse_memory_mode(const std::string& name) {
  for (const MemoryMode mode : {MemoryMode::kStore, MemoryMode::kShared, MemoryMode::kRecompute}) {
    if (name == name_of(mode)) {
      return mode;
    }
  }
  fail("memory mode '{}' is unknown; use store, shared or recompute", name);
}

const char* name_of(MemoryMode mode) {
  switch (mode) {
    case MemoryMode::kStore:
      return "store";
    case MemoryMode::kShared:
      return "shared";
    case MemoryMode::kRecompute:
      return "recompute";
  }
  fail("unknown memory mode {}", static_cast<int>(mode));
}

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
