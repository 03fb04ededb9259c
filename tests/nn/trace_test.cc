// Training traces against float64 references, in every memory mode, which must agree to the bit, with memory poisoned
// as soon as its lifetime ends.
#include <nlohmann/json.hpp>

#include "tests/nn/devices.h"
#include "tests/nn/reference_case.h"
#include "tests/nn/temporary.h"
#include "tests/nn/trace_error.h"
#include "tests/shared_data.h"

namespace densetree::test {
namespace {

using nn::MemoryMode;
using nn::Trace;

constexpr MemoryMode kModes[] = {MemoryMode::kStore, MemoryMode::kShared, MemoryMode::kRecompute};

std::filesystem::path cases_folder() {
  return std::filesystem::path(DENSETREE_SOURCE_DIR) / "tests/reference";
}

std::filesystem::path shared_case(const std::string& name) {
  return shared_folder() / "reference" / name;
}

nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(read_file(path));
}

void expect_same_bits(const Trace& a, const Trace& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    EXPECT_EQ(tensor.values, b.at(name).values) << what << " changed " << name;
  }
}

// ---- Limits: PyTorch's own error in fp32 ----------------------------------------------------------

using Measure = std::function<TraceError(const Trace&)>;

// How far the answers get from float64's where every weight moves by one rounding: the farthest of some runs on the
// CPU. A gradient that is rounding alone falls to either side of zero, and Adam makes a whole step of it. Nothing is
// granted to a measure that less than a quarter of these runs have within its limit, and never more than four limits:
// that is an error, and no matter of roundings.
std::map<std::string, double> conditioning_of(const ReferenceCase& c, const nlohmann::json& pytorch,
                                              const Measure& measure) {
  constexpr std::uint64_t kRuns = 32;
  const std::unique_ptr<Device> cpu = make_device("cpu", kThreads);
  std::map<std::string, double> farthest;
  std::map<std::string, std::uint64_t> within;
  for (std::uint64_t nudge = 1; nudge <= kRuns; ++nudge) {
    const TraceError error = measure(FormulaFiles(c, *cpu, nudge).trace(MemoryMode::kShared));
    for (const auto& [name, value] : error.measures) {
      const double limit = limit_of(name, pytorch, error.samples);
      farthest[name] = std::min(std::max(farthest[name], value), 4 / kConditioning * limit);
      within[name] += value <= limit ? 1 : 0;
    }
  }
  std::erase_if(farthest, [&](const auto& measured) { return within[measured.first] < kRuns / 4; });
  return farthest;
}

// Each device and instruction set adds up in an order of its own, so it is granted what the case's conditioning says,
// where the limits alone do not do.
void hold(const ReferenceCase& c, MemoryMode mode, const Trace& got, const nlohmann::json& pytorch,
          const Measure& measure) {
  const TraceError error = measure(got);
  if (!beyond(error, pytorch).empty()) {
    for (const std::string& one : beyond(error, pytorch, conditioning_of(c, pytorch, measure))) {
      ADD_FAILURE() << name_of(mode) << ": " << one;
    }
  }
}

// ---- The formula ---------------------------------------------------------------------------------

class FormulaTest : public DeviceTest {};

TEST_P(FormulaTest, MakesTheStoredWeightsAndBatchBitForBit) {
  DENSETREE_NEEDS_SHARED("reference/tiny-mse/weights.safetensors");
  const ReferenceCase c = ReferenceCase::from(read_json(shared_case("tiny-mse") / "summary.json").at("arguments"));
  const TemporaryFolder folder;
  write_weights(c, device(), folder / "weights.safetensors");
  write_batch(c, folder / "batch.safetensors");
  for (const std::string file : {"weights.safetensors", "batch.safetensors"}) {
    const TensorFile made = TensorFile::open(folder / file), stored = TensorFile::open(shared_case("tiny-mse") / file);
    ASSERT_EQ(made.tensors().size(), stored.tensors().size());
    for (const TensorInfo& tensor : stored.tensors()) {
      const TensorInfo& mine = made.at(tensor.name);
      EXPECT_EQ(mine.elements(), tensor.elements()) << tensor.name;  // numpy wrote scalars as arrays of one
      EXPECT_TRUE(std::equal(mine.bytes.begin(), mine.bytes.end(), tensor.bytes.begin(), tensor.bytes.end()))
          << tensor.name;
    }
  }
}
RUN_ON_DEVICES(FormulaTest);

