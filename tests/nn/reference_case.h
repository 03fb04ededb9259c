// A case of a reference trace: what is trained on what. Its initial weights and its batch come from a formula that
// tests/reference/make_cases.py uses, too, so that a case needs no files beside its results.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "nn/trace.h"
#include "tests/nn/temporary.h"

namespace densetree::test {

struct ReferenceCase {
  nn::Architecture arch;
  std::int64_t labels = 13, size = 64, batch = 4;
  int steps = 1;
  std::uint64_t seed = 1;
  double lr = 1e-3;
  LossKind loss = LossKind::kMse;

  // From "arguments" of a summary; "arch", or the script's "model".
  static ReferenceCase from(const nlohmann::json& arguments);
  // With poison on.
  nn::TraceOptions trace_options(nn::MemoryMode memory) const;
};

std::uint64_t splitmix64(std::uint64_t x);
// u(t, i) in [0, 1).
double formula(std::uint64_t seed, std::uint64_t t, std::uint64_t i);

// Every tensor of the case's network in the state's order, counters included: t is the place in it.
std::vector<ExpectedTensor> state_of(const ReferenceCase& c, Device& device);
// safetensors of the initial state, and of x and y. With a nudge other than 0 every weight moves by one rounding of
// fp32, up, down or not at all, drawn from it.
void write_weights(const ReferenceCase& c, Device& device, const std::filesystem::path& path, std::uint64_t nudge = 0);
void write_batch(const ReferenceCase& c, const std::filesystem::path& path);

// A case's initial state and batch in files under a temporary folder, to trace from in any memory mode.
class FormulaFiles {
 public:
  FormulaFiles(const ReferenceCase& c, Device& device, std::uint64_t nudge = 0);
  nn::Trace trace(nn::MemoryMode memory) const;

 private:
  ReferenceCase case_;
  Device& device_;
  TemporaryFolder folder_;
};

}  // namespace densetree::test
