// Steps are timed after their graph is captured and instantiated, not while.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "bench/step_subject.h"

namespace densetree::emulation {
namespace {

TEST(EmulatedWarmUpTest, LeavesOnlyGraphLaunchesToBeTimed) {
  for (const bool training : {true, false}) {
    const auto device = make_device("cuda:0");
    bench::Subject subject(*device, {.arch = "growth=8,blocks=2-2,init=8", .batch = 2, .size = 56, .labels = 3},
                           training);
    const int before = graphs_instantiated;
    bench::warm_up(*device, subject);
    EXPECT_EQ(graphs_instantiated, before + 1);
    subject.run();
    subject.run();
    EXPECT_EQ(graphs_instantiated, before + 1);
  }
}

}  // namespace
}  // namespace densetree::emulation
