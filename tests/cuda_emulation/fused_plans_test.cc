// Fused plans are compiled once per process, whatever the number of layers and devices that need them.
#include <gtest/gtest.h>

#include "kernels/cuda/cudnn_graph.h"
#include "kernels/device.h"
#include "tests/kernels/unbound.h"

namespace densetree::test {
namespace {

// Of the first channels of a stack of 64 to those from `first` on of another.
std::unique_ptr<Kernel> prepared(Device& device, const ConvolutionShape& shape, std::int64_t first,
                                 std::vector<Refusal>* refusals) {
  return device.prepare(unbound_norm_convolution(device, shape, {0, 64}, {first, 64}), refusals);
}

TEST(EmulatedFusedPlans, AreCompiledOncePerProcess) {
  ConvolutionShape shape{.input = {3, 48, 5, 7}, .out_channels = 40, .precision = Precision::kBFloat16};
  const int before = emulation::plans_compiled;
  std::vector<Refusal> refusals;
  for (int opened = 0; opened < 2; ++opened) {
    const std::unique_ptr<Device> device = make_device("cuda:0");
    for (const std::int64_t first : {0, 8, 16}) {  // layers of one shape, in other slices
      EXPECT_NE(prepared(*device, shape, first, &refusals), nullptr);
    }
  }
  EXPECT_EQ(emulation::plans_compiled, before + 1);
  shape.out_channels = 48;
  const std::unique_ptr<Device> device = make_device("cuda:0");
  EXPECT_NE(prepared(*device, shape, 0, &refusals), nullptr);
  EXPECT_EQ(emulation::plans_compiled, before + 2);
}

TEST(EmulatedFusedPlans, KeepTheReasonWhyThereIsNone) {
  const ConvolutionShape shape{.input = {3, 48, 5, 7}, .out_channels = 40};
  for (int opened = 0; opened < 2; ++opened) {
    const std::unique_ptr<Device> device = make_device("cuda:0");
    for (int layer = 0; layer < 2; ++layer) {
      std::vector<Refusal> refusals;
      EXPECT_EQ(prepared(*device, shape, 0, &refusals), nullptr);
      ASSERT_EQ(refusals.size(), 1u);
      EXPECT_NE(refusals[0].reason.find("TF32"), std::string::npos) << refusals[0].reason;
    }
  }
}

}  // namespace
}  // namespace densetree::test
