// Batch norm, ReLU and convolution of DenseNet-121's layers have one cuDNN kernel on the GPUs described in the shared
// folder, reading a prefix of a stack's channels or writing into a slice of them. cuDNN compiles these kernels, and
// wants a driver's library for that: driver_stub.cc.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "kernels/core/error.h"
#include "kernels/cuda/cudnn_graph.h"
#include "tests/error_of.h"
#include "tests/shared_data.h"

namespace densetree::cuda {
namespace {

constexpr const char* kFolder = "reference/cudnn-devices";

struct Layer {
  ConvolutionShape shape;
  ChannelSlice x, y;
};

// The bottleneck over the first `channels` of a stack, and the convolution that appends to it.
Layer bottleneck(std::int64_t channels, std::int64_t of, std::int64_t size) {
  return {{.input = {128, channels, size, size}, .out_channels = 128}, {0, of}, {0, 128}};
}
Layer appending(std::int64_t first, std::int64_t of, std::int64_t size) {
  return {{.input = {128, 128, size, size}, .out_channels = 32, .kernel = 3, .padding = 1}, {0, 128}, {first, of}};
}

class FusedPlanTest : public testing::Test {
 protected:
  void SetUp() override {
    if (dlopen("libcuda.so.1", RTLD_NOW) == nullptr) {
      GTEST_SKIP() << "no driver library: " << dlerror();
    }
    DENSETREE_NEEDS_SHARED(kFolder);
  }
  static Target described(const std::string& device) {
    std::stringstream text;
    text << std::ifstream(shared_folder() / kFolder / (device + ".json")).rdbuf();
    return Target(text.str());
  }
  static void expect_compiles(const std::string& device, Precision precision, const std::vector<Layer>& layers) {
    const Target target = described(device);
    for (Layer layer : layers) {
      layer.shape.precision = precision;
      std::string why_not;
      const auto plans = norm_convolution_plans_for(target, layer.shape, layer.x, layer.y, 1, &why_not);
      EXPECT_FALSE(plans.empty()) << device << ": " << why_not;
    }
  }
};

TEST_F(FusedPlanTest, DenseLayersOnAnH200) {
  expect_compiles(
      "h200", Precision::kBFloat16,
      {bottleneck(224, 256, 56), bottleneck(992, 1024, 7), appending(224, 256, 56), appending(992, 1024, 7)});
  expect_compiles("h200", Precision::kTensorFloat32, {bottleneck(480, 512, 28), appending(480, 512, 28)});
}

TEST_F(FusedPlanTest, DenseLayersOnAnA100) {
  expect_compiles("a100", Precision::kBFloat16, {bottleneck(224, 256, 56), appending(224, 256, 56)});
}

TEST_F(FusedPlanTest, DenseLayersOnAnRtx3090) {
  expect_compiles("rtx3090", Precision::kBFloat16, {bottleneck(224, 256, 56), appending(224, 256, 56)});
}

// A plan that was compiled for one handle is there again for another, from its text.
TEST_F(FusedPlanTest, IsStoredAndLoaded) {
  const Target target = described("h200");
  Layer layer = appending(224, 256, 56);
  layer.shape.precision = Precision::kBFloat16;
  std::string why_not;
  const auto plans = norm_convolution_plans_for(target, layer.shape, layer.x, layer.y, 1, &why_not);
  ASSERT_FALSE(plans.empty()) << why_not;
  const StoredPlan stored = plans[0].store();
  const NormConvolutionPlan loaded = load_norm_convolution_plan(described("h200"), layer.shape, stored);
  EXPECT_EQ(loaded.name(), plans[0].name());
  EXPECT_EQ(loaded.workspace_bytes(), plans[0].workspace_bytes());
  EXPECT_EQ(loaded.store().json, stored.json);
  StoredPlan broken = stored;
  broken.json.resize(broken.json.size() / 2);
  const std::string error = error_of([&] { load_norm_convolution_plan(target, layer.shape, broken); });
  EXPECT_NE(error.find("loading the plan of batch norm, ReLU and conv 3x3"), std::string::npos) << error;
}

TEST_F(FusedPlanTest, SaysWhyNot) {
  const Target target = described("h200");
  Layer layer = bottleneck(224, 256, 56);
  std::string why_not;
  EXPECT_TRUE(norm_convolution_plans_for(target, layer.shape, layer.x, layer.y, 1, &why_not).empty());
  EXPECT_NE(why_not.find("TF32"), std::string::npos) << why_not;
  layer.shape.precision = Precision::kBFloat16;
  layer.x.of = 260;
  EXPECT_TRUE(norm_convolution_plans_for(target, layer.shape, layer.x, layer.y, 1, &why_not).empty());
  EXPECT_NE(why_not.find("260 channels"), std::string::npos) << why_not;
}

}  // namespace
}  // namespace densetree::cuda
