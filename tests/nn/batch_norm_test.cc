// The three ways of batch norm are one function: same losses, gradients and running averages to rounding, whatever is
// kept, dropped or made again; and within one way every memory mode gives the same bits.
#include <cmath>

#include "tests/error_of.h"
#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"

namespace densetree::test {
namespace {

using nn::BatchNorm;
using nn::MemoryMode;
using nn::Model;

// Channels in whole vectors, so that every convolution of a block has its fused form where the device has one.
nn::ModelOptions options_of(BatchNorm way, MemoryMode mode = MemoryMode::kShared) {
  nn::ModelOptions options = small_options(mode);
  options.arch = nn::parse_architecture("growth=16,blocks=2-4-2,init=32");
  options.batch_norm = way;
  return options;
}

class BatchNormTest : public DeviceTest {
 protected:
  bool has_fused() { return why_not_fused(device(), Precision::kFloat32).empty(); }
  std::vector<BatchNorm> ways() {
    std::vector<BatchNorm> ways{BatchNorm::kPlain, BatchNorm::kFactored, BatchNorm::kAuto};
    if (has_fused()) {
      ways.push_back(BatchNorm::kFused);
    }
    return ways;
  }
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
  for (const BatchNorm way : ways()) {
    Model other(device(), options_of(way));
    other.initialize(1);
    train_on(other, 1);
    EXPECT_NEAR(other.loss(), plain.loss(), 1e-6 * plain.loss()) << name_of(way);
    EXPECT_LT(distance(gradients_of(other), expected), 1e-5) << name_of(way);
    for (const Parameters::Entry& entry : plain.plan().parameters().entries()) {
      if (entry.kind != Parameters::Kind::kWeight) {
        const std::vector<float> a = plain.read(entry.name), b = other.read(entry.name);
        EXPECT_LT(distance({b.begin(), b.end()}, {a.begin(), a.end()}), 1e-5) << name_of(way) << ' ' << entry.name;
      }
    }
  }
}

TEST_P(BatchNormTest, EveryWayPredictsTheSame) {
  std::vector<std::vector<double>> logits;
  for (const BatchNorm way : ways()) {
    Model model(device(), options_of(way));
    model.initialize(1);
    model.set_input(random_input(model.options(), 9), false);
    model.infer();
    const std::vector<float> values = model.logits();
    logits.emplace_back(values.begin(), values.end());
  }
  for (const std::vector<double>& other : logits) {
    EXPECT_LT(distance(other, logits[0]), 1e-5);
  }
}

TEST_P(BatchNormTest, EveryMemoryModeGivesTheSameBits) {
  for (const BatchNorm way : ways()) {
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
      const std::string what = fmt::format("{}, {}", name_of(way), name_of(mode));
      EXPECT_EQ(other.loss(), store.loss()) << what;
      expect_same_state(store, other, what);
    }
  }
}

// The switch does something. Factored, the statistics of each of the 16 + 3 + 1 maps are taken once and its gradient is
// made once; plain, each of the 20 batch norms does both for all channels that it reads; fused, most are part of
// another operation.
TEST_P(BatchNormTest, EachWayIsANetworkOfItsOwn) {
  const auto normalized_channels = [&](BatchNorm way) {
    const nn::ModelPlan plan(device(), options_of(way, MemoryMode::kStore));
    std::int64_t channels = 0;
    for (const Step& step : plan.training()->tape.steps()) {
      const auto* gradient = std::get_if<op::NormalizeGradient>(&step.operation);
      channels += gradient != nullptr ? gradient->x.c : 0;
    }
    return channels;
  };
  const auto steps = [&](BatchNorm way) {
    return nn::ModelPlan(device(), options_of(way, MemoryMode::kStore)).training()->tape.steps().size();
  };
  EXPECT_LT(normalized_channels(BatchNorm::kFactored), normalized_channels(BatchNorm::kPlain));
  if (has_fused()) {
    EXPECT_LT(steps(BatchNorm::kFused), steps(BatchNorm::kFactored));
  }
  EXPECT_EQ(steps(BatchNorm::kAuto),
            steps(device().prefers_fused() && has_fused() ? BatchNorm::kFused : BatchNorm::kFactored));
}

// Twelve channels fill no vectors; a device without fused forms in this precision says why.
TEST_P(BatchNormTest, FusedWhereItIsNotThereIsAnErrorThatNamesTheLayer) {
  nn::ModelOptions options = options_of(BatchNorm::kFused);
  options.arch = nn::parse_architecture("growth=12,blocks=2-1,init=16");
  const std::string error = error_of([&] { nn::ModelPlan(device(), options); });
  EXPECT_NE(error.find("batch norm fused: features.denseblock1.denselayer"), std::string::npos) << error;
  EXPECT_NE(error.find(" has no fused form on " + device().info().name + ": "), std::string::npos) << error;
  EXPECT_NE(error.find(has_fused() ? "multiples of" : why_not_fused(device(), Precision::kFloat32)), std::string::npos)
      << error;
}

TEST_P(BatchNormTest, AutoCountsWhatItTook) {
  const auto counts = [&](BatchNorm way, const char* arch) {
    nn::ModelOptions options = options_of(way);
    options.arch = nn::parse_architecture(arch);
    return nn::ModelPlan(device(), options).batch_norms();
  };
  // Two a layer of a block, one a transition, the first and the last. The latter three have no convolution behind them
  // that could take them in.
  const char* const whole = "growth=16,blocks=2-4-2,init=32";
  EXPECT_EQ(counts(BatchNorm::kPlain, whole).describe(), "20 plain");
  EXPECT_EQ(counts(BatchNorm::kFactored, whole).describe(), "20 factored");
  if (has_fused()) {
    EXPECT_EQ(counts(BatchNorm::kFused, whole).describe(), "16 fused, 4 factored");
  }
  if (device().prefers_fused() && has_fused()) {
    EXPECT_EQ(counts(BatchNorm::kAuto, whole).describe(), "16 fused, 4 factored");
    const nn::BatchNormCounts odd = counts(BatchNorm::kAuto, "growth=12,blocks=2-1,init=16");
    EXPECT_EQ(odd.fused + odd.factored, 9);
    EXPECT_GT(odd.refused, 0);
    EXPECT_NE(odd.refusal.find("multiples of"), std::string::npos) << odd.refusal;
    EXPECT_NE(odd.describe().find(odd.refusal), std::string::npos);
  }
}

// z and its gradient have no storage where batch norm is fused and z is not kept.
TEST_P(BatchNormTest, FusingNeedsNoMoreMemory) {
  if (const std::string why_not = why_not_fused(device(), Precision::kFloat32); !why_not.empty()) {
    GTEST_SKIP() << why_not;
  }
  for (const MemoryMode mode : {MemoryMode::kShared, MemoryMode::kRecompute}) {
    const auto bytes = [&](BatchNorm way) {
      nn::ModelOptions options = options_of(way, mode);
      options.batch_size = 32;
      return nn::ModelPlan(device(), options).step_bytes();
    };
    EXPECT_LE(bytes(BatchNorm::kFused), bytes(BatchNorm::kFactored)) << name_of(mode);
  }
}

RUN_ON_DEVICES(BatchNormTest);

}  // namespace
}  // namespace densetree::test