// ---- The shared references -----------------------------------------------------------------------

class SharedTraceTest : public DeviceTest {};

TEST_P(SharedTraceTest, TinyMseInFull) {
  DENSETREE_NEEDS_SHARED("reference/tiny-mse/trace.safetensors");
  const std::filesystem::path folder = shared_case("tiny-mse");
  const nlohmann::json summary = read_json(folder / "summary.json");
  const ReferenceCase c = ReferenceCase::from(summary.at("arguments"));
  const TensorFile weights = TensorFile::open(folder / "weights.safetensors");
  const TensorFile batch = TensorFile::open(folder / "batch.safetensors");
  const TensorFile want = TensorFile::open(folder / "trace.safetensors");
  std::optional<Trace> first;
  for (const MemoryMode mode : kModes) {
    const Trace got = nn::run_trace(device(), c.trace_options(mode), weights, batch);
    hold(c, mode, got, summary.at("pytorch_float32_error"),
         [&](const Trace& trace) { return full_error(trace, want, c); });
    expect_same_bits(first ? *first : got, got, name_of(mode));
    first = got;
  }
}

void hold_summary(Device& device, const std::string& name) {
  const nlohmann::json summary = read_json(shared_case(name) / "summary.json");
  const ReferenceCase c = ReferenceCase::from(summary.at("arguments"));
  const FormulaFiles files(c, device);
  std::optional<Trace> first;
  for (const MemoryMode mode : kModes) {
    const Trace got = files.trace(mode);
    hold(c, mode, got, summary.at("pytorch_float32_error"),
         [&](const Trace& trace) { return summary_error(trace, summary, c); });
    expect_same_bits(first ? *first : got, got, name_of(mode));
    first = got;
  }
}

TEST_P(SharedTraceTest, TinyBce) {
  DENSETREE_NEEDS_SHARED("reference/tiny-bce/summary.json");
  hold_summary(device(), "tiny-bce");
}
TEST_P(SharedTraceTest, DenseNet121Mse) {
  DENSETREE_NEEDS_SHARED("reference/densenet121-mse/summary.json");
  hold_summary(device(), "densenet121-mse");
}
RUN_ON_DEVICES(SharedTraceTest);

// ---- Our own -------------------------------------------------------------------------------------

class StoredTraceTest : public testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(StoredTraceTest, IsAsCloseToFloat64AsPyTorch) {
  const auto& [name, device_name] = GetParam();
  const nlohmann::json stored = read_json(cases_folder() / (name + ".json"));
  const ReferenceCase c = ReferenceCase::from(stored.at("arguments"));
  const std::unique_ptr<Device> device = make_device(device_name, kThreads);
  const std::vector<ExpectedTensor> state = state_of(c, *device);
  // The large networks run in the default mode alone: the modes are the same code at every size.
  const std::span<const MemoryMode> modes =
      name.starts_with("densenet") ? std::span(kModes).subspan(1, 1) : std::span(kModes);
  const FormulaFiles files(c, *device);
  std::optional<Trace> first;
  for (const MemoryMode mode : modes) {
    const Trace got = files.trace(mode);
    hold(c, mode, got, stored.at("pytorch_float32_error"),
         [&](const Trace& trace) { return sketch_error(trace, stored, state, c); });
    expect_same_bits(first ? *first : got, got, name_of(mode));
    first = got;
  }
}

std::vector<std::string> stored_cases() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(cases_folder())) {
    if (entry.path().extension() == ".json" && entry.path().stem() != "states") {
      names.push_back(entry.path().stem());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string case_label(const testing::TestParamInfo<std::tuple<std::string, std::string>>& info) {
  std::string label = std::get<0>(info.param) + "_" + std::get<1>(info.param);
  std::replace_if(
      label.begin(), label.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return label;
}

INSTANTIATE_TEST_SUITE_P(Case, StoredTraceTest,
                         testing::Combine(testing::ValuesIn(stored_cases()), testing::ValuesIn(available_devices())),
                         case_label);

}  // namespace
}  // namespace densetree::test
