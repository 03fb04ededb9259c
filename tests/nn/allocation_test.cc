// Book, freeze, run: after a model is made, nothing is allocated on the device, and the host allocates only what oneDNN
// takes by itself in each call, given back at once. On a GPU the driver allocates on the host as it likes, so there
// what C++ allocates is counted, and from the third step on, a captured one, it is nothing.
#include <algorithm>

#include "tests/nn/allocation_counter.h"
#include "tests/nn/counting_device.h"
#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"

namespace densetree::test {
namespace {

using nn::MemoryMode;

class AllocationTest : public DeviceTest {};

TEST_P(AllocationTest, OneOnTheDeviceAndNoneAfterwards) {
  for (const MemoryMode mode : {MemoryMode::kStore, MemoryMode::kShared, MemoryMode::kRecompute}) {
    CountingDevice counting(device());
    {
      nn::Model model(counting, small_options(mode));
      EXPECT_EQ(counting.allocations, 1);
      EXPECT_EQ(counting.last_bytes, model.plan().bytes());  // what was planned, to the byte
      model.initialize(1);
      for (int step = 0; step < 3; ++step) {
        train_on(model, step);
        model.set_input(random_input(model.options(), step), false);
        model.infer();
      }
      EXPECT_EQ(counting.allocations, 1);
    }
    EXPECT_EQ(counting.releases, 1);
  }
}

TEST_P(AllocationTest, PlanningAllocatesNothingOnTheDevice) {
  CountingDevice counting(device());
  const nn::ModelPlan plan(counting, small_options());
  EXPECT_GT(plan.bytes(), 0u);
  EXPECT_EQ(counting.allocations, 0);
}

// One training step's allocations on the host, by oneDNN and by everybody else, those by operator new among both, and
// the blocks in use after it.
struct HostCost {
  std::int64_t by_onednn, by_others, cpp, in_use;
};
std::vector<HostCost> host_cost(nn::Model& model, std::size_t steps) {
  const std::vector<float> input = random_input(model.options(), 1), targets = random_targets(model.options(), 2);
  std::vector<HostCost> cost(steps);
  for (HostCost& c : cost) {
    const std::int64_t before = allocations(), cpp_before = cpp_allocations(), onednn_before = onednn_allocations();
    model.set_input(input, true);
    model.set_targets(targets);
    model.train_step({.clip_norm = 1});
    const std::int64_t by_onednn = onednn_allocations() - onednn_before;
    c = {by_onednn, allocations() - before - by_onednn, cpp_allocations() - cpp_before, blocks_in_use()};
  }
  return cost;
}

std::int64_t convolutions_of(const nn::Model& model) {
  const auto& entries = model.plan().parameters().entries();
  return std::count_if(entries.begin(), entries.end(), [](const auto& entry) { return entry.shape.size() == 4; });
}

TEST_P(AllocationTest, StepsTakeNothingOnTheHostButWhatOneDnnTakes) {
  if (!counts_allocations()) {
    GTEST_SKIP() << "allocations cannot be counted under a sanitizer";
  }
  // libgomp keeps a team of threads from one parallel region to the next, but makes a team of one anew each time.
  const std::unique_ptr<Device> two_threads = make_device(GetParam(), 2);
  for (const MemoryMode mode : {MemoryMode::kStore, MemoryMode::kShared, MemoryMode::kRecompute}) {
    nn::Model model(*two_threads, small_options(mode));
    model.initialize(1);
    const std::vector<HostCost> cost = host_cost(model, 6);
    const bool cpu = GetParam() == "cpu";
    const std::size_t prepared = cpu ? 1 : 2;
    for (std::size_t step = prepared; step < cost.size(); ++step) {
      SCOPED_TRACE(fmt::format("{}, step {}", name_of(mode), step));
      if (!cpu) {
        EXPECT_EQ(cost[step].cpp, 0);
        continue;
      }
      EXPECT_EQ(cost[step].by_others, 0);
      EXPECT_LE(cost[step].by_onednn, 100 * convolutions_of(model));
      EXPECT_EQ(cost[step].by_onednn, cost[prepared].by_onednn);
      EXPECT_EQ(cost[step].in_use, cost[prepared].in_use);
    }
    RecordProperty(fmt::format("{}_allocations_of_a_convolution", name_of(mode)),
                   fmt::format("{}", cost[1].by_onednn / convolutions_of(model)));
  }
}

RUN_ON_DEVICES(AllocationTest);

}  // namespace
}  // namespace densetree::test
