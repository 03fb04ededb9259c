#include "bench/harness.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/core/bfloat16.h"
#include "tests/nn/devices.h"

namespace densetree::bench {
namespace {

using test::available_devices;
using test::device_label;

class RandomTensorTest : public testing::TestWithParam<std::string> {};

// In bf16 as in fp32 the numbers are those of [-1, 1), not bits of something else: what is timed computes on real data.
TEST_P(RandomTensorTest, HoldsTheSameNumbersInEitherType) {
  const auto device = make_device(GetParam(), 1);
  const Shape shape{2, 16, 5, 3};
  if (!device->why_not(Precision::kBFloat16).empty()) {
    GTEST_SKIP() << device->why_not(Precision::kBFloat16);
  }
  const RandomTensor wide(*device, shape, Use::kStack), narrow(*device, shape, Use::kStack, DType::kBFloat16);
  std::vector<float> floats(shape.elements());
  std::vector<std::uint16_t> halves(shape.elements());
  device->download(floats.data(), wide.view.data, floats.size() * sizeof(float));
  device->download(halves.data(), narrow.view.data, halves.size() * sizeof(std::uint16_t));
  float largest = 0;
  for (std::size_t i = 0; i < floats.size(); ++i) {
    EXPECT_EQ(halves[i], bfloat16_bits(floats[i]));
    largest = std::max(largest, std::abs(floats[i]));
  }
  EXPECT_GT(largest, 0.5f);
  EXPECT_LE(largest, 1.0f);
}

INSTANTIATE_TEST_SUITE_P(Any, RandomTensorTest, testing::ValuesIn(available_devices()), device_label);

}  // namespace
}  // namespace densetree::bench
