// The three ways of batch norm are one function: same losses, gradients and running averages to rounding, whatever is
// kept, dropped or made again; and within one way every memory mode gives the same bits.
#include <cmath>

#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"

namespace densetree::test {
namespace {

using nn::BatchNorm;
using nn::MemoryMode;
using nn::Model;

constexpr BatchNorm kWays[] = {BatchNorm::kPlain, BatchNorm::kFactored, BatchNorm::kFused};

// Channels in whole vectors, so that every convolution of a block has its fused form where the device has one.
nn::ModelOptions options_of(BatchNorm way, MemoryMode mode = MemoryMode::kShared) {
  nn::ModelOptions options = small_options(mode);
  options.arch = nn::parse_architecture("growth=16,blocks=2-3-2,init=32");
  options.batch_norm = way;
  return options;
}

class BatchNormTest : public DeviceTest {
 protected:
  static std::vector<double> gradients_of(const Model& model) {
    std::vector<double> all;
    for (const Parameters::Entry& entry : model.plan().parameters().entries()) {
      if (entry.kind == Parameters::Kind::kWeight) {
        const std::vector<float> part = model.read_gradient(entry.name);
        all.insert(all.end(), part.begin(), part.end());
      }
    }
    return all;
  }
  static double distance(const std::vector<double>& a, const std::vector<double>& b) {
    double difference = 0, size = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      difference += (a[i] - b[i]) * (a[i] - b[i]), size += b[i] * b[i];
    }
    return std::sqrt(difference / size);
  }
  static void expect_same_state(const Model& a, const Model& b, const std::string& what) {
    for (const Parameters::Entry& entry : a.plan().parameters().entries()) {
      EXPECT_EQ(a.read(entry.name), b.read(entry.name)) << what << ", " << entry.name;
    }
  }
};

TEST_P(BatchNormTest, EveryWayGivesTheSameGradientsAndRunningAverages) {
  Model plain(device(), options_of(BatchNorm::kPlain));
  plain.initialize(1);
  train_on(plain, 1);
  const std::vector<double> expected = gradients_of(plain);
  for (const BatchNorm way : {BatchNorm::kFactored, BatchNorm::kFused}) {
    Model other(device(), options_of(way));
    other.initialize(1);
    train_on(other, 1);
    EXPECT_NEAR(other.loss(), plain.loss(), 1e-6 * plain.loss()) << nn::name_of(way);
    EXPECT_LT(distance(gradients_of(other), expected), 1e-5) << nn::name_of(way);
    for (const Parameters::Entry& entry : plain.plan().parameters().entries()) {
      if (entry.kind == Parameters::Kind::kRunning) {
        const std::vector<float> a = plain.read(entry.name), b = other.read(entry.name);
        EXPECT_LT(distance({b.begin(), b.end()}, {a.begin(), a.end()}), 1e-5) << nn::name_of(way) << ' ' << entry.name;
      }
    }
  }
}

TEST_P(BatchNormTest, EveryWayPredictsTheSame) {
  std::vector<std::vector<double>> logits;
  for (const BatchNorm way : kWays) {
    Model model(device(), options_of(way));
    model.initialize(1);
    model.set_input(random_input(model.options(), 9), false);
    model.infer();
    const std::vector<float> values = model.logits();
    logits.emplace_back(values.begin(), values.end());
  }
  EXPECT_LT(distance(logits[1], logits[0]), 1e-5);
  EXPECT_LT(distance(logits[2], logits[0]), 1e-5);
}

TEST_P(BatchNormTest, EveryMemoryModeGivesTheSameBits) {
  for (const BatchNorm way : kWays) {
    Model store(device(), options_of(way, MemoryMode::kStore));
    store.initialize(1);
    for (int step = 0; step < 3; ++step) {
      train_on(store, step);
    }
    for (const MemoryMode mode : {MemoryMode::kShared, MemoryMode::kRecompute}) {
      Model other(device(), options_of(way, mode));
      other.initialize(1);
      other.set_poison(true);
      for (int step = 0; step < 3; ++step) {
        train_on(other, step);
      }
      const std::string what = fmt::format("{}, {}", nn::name_of(way), nn::name_of(mode));
      EXPECT_EQ(other.loss(), store.loss()) << what;
      expect_same_state(store, other, what);
    }
  }
}

// The switch does something: each way has fewer operations than the one before, where the device has the fused form.
TEST_P(BatchNormTest, EachWayIsANetworkOfItsOwn) {
  const auto steps = [&](BatchNorm way) {
    return nn::ModelPlan(device(), options_of(way, MemoryMode::kStore)).training()->tape.schedule().size();
  };
  EXPECT_LT(steps(BatchNorm::kPlain), steps(BatchNorm::kFactored));  // no operation of its own for statistics
  const bool fused =
      device().make_norm_convolution({.input = {4, 32, 8, 8}, .out_channels = 64}, {0, 32}, {0, 64}) != nullptr;
  if (fused) {
    EXPECT_LT(steps(BatchNorm::kFused), steps(BatchNorm::kFactored));
  } else {
    EXPECT_EQ(steps(BatchNorm::kFused), steps(BatchNorm::kFactored));
  }
}

// z and its gradient have no storage where batch norm is fused and z is not kept.
TEST_P(BatchNormTest, FusingNeedsNoMoreMemory) {
  for (const MemoryMode mode : {MemoryMode::kShared, MemoryMode::kRecompute}) {
    const auto bytes = [&](BatchNorm way) {
      nn::ModelOptions options = options_of(way, mode);
      options.batch_size = 32;
      return nn::ModelPlan(device(), options).step_bytes();
    };
    EXPECT_LE(bytes(BatchNorm::kFused), bytes(BatchNorm::kFactored)) << nn::name_of(mode);
  }
}

RUN_ON_DEVICES(BatchNormTest);

}  // namespace
}  // namespace densetree::test
