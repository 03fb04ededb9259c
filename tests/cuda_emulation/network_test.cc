// Whole training steps and the label tree on the emulated device: every kernel of a network at work, beside the CPU
// and in several orders of threads.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/device_array.h"
#include "tests/cuda_emulation/grid.h"
#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"

namespace densetree::test {
namespace {

using emulation::Order;
using State = std::map<std::string, std::vector<float>>;

nn::ModelOptions options_for(nn::MemoryMode memory) {
  nn::ModelOptions options = small_options(memory);
  options.source_size = 40;
  options.positive_weights = {1, 2, 0.5f, 10, 0};
  return options;
}

// Two steps with clipped gradients on images drawn from the seed, the second from half a batch of them, then inference.
struct Result {
  double loss = 0;
  State gradients, state;
  std::vector<float> logits;
};
Result trained(Device& device, nn::MemoryMode memory) {
  nn::Model model(device, options_for(memory));
  model.initialize(1);
  const nn::ModelOptions& o = model.options();
  std::vector<std::uint8_t> pixels(o.batch_size * o.source_size * o.source_size);
  RandomStream random(1, RandomUse::kSynth);
  for (std::uint8_t& pixel : pixels) {
    pixel = static_cast<std::uint8_t>(random.below(256));
  }
  const std::vector<ImageTransform> moved(o.batch_size,
                                          {.xx = 0.9f, .xy = 0.1f, .x0 = 2, .yx = -0.1f, .contrast = 1.1f});
  Result result;
  for (int step = 0; step < 2; ++step) {
    model.set_images(pixels, moved, true);
    model.set_targets(random_targets(o, step));
    model.train_step({.weight_decay = 1e-4, .clip_norm = 1});
    for (const Parameters::Entry& entry : model.plan().parameters().entries()) {
      if (step == 0 && entry.kind == Parameters::Kind::kWeight) {
        result.gradients[entry.name] = model.read_gradient(entry.name);
      }
    }
    if (step == 0) {
      result.loss = model.loss();
    }
  }
  for (const Parameters::Entry& entry : model.plan().parameters().entries()) {
    result.state[entry.name] = model.read(entry.name);
  }
  model.set_images(pixels, moved, false);
  model.infer();
  result.logits = model.logits();
  return result;
}

class EmulatedNetwork : public testing::TestWithParam<nn::MemoryMode> {
 protected:
  ~EmulatedNetwork() override { emulation::set_order(Order::kChanging); }
};

TEST_P(EmulatedNetwork, HasTheSameBitsInEveryOrder) {
  const std::unique_ptr<Device> device = make_device("cuda:0");
  emulation::set_order(Order::kAscending);
  const Result expected = trained(*device, GetParam());
  ASSERT_TRUE(std::isfinite(expected.loss));
  for (const Order order : {Order::kDescending, Order::kShuffled, Order::kChanging}) {
    emulation::set_order(order);
    const Result got = trained(*device, GetParam());
    EXPECT_EQ(got.loss, expected.loss);
    EXPECT_EQ(got.gradients, expected.gradients);
    EXPECT_EQ(got.state, expected.state);
    EXPECT_EQ(got.logits, expected.logits);
  }
}

double largest_of(const std::vector<float>& values) {
  double largest = 0;
  for (const float value : values) {
    largest = std::max(largest, std::abs(double{value}));
  }
  return largest;
}

// To `tolerance` of a tensor's largest element, and a hundredth of that of the largest of all: a scale in front of
// another normalisation has a gradient of nothing but rounding.
void expect_near(const State& a, const State& b, double tolerance) {
  double largest = 0;
  for (const auto& [name, values] : b) {
    largest = std::max(largest, largest_of(values));
  }
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, values] : b) {
    std::vector<float> difference = a.at(name);
    std::ranges::transform(difference, values, difference.begin(), std::minus<>());
    EXPECT_LE(largest_of(difference), tolerance * (largest_of(values) + 0.01 * largest)) << name;
  }
}

TEST_P(EmulatedNetwork, AgreesWithTheCpu) {
  const Result cpu = trained(*make_device("cpu", 1), GetParam()), cuda = trained(*make_device("cuda:0"), GetParam());
  EXPECT_NEAR(cuda.loss, cpu.loss, 1e-6 * cpu.loss);
  expect_near(cuda.gradients, cpu.gradients, 1e-4);
  expect_near({{"logits", cuda.logits}}, {{"logits", cpu.logits}}, 1e-2);  // Adam divides small gradients by their size
}

// A device on the caller's stream queues there and leaves it to the caller.
// In planning: before there is memory for any.
TEST(EmulatedDevice, RefusesMorePixelsThanItsKernelsCount) {
  const std::unique_ptr<Device> device = make_device("cuda:0");
  for (const auto& [images, fits] : {std::pair<std::int64_t, bool>{131071, true}, {131072, false}}) {
    Tensor x = make_view(nullptr, {images, 4, 128, 128}, Layout::kInterleaved);
    x.storage = 0;
    try {
      device->prepare(op::Copy{.x = x, .y = x});
      EXPECT_TRUE(fits);
    } catch (const Error& error) {
      EXPECT_FALSE(fits);
      EXPECT_NE(std::string(error.what()).find("copy: CUDA kernels count fewer than 2^31 pixels"), std::string::npos)
          << error.what();
    }
  }
}

TEST(EmulatedStream, MayBeTheCallers) {
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  std::vector<float> values{-2, 0, 1}, got(3);
  {
    const std::unique_ptr<Device> device = make_device("cuda:0", 0, stream);
    const std::vector<float> weights{2, 1};
    const DeviceArray<float> x(*device, std::span<const float>(values)), y(*device, 3),
        w(*device, std::span<const float>(weights));
    const auto column = [](const DeviceArray<float>& array) {
      return make_view(array.data(), {3, 1, 1, 1}, Layout::kPlanar);
    };
    const op::Linear linear{.x = column(x), .w = {w.data(), 1}, .b = {w.data() + 1, 1}, .y = column(y)};
    std::vector<Refusal> refusals;
    device->prepare(linear, &refusals)->run(linear, nullptr);
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);  // the caller's wait is enough
    ASSERT_EQ(cudaMemcpyAsync(got.data(), y.data(), sizeof(float) * 3, cudaMemcpyDeviceToHost, stream), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(got[i], 2 * values[i] + 1);
  }
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

INSTANTIATE_TEST_SUITE_P(Memory, EmulatedNetwork,
                         testing::Values(nn::MemoryMode::kStore, nn::MemoryMode::kShared, nn::MemoryMode::kRecompute),
                         [](const auto& tested) { return std::string(name_of(tested.param)); });

}  // namespace
}  // namespace densetree::test
