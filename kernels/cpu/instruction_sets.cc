#include "kernels/cpu/instruction_sets.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <string>

#include "kernels/core/error.h"

// Those of this build, for which kernels/cpu/CMakeLists.txt defines DENSETREE_X86_64 and so on. The flags that they are
// compiled with are in cmake/InstructionSets.cmake.
// NOLINTBEGIN(readability-identifier-naming): C symbols
extern "C" {
[[gnu::visibility("hidden")]] extern const densetree::cpu::Compiled densetree_cpu_x86_64, densetree_cpu_avx2,
    densetree_cpu_avx512, densetree_cpu_avx512_bf16;
}
// NOLINTEND(readability-identifier-naming)

namespace densetree::cpu {
namespace {

[[maybe_unused]] bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2");
}
[[maybe_unused]] bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
[[maybe_unused]] bool has_avx512_bf16() {
  return has_avx512() && __builtin_cpu_supports("avx512bf16");
}

std::string usable() {
  std::vector<std::string> names;
  for (const InstructionSet& set : instruction_sets()) {
    if (set.supported) {
      names.push_back(fmt::format("cpu:{}", set.name));
    }
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

std::span<const InstructionSet> instruction_sets() {
  static const InstructionSet sets[] = {
#ifdef DENSETREE_X86_64
      {"x86-64", "SSE2", true, &densetree_cpu_x86_64},
#endif
#ifdef DENSETREE_AVX2
      {"avx2", "AVX2", has_avx2(), &densetree_cpu_avx2},
#endif
#ifdef DENSETREE_AVX512
      {"avx512", "AVX-512", has_avx512(), &densetree_cpu_avx512},
#endif
#ifdef DENSETREE_AVX512_BF16
      {"avx512_bf16", "AVX-512 with bf16", has_avx512_bf16(), &densetree_cpu_avx512_bf16},
#endif
  };
  return sets;
}

const InstructionSet& best_instruction_set() {
  const std::span<const InstructionSet> sets = instruction_sets();
  const auto best = std::find_if(sets.rbegin(), sets.rend(), [](const InstructionSet& set) { return set.supported; });
  check(
      best != sets.rend(),
      "this build is for processors with {} at least, and this one lacks it; DENSETREE_INSTRUCTION_SETS=x86-64 builds "
      "for every x86-64 processor",
      sets.front().description);
  return *best;
}

const InstructionSet& instruction_set(std::string_view name) {
  for (const InstructionSet& set : instruction_sets()) {
    if (set.name == name) {
      check(set.supported, "device cpu:{} needs a processor with {}, which this one lacks; it has {}", name,
            set.description, usable());
      return set;
    }
  }
  fail("device cpu:{} is unknown; this build and processor have {}", name, usable());
}

}  // namespace densetree::cpu
