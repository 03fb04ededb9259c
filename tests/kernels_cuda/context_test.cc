// On a GPU: a context that the caller made through the driver, and no device's primary one, stays the thread's current
// one.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>

#include "kernels/cuda_plugin.h"

namespace densetree {
namespace {

TEST(ContextTest, StaysTheCallers) {
  const std::vector<DeviceStatus> devices = list_devices();
  if (devices.size() < 2 || !devices[1].available) {
    GTEST_SKIP() << "there is no CUDA device here";
  }
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  ASSERT_NE(driver, nullptr);
  const auto find = [&](const char* name) { return dlsym(driver, name); };
  const auto init = reinterpret_cast<int (*)(unsigned)>(find("cuInit"));
  const auto get = reinterpret_cast<int (*)(int*, int)>(find("cuDeviceGet"));
  const auto create = reinterpret_cast<int (*)(void**, unsigned, int)>(find("cuCtxCreate_v2"));
  const auto destroy = reinterpret_cast<int (*)(void*)>(find("cuCtxDestroy_v2"));
  int gpu = 0;
  void* context = nullptr;
  ASSERT_EQ(init(0), 0);
  ASSERT_EQ(get(&gpu, 0), 0);
  ASSERT_EQ(create(&context, 0, gpu), 0);
  {
    const std::unique_ptr<Device> device = make_device("cuda:0");
    EXPECT_EQ(current_cuda_context(), context);
    for (int call = 0; call < 2; ++call) {
      const CurrentDeviceGuard guard;
      const std::array<int, 4> sent{1, 2, 3, 4};
      std::array<int, 4> got{};
      void* memory = device->allocate(sizeof sent);
      device->upload(memory, sent.data(), sizeof sent);
      device->download(got.data(), memory, sizeof got);
      device->release(memory);
      EXPECT_EQ(got, sent);
    }
    EXPECT_EQ(current_cuda_context(), context);
    list_devices();
    EXPECT_EQ(current_cuda_context(), context);
  }
  EXPECT_EQ(destroy(context), 0);
}

}  // namespace
}  // namespace densetree
