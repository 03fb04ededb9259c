// What a training step costs a GPU, counted: what is queued, and the bytes that operations read and write, at the size
// that is measured on GPUs. docs/step-cost.md holds the tables, so that no change to them goes unseen.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "bench/step_subject.h"
#include "bench/timed_device.h"
#include "engine/io/file.h"

namespace densetree::emulation {
namespace {

struct Way {
  const char *memory, *batch_norm;
};
constexpr Way kWays[] = {{"store", "factored"}, {"shared", "factored"}, {"recompute", "factored"}, {"shared", "fused"}};

// Everything that is queued takes the emulated device a millisecond.
std::int64_t queued(double seconds) {
  return std::llround(1e3 * seconds);
}

std::string row(const std::string& kind, std::int64_t calls, std::int64_t launches, double bytes) {
  return fmt::format("| {} | {} | {} | {:.2f} |\n", kind, calls, launches, bytes / 1e9);
}

std::string table_of(const Way& way) {
  bench::TimedDevice device(make_device("cuda:0"));
  bench::Subject subject(device,
                         {.memory = way.memory, .batch_norm = way.batch_norm, .precision = "bf16", .batch = 128}, true);
  subject.run();  // the first step prepares
  device.reset();
  subject.run();
  std::string rows;
  bench::Cost all;
  for (const auto& [kind, cost] : device.profile()) {
    rows += row(kind, cost.calls, queued(cost.seconds), cost.bytes);
    all.calls += cost.calls, all.seconds += cost.seconds, all.bytes += cost.bytes;
  }
  return fmt::format(
      "### `--memory {} --batch-norm {}`\n\nPlanned memory: {:.2f} GB\n\n| operation | calls | launches | GB |\n"
      "| --- | --- | --- | --- |\n{}{}",
      way.memory, way.batch_norm, static_cast<double>(subject.model().plan().bytes()) / 1e9, rows,
      row("**in all**", all.calls, queued(all.seconds), all.bytes));
}

class CountsOnly {
 public:
  CountsOnly() { counts_only = true; }
  ~CountsOnly() { counts_only = false; }
};

TEST(EmulatedStepCost, IsWhatTheDocsSay) {
  const CountsOnly counting;
  const std::string docs = read_file(std::filesystem::path(DENSETREE_SOURCE_DIR) / "docs/step-cost.md");
  for (const Way& way : kWays) {
    const std::string table = table_of(way);
    EXPECT_NE(docs.find(table), std::string::npos) << "docs/step-cost.md lacks this table:\n" << table;
  }
}

}  // namespace
}  // namespace densetree::emulation
