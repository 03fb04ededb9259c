// Tests of the network run on every device of this machine.
//
//   class ModelTest : public DeviceTest {};
//   TEST_P(ModelTest, Trains) { nn::Model model(device(), …); … }
//   RUN_ON_DEVICES(ModelTest);
#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "tests/kernels/unbound.h"

namespace densetree::test {

inline std::vector<std::string> available_devices() {
  std::vector<std::string> names;
  for (const DeviceStatus& status : list_devices()) {
    if (status.available) {
      names.push_back(status.name);
    }
  }
  return names;
}

// One CPU thread: these networks are small, and test programs run side by side. That results do not depend on the
// number of threads is a test of its own.
inline constexpr int kThreads = 1;

class DeviceTest : public testing::TestWithParam<std::string> {
 protected:
  Device& device() {
    if (!device_) {
      device_ = make_device(GetParam(), kThreads);
    }
    return *device_;
  }

 private:
  std::unique_ptr<Device> device_;
};

// The reason why the device has no fused batch norm and convolution in this precision, of shapes that suit every one
// that has; empty where it has.
inline std::string why_not_fused(Device& device, Precision precision) {
  const ConvolutionShape shape{.input = {4, 32, 8, 8}, .out_channels = 64, .precision = precision};
  std::vector<Refusal> refusals;
  return device.prepare(unbound_norm_convolution(device, shape, {0, 32}, {0, 64}), &refusals) ? ""
                                                                                              : refusals.back().reason;
}

inline std::string device_label(const testing::TestParamInfo<std::string>& info) {
  std::string label = info.param;
  for (char& c : label) {
    c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  }
  return label;
}

}  // namespace densetree::test

#define RUN_ON_DEVICES(suite)                                                                     \
  INSTANTIATE_TEST_SUITE_P(Any, suite, testing::ValuesIn(::densetree::test::available_devices()), \
                           ::densetree::test::device_label)
