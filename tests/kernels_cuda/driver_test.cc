// The plugin where there is a driver, if only a stand-in for one (driver_stub.cc): it loads, with all that it needs,
// and says what the driver says; and the thread's context stays the caller's.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "kernels/cuda_plugin.h"

namespace densetree {
namespace {

TEST(DriverTest, ThePluginLoadsAndAsksTheDriver) {
  std::string why_not;
  const CudaFunctions* functions = cuda_functions(&why_not);
  ASSERT_NE(functions, nullptr) << why_not;
  EXPECT_NE(functions, &kCudaFunctions) << "this is the program's own, and not the plugin's";
  EXPECT_EQ(functions->device_count(&why_not), 0);
  const std::vector<DeviceStatus> devices = list_devices();
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_EQ(devices[1].detail, why_not);
  EXPECT_NE(why_not, "");
}

TEST(DriverTest, TheCurrentContextIsPutBack) {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  ASSERT_NE(driver, nullptr);
  const auto set = reinterpret_cast<int (*)(void*)>(dlsym(driver, "cuCtxSetCurrent"));
  int hosts = 0, ours = 0;
  set(&hosts);
  EXPECT_EQ(current_cuda_context(), &hosts);
  {
    const CurrentDeviceGuard guard;
    set(&ours);
    EXPECT_EQ(current_cuda_context(), &ours);
  }
  EXPECT_EQ(current_cuda_context(), &hosts);
  set(nullptr);
  {
    const CurrentDeviceGuard guard;
    set(&ours);
  }
  EXPECT_EQ(current_cuda_context(), nullptr);
}

}  // namespace
}  // namespace densetree
