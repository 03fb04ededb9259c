// Every convolution of DenseNet-121 has a cuDNN plan on the GPUs described in the shared folder. No GPU is needed.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/cuda/cudnn_graph.h"
#include "tests/shared_data.h"

namespace densetree::cuda {
namespace {

constexpr const char* kFolder = "reference/cudnn-devices";

std::string read(const std::filesystem::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

ConvolutionShape convolution(const Shape& input, std::int64_t out_channels, std::int64_t kernel, std::int64_t stride) {
  return {.input = input, .out_channels = out_channels, .kernel = kernel, .stride = stride, .padding = kernel / 2};
}

// The different convolutions of DenseNet-121 on 224×224 images.
std::vector<ConvolutionShape> densenet121(std::int64_t batch) {
  constexpr std::int64_t kGrowth = 32, kBottleneck = 4 * kGrowth;
  std::vector<ConvolutionShape> shapes{convolution({batch, 3, 224, 224}, 64, 7, 2)};
  std::int64_t channels = 64, size = 56;
  for (const int layers : {6, 12, 24, 16}) {
    shapes.push_back(convolution({batch, kBottleneck, size, size}, kGrowth, 3, 1));
    for (int layer = 0; layer < layers; ++layer, channels += kGrowth) {
      shapes.push_back(convolution({batch, channels, size, size}, kBottleneck, 1, 1));
    }
    if (size > 7) {  // a transition halves channels and size
      shapes.push_back(convolution({batch, channels, size, size}, channels / 2, 1, 1));
      channels /= 2, size /= 2;
    }
  }
  return shapes;
}

struct Case {
  const char* device;
  std::int64_t batch;
};

class PlanTest : public testing::TestWithParam<Case> {};

TEST_P(PlanTest, EveryConvolutionOfDenseNet121HasPlans) {
  const auto path = std::filesystem::path(kFolder) / (std::string(GetParam().device) + ".json");
  DENSETREE_NEEDS_SHARED(path);
  const Descriptor device = describe_device(read(shared_folder() / path));
  const std::vector<ConvolutionShape> shapes = densenet121(GetParam().batch);
  ASSERT_EQ(shapes.size(), 1u + 58 + 4 + 3);
  for (const Pass pass : {Pass::kForward, Pass::kBackwardData, Pass::kBackwardWeights}) {
    std::size_t largest = 0;
    std::string where;
    for (const ConvolutionShape& shape : shapes) {
      const ConvolutionPlan plan(device, shape, pass);  // throws, and so fails the test, where there is none
      // Engines that change layouts keep packed copies of their operands and a little more; beyond that is a surprise.
      const std::size_t operands = 4 * static_cast<std::size_t>(shape.input.elements() + shape.output().elements());
      EXPECT_LE(plan.workspace_bytes(), operands + (std::size_t{64} << 20)) << shape.describe() << name_of(pass);
      if (plan.workspace_bytes() >= largest) {
        largest = plan.workspace_bytes();
        where = fmt::format("{} with engine {}", shape.describe(), plan.engine());
      }
    }
    std::cout << fmt::format("{:>8}, batch {:3}, {:16}: largest workspace {:7.1f} MiB, {}\n", GetParam().device,
                             GetParam().batch, name_of(pass), static_cast<double>(largest) / 0x1p20, where);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, PlanTest,
                         testing::Values(Case{"h200", 16}, Case{"h200", 128}, Case{"a100", 16}, Case{"a100", 128},
                                         Case{"rtx3090", 16}, Case{"rtx3090", 128}),
                         [](const auto& tested) {
                           return std::string(tested.param.device) + "_batch" + std::to_string(tested.param.batch);
                         });

// Channel counts that fill no vector: small nets, and what tests draw at random.
TEST(ConvolutionPlan, OddShapesHavePlans) {
  DENSETREE_NEEDS_SHARED(kFolder);
  const Descriptor device = describe_device(read(shared_folder() / kFolder / "h200.json"));
  for (const ConvolutionShape& shape :
       {convolution({1, 1, 1, 1}, 1, 1, 1), convolution({3, 5, 7, 9}, 11, 3, 1), convolution({2, 3, 17, 13}, 6, 7, 2),
        convolution({1, 13, 6, 6}, 7, 1, 1), convolution({4, 16, 16, 16}, 8, 3, 1)}) {
    for (const Pass pass : {Pass::kForward, Pass::kBackwardData, Pass::kBackwardWeights}) {
      EXPECT_NO_THROW(ConvolutionPlan(device, shape, pass)) << shape.describe() << ", " << name_of(pass);
    }
  }
}

TEST(ConvolutionPlan, NonsenseIsAnError) {
  EXPECT_THROW(describe_device("no description"), Error);
  DENSETREE_NEEDS_SHARED(kFolder);
  const Descriptor device = describe_device(read(shared_folder() / kFolder / "h200.json"));
  ConvolutionShape larger_than_input = convolution({1, 4, 2, 2}, 4, 7, 1);
  larger_than_input.padding = 0;
  EXPECT_THROW(ConvolutionPlan(device, larger_than_input, Pass::kForward), Error);
}

}  // namespace
}  // namespace densetree::cuda
