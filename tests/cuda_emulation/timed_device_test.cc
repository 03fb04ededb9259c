// Times of operations come from the device's clock. Here everything that is queued takes it a millisecond, which no
// clock of the host would tell.
#include "bench/timed_device.h"

#include <gtest/gtest.h>

#include "bench/harness.h"

namespace densetree::emulation {
namespace {

TEST(EmulatedTimesTest, AreTheDevicesOwn) {
  bench::TimedDevice device(make_device("cuda:0"));
  const bench::Buffer memory(device, 4096);
  device.reset();
  for (int i = 0; i < 3; ++i) {
    device.fill(memory.as(), 1, 4096);
  }
  device.measure("two fills", 0, 0, [&] {
    device.fill(memory.as(), 2, 4096);
    device.fill(memory.as(), 3, 4096);
  });
  EXPECT_DOUBLE_EQ(device.profile().at("fill").seconds, 5e-3);
  EXPECT_DOUBLE_EQ(device.profile().at("two fills").seconds, 2e-3);
}

}  // namespace
}  // namespace densetree::emulation
