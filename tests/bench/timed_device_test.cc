#include "bench/timed_device.h"

#include <gtest/gtest.h>

#include "bench/harness.h"
#include "tests/nn/devices.h"

namespace densetree::bench {
namespace {

using test::available_devices;
using test::device_label;

class TimedDeviceTest : public testing::TestWithParam<std::string> {
 protected:
  TimedDevice device_{make_device(GetParam(), 1)};

  static constexpr Shape kInput{2, 32, 8, 8};
  View whole(void* memory, const Shape& shape, Use use, DType type) const {
    return make_view(memory, shape, device_.layout(use), type);
  }
};

// What is added to is read and written.
TEST_P(TimedDeviceTest, CountsWhatIsAddedToTwice) {
  const Buffer x(device_, 1 << 16, 0, 0), y(device_, 1 << 16, 0, 0);
  const Layout layout = device_.layout(Use::kStack);
  const op::Add add{.x = make_view(x.as(), kInput, layout), .y = make_view(y.as(), kInput, layout)};
  std::vector<Refusal> refusals;
  const auto kernel = device_.prepare(add, &refusals);
  device_.reset();
  kernel->run(add, nullptr);
  EXPECT_EQ(device_.profile().at("add").bytes, 3.0 * 4 * kInput.elements());
}

// Activations are counted in their own type, weights in fp32.
TEST_P(TimedDeviceTest, CountsBytesAsTheyLieInMemory) {
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    if (!device_.why_not(precision).empty()) {
      continue;
    }
    SCOPED_TRACE(name_of(precision));
    const ConvolutionShape shape{.input = kInput,
                                 .out_channels = 16,
                                 .kernel = 3,
                                 .padding = 1,
                                 .input_use = Use::kSpatial,
                                 .output_use = Use::kSpatial,
                                 .precision = precision};
    const DType type = element_type(precision);
    const Buffer x(device_, 1 << 16, 0, 0), y(device_, 1 << 16, 0, 0), w(device_, shape.weights() * 4);
    const op::Convolution convolution{.shape = shape,
                                      .x = whole(x.as(), kInput, Use::kSpatial, type),
                                      .w = {w.as(), shape.weights()},
                                      .y = whole(y.as(), shape.output(), Use::kSpatial, type)};
    std::vector<Refusal> refusals;
    const auto kernel = device_.prepare(convolution, &refusals);
    const Buffer workspace(device_, kernel->workspace_bytes());
    device_.reset();
    kernel->run(convolution, workspace.as());
    const Profile& profile = device_.profile();
    ASSERT_EQ(profile.size(), 1u);
    const Cost& cost = profile.at("convolution 3x3");
    EXPECT_EQ(cost.calls, 1);
    EXPECT_EQ(cost.bytes,
              static_cast<double>(kInput.elements() + shape.output().elements()) * static_cast<double>(size_of(type)) +
                  static_cast<double>(shape.weights()) * 4);
    EXPECT_EQ(cost.flops, 2.0 * 9 * 32 * 16 * 2 * 64);
  }
}

TEST_P(TimedDeviceTest, AddsUpWhatWasQueuedSinceTheReset) {
  const Buffer memory(device_, 1 << 20);
  device_.fill(memory.as(), 0, 1 << 20);
  device_.reset();
  for (int i = 0; i < 3; ++i) {
    device_.fill(memory.as(), 1, 1 << 20);
  }
  device_.push_range("z recompute");
  device_.fill(memory.as(), 2, 1 << 20);
  device_.pop_range();
  const Cost cost = device_.profile().at("fill");
  EXPECT_EQ(cost.calls, 4);
  EXPECT_EQ(cost.bytes, 4.0 * (1 << 20));
  EXPECT_GT(cost.seconds, device_.recomputing_seconds() / 2);
  EXPECT_GT(device_.recomputing_seconds(), 0);
  device_.fill(memory.as(), 3, 1 << 20);
  EXPECT_EQ(device_.profile().at("fill").calls, 5);
  EXPECT_GT(device_.profile().at("fill").seconds, cost.seconds);  // what was read before stays
  device_.reset();
  EXPECT_TRUE(device_.profile().empty());
  EXPECT_EQ(device_.recomputing_seconds(), 0);
}

INSTANTIATE_TEST_SUITE_P(Any, TimedDeviceTest, testing::ValuesIn(available_devices()), device_label);

TEST(ProfileTest, ConvolutionsAreWhatMultiplies) {
  const Profile profile{{"adam", {.seconds = 4, .bytes = 1}},
                        {"convolution 3x3", {.seconds = 1, .flops = 10}},
                        {"norm convolution gradient 1x1", {.seconds = 2, .flops = 10}}};
  EXPECT_EQ(convolution_seconds_of(profile), 3);
  EXPECT_EQ(seconds_of(profile), 7);
}

}  // namespace
}  // namespace densetree::bench
