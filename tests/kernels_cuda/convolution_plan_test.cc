// Every convolution of DenseNet-121 that is no matrix product has a cuDNN plan on the GPUs described in the shared
// folder, in every precision. No GPU is needed.
#include <gtest/gtest.h>

#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <tuple>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/network_input.h"
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

// The different convolutions of DenseNet-121 on 224×224 images that are larger than 1×1.
std::vector<ConvolutionShape> densenet121(std::int64_t batch, Precision precision) {
  constexpr std::int64_t kGrowth = 32, kBottleneck = 4 * kGrowth;
  std::vector<ConvolutionShape> shapes{convolution({batch, 3, 224, 224}, 64, 7, 2)};
  for (const std::int64_t size : {56, 28, 14, 7}) {
    shapes.push_back(convolution({batch, kBottleneck, size, size}, kGrowth, 3, 1));
  }
  for (ConvolutionShape& shape : shapes) {
    shape.precision = precision;
    shape.input_use = shape.input.c == kInputChannels ? Use::kInput : Use::kSpatial;
    shape = library_shape(shape);
  }
  return shapes;
}

Target described(const std::string& device) {
  return Target(read(shared_folder() / kFolder / (device + ".json")));
}

using Case = std::tuple<const char*, std::int64_t, Precision>;  // GPU, batch

class PlanTest : public testing::TestWithParam<Case> {};

TEST_P(PlanTest, EverySpatialConvolutionOfDenseNet121HasPlans) {
  DENSETREE_NEEDS_SHARED(kFolder);
  const auto [device, batch, precision] = GetParam();
  const Target target = described(device);
  for (const Pass pass : {Pass::kForward, Pass::kBackwardData, Pass::kBackwardWeights}) {
    std::size_t largest = 0;
    std::string where;
    for (const ConvolutionShape& shape : densenet121(batch, precision)) {
      if (pass == Pass::kBackwardData && shape.input_use == Use::kInput) {
        continue;  // nobody asks for the gradient of an image
      }
      // Throws, and so fails the test, where there is none.
      const ConvolutionPlan plan = std::move(plans_for(target, shape, pass, 1).front());
      EXPECT_LE(plan.workspace_bytes(), std::size_t{256} << 20) << shape.describe() << name_of(pass);
      if (plan.workspace_bytes() >= largest) {
        largest = plan.workspace_bytes();
        where = fmt::format("{} with {}", shape.describe(), plan.name());
      }
    }
    std::cout << fmt::format("{:>8} {}, batch {:3}, {:16}: largest workspace {:7.1f} MiB, {}\n", device,
                             densetree::name_of(precision), batch, name_of(pass), static_cast<double>(largest) / 0x1p20,
                             where);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, PlanTest,
                         testing::Combine(testing::Values("h200", "a100", "rtx3090"), testing::Values(16, 128),
                                          testing::Values(Precision::kFloat32, Precision::kTensorFloat32,
                                                          Precision::kBFloat16)),
                         [](const auto& tested) {
                           return fmt::format("{}_batch{}_{}", std::get<0>(tested.param), std::get<1>(tested.param),
                                              densetree::name_of(std::get<2>(tested.param)));
                         });

// What tuning times: different plans, the first of them the one that is taken without it.
TEST(ConvolutionPlan, SeveralPlansDiffer) {
  DENSETREE_NEEDS_SHARED(kFolder);
  const Target target = described("h200");
  for (const Precision precision : {Precision::kFloat32, Precision::kTensorFloat32, Precision::kBFloat16}) {
    ConvolutionShape shape = convolution({16, 128, 28, 28}, 32, 3, 1);
    shape.precision = precision;
    const auto four = plans_for(target, shape, Pass::kForward, 4), one = plans_for(target, shape, Pass::kForward, 1);
    std::set<std::string> names;
    for (const ConvolutionPlan& plan : four) {
      names.insert(plan.name());
    }
    EXPECT_GE(four.size(), 2u);
    EXPECT_LE(four.size(), 4u);
    EXPECT_EQ(names.size(), four.size());
    ASSERT_EQ(one.size(), 1u);
    EXPECT_EQ(one[0].name(), four[0].name());
  }
}

// Tensor cores round fp32 to TF32, so fp32 must do without the engines that tf32 takes.
TEST(ConvolutionPlan, PrecisionsTakeDifferentEngines) {
  DENSETREE_NEEDS_SHARED(kFolder);
  const Target target = described("h200");
  ConvolutionShape shape = convolution({16, 128, 56, 56}, 32, 3, 1);
  for (const Pass pass : {Pass::kForward, Pass::kBackwardData, Pass::kBackwardWeights}) {
    shape.precision = Precision::kFloat32;
    const std::string exact = plans_for(target, shape, pass, 1)[0].name();
    shape.precision = Precision::kTensorFloat32;
    EXPECT_NE(plans_for(target, shape, pass, 1)[0].name(), exact);
    for (const ConvolutionPlan& plan : plans_for(target, shape, pass, 4)) {
      EXPECT_NE(plan.name(), exact);
    }
  }
}

// Channel counts that fill no vector: small nets, and what tests draw at random.
TEST(ConvolutionPlan, OddShapesHavePlans) {
  DENSETREE_NEEDS_SHARED(kFolder);
  const Target target = described("h200");
  for (const Precision precision : {Precision::kFloat32, Precision::kTensorFloat32, Precision::kBFloat16}) {
    for (ConvolutionShape shape :
         {convolution({1, 1, 1, 1}, 1, 1, 2), convolution({3, 5, 7, 9}, 11, 3, 1), convolution({2, 3, 17, 13}, 6, 7, 2),
          convolution({1, 13, 6, 6}, 7, 5, 1), convolution({4, 16, 16, 16}, 8, 3, 1)}) {
      shape.precision = precision;
      for (const Pass pass : {Pass::kForward, Pass::kBackwardData, Pass::kBackwardWeights}) {
        EXPECT_NO_THROW(plans_for(target, shape, pass, 1)) << shape.describe() << ", " << name_of(pass);
      }
    }
  }
}

TEST(ConvolutionPlan, NonsenseIsAnError) {
  EXPECT_THROW(Target("no description"), Error);
  DENSETREE_NEEDS_SHARED(kFolder);
  ConvolutionShape larger_than_input = convolution({1, 4, 2, 2}, 4, 7, 1);
  larger_than_input.padding = 0;
  EXPECT_THROW(plans_for(described("h200"), larger_than_input, Pass::kForward, 1), Error);
}

}  // namespace
}  // namespace densetree::cuda
