// The instruction sets that the CPU device's kernels are compiled for, in one binary, and which of them this processor
// has.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/cpu/operations.h"
#include "kernels/device.h"

namespace densetree::cpu {

// What the sources of kernels/cpu offer that are compiled for an instruction set (kernels/cpu/prepare.cc). Nothing else
// of them can be seen from outside: an inline function that was compiled for one processor must not be linked for all.
struct Compiled {
  std::int64_t lanes;  // channels in a block of the layouts that it is fast on
  bool bfloat16;       // whether it computes in bf16
  std::unique_ptr<Kernel> (*make_kernel)(Team& team, const Operation& operation, std::vector<Refusal>* refusals);
};

struct InstructionSet {
  const char* name;         // "avx2", as in the device "cpu:avx2"
  const char* description;  // "AVX2"
  bool supported;           // by this processor and its system
  const Compiled* compiled;
};

// Those of this build, the plainest first.
std::span<const InstructionSet> instruction_sets();

// The last one that this processor has. Throws Error where it has none.
const InstructionSet& best_instruction_set();

// By its name. Throws Error where this build or this processor has no such set, naming those that both have.
const InstructionSet& instruction_set(std::string_view name);

}  // namespace densetree::cpu
