// A build with CUDA on a machine where CUDA cannot be used: it says why, and does everything else.
#include <gtest/gtest.h>

#include "kernels/core/error.h"
#include "kernels/cuda/cuda_device.h"

namespace densetree {
namespace {

class NoDriverTest : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count(&why_not_) > 0) {
      GTEST_SKIP() << "this machine has a CUDA device";
    }
  }
  std::string why_not_;
};

TEST_F(NoDriverTest, SaysWhyThereIsNoDevice) {
  EXPECT_NE(why_not_.find("driver"), std::string::npos) << why_not_;
}

TEST_F(NoDriverTest, ListsCudaWithTheReason) {
  const std::vector<DeviceStatus> devices = list_devices();
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_TRUE(devices[0].available);
  EXPECT_FALSE(devices[1].available);
  EXPECT_EQ(devices[1].detail, why_not_);
}

TEST_F(NoDriverTest, OpeningIsAnError) {
  EXPECT_THROW(make_device("cuda"), Error);
  EXPECT_THROW(make_cuda_device(0), Error);
  EXPECT_FALSE(cuda_status(0).available);
}

TEST_F(NoDriverTest, AutoTakesTheCpu) {
  EXPECT_EQ(make_device("auto")->info().name, "cpu");
}

}  // namespace
}  // namespace densetree
