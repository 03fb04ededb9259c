// Fused plans are compiled once per process, whatever the number of layers and devices that need them.
#include <gtest/gtest.h>

#include "kernels/cuda/cudnn_graph.h"
#include "tests/nn/devices.h"

namespace densetree::test {
namespace {

TEST(EmulatedFusedPlans, AreCompiledOncePerProcess) {
  ConvolutionShape shape{.input = {3, 48, 5, 7}, .out_channels = 40, .precision = Precision::kBFloat16};
  const int before = emulation::plans_compiled;
  std::string why_not;
  for (int opened = 0; opened < 2; ++opened) {
    const std::unique_ptr<Device> device = make_device("cuda:0");
    for (const std::int64_t first : {0, 8, 16}) {  // layers of one shape, in other slices
      EXPECT_NE(device->make_norm_convolution(shape, {0, 64}, {first, 64}, &why_not), nullptr) << why_not;
    }
  }
  EXPECT_EQ(emulation::plans_compiled, before + 1);
  shape.out_channels = 48;
  EXPECT_NE(make_device("cuda:0")->make_norm_convolution(shape, {0, 64}, {0, 64}, &why_not), nullptr) << why_not;
  EXPECT_EQ(emulation::plans_compiled, before + 2);
}

TEST(EmulatedFusedPlans, KeepTheReasonWhyThereIsNone) {
  const ConvolutionShape shape{.input = {3, 48, 5, 7}, .out_channels = 40};
  for (int opened = 0; opened < 2; ++opened) {
    const std::unique_ptr<Device> device = make_device("cuda:0");
    for (int layer = 0; layer < 2; ++layer) {
      std::string why_not;
      EXPECT_EQ(device->make_norm_convolution(shape, {0, 64}, {0, 64}, &why_not), nullptr);
      EXPECT_NE(why_not.find("TF32"), std::string::npos) << why_not;
    }
  }
}

}  // namespace
}  // namespace densetree::test
