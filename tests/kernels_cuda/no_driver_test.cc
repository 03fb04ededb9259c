// A build with CUDA on a machine where CUDA cannot be used: it says why, and does everything else.
#include <gtest/gtest.h>

#include "kernels/core/error.h"
#include "kernels/cuda/functions.h"

namespace densetree {
namespace {

class NoDriverTest : public testing::Test {
 protected:
  void SetUp() override {
    if (kCudaFunctions.device_count(&why_not_) > 0) {
      GTEST_SKIP() << "this machine has a CUDA device";
    }
  }
  std::string why_not_;
};

TEST_F(NoDriverTest, SaysWhyThereIsNoDevice) {
  EXPECT_NE(why_not_.find("driver"), std::string::npos) << why_not_;
}

TEST_F(NoDriverTest, OpeningIsAnError) {
  EXPECT_THROW(kCudaFunctions.make_device(0, nullptr), Error);
  EXPECT_FALSE(kCudaFunctions.status(0).available);
}

// Without the plugin's own libraries being loaded: it is asked for after the driver.
TEST_F(NoDriverTest, ListsCudaWithTheReason) {
  const std::vector<DeviceStatus> devices = list_devices();
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_TRUE(devices[0].available);
  EXPECT_FALSE(devices[1].available);
  EXPECT_NE(devices[1].detail.find("driver"), std::string::npos) << devices[1].detail;
}

TEST_F(NoDriverTest, AutoTakesTheCpu) {
  EXPECT_EQ(make_device("auto")->info().name, "cpu");
}

}  // namespace
}  // namespace densetree
