// Reduced precisions are the same network with rounding: near fp32, as near as their mantissas say, in every memory
// mode and way of batch norm, with half of fp32's activations in memory where they are bf16.
#include <algorithm>
#include <cmath>

#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"

namespace densetree::test {
namespace {

using nn::BatchNorm;
using nn::MemoryMode;
using nn::Model;

constexpr std::pair<Precision, double> kTolerances[] = {  // of the largest logit
    {Precision::kTensorFloat32, 3e-3},
    {Precision::kBFloat16, 3e-2}};

// Channels in whole vectors, so that the fused convolutions are among what is tested; and a plain odd network.
nn::ModelOptions options_of(const char* arch, Precision precision, MemoryMode mode = MemoryMode::kShared,
                            BatchNorm way = BatchNorm::kAuto) {
  nn::ModelOptions options = small_options(mode);
  options.arch = nn::parse_architecture(arch);
  options.batch_norm = way;
  options.precision = precision;
  return options;
}
constexpr const char* kNetworks[] = {"growth=16,blocks=2-4-2,init=32", kSmall};

struct Outcome {
  std::vector<double> logits, evaluated, gradients, state;
  double loss = 0;
  bool operator==(const Outcome&) const = default;
};

std::vector<double> to_doubles(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

// Logits, loss and gradients of the first step; the state after a second; what it then infers.
Outcome outcome_of(Device& device, const nn::ModelOptions& options) {
  Model model(device, options);
  model.initialize(1);
  model.set_poison(true);
  Outcome outcome;
  train_on(model, 0);
  outcome.logits = to_doubles(model.training_logits());
  outcome.loss = model.loss();
  const auto entries = model.plan().parameters().entries();
  for (const Parameters::Entry& entry : entries) {
    if (entry.kind == Parameters::Kind::kWeight) {
      const std::vector<double> part = to_doubles(model.read_gradient(entry.name));
      outcome.gradients.insert(outcome.gradients.end(), part.begin(), part.end());
    }
  }
  train_on(model, 1);
  for (const Parameters::Entry& entry : entries) {
    const std::vector<double> part = to_doubles(model.read(entry.name));
    outcome.state.insert(outcome.state.end(), part.begin(), part.end());
  }
  model.set_input(random_input(options, 9), false);
  model.infer();
  outcome.evaluated = to_doubles(model.logits());
  return outcome;
}

double farthest(const std::vector<double>& a, const std::vector<double>& b) {
  double worst = 0, largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(a[i] - b[i])), largest = std::max(largest, std::abs(b[i]));
  }
  return worst / largest;
}

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  double dot = 0, of_a = 0, of_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    dot += a[i] * b[i], of_a += a[i] * a[i], of_b += b[i] * b[i];
  }
  return dot / std::sqrt(of_a * of_b);
}

class PrecisionTest : public DeviceTest {
 protected:
  // Fused only where the network has whole vectors of channels; auto takes what there is.
  std::vector<BatchNorm> ways(const std::string& network, Precision precision) {
    std::vector<BatchNorm> ways{BatchNorm::kPlain, BatchNorm::kFactored, BatchNorm::kAuto};
    if (network == kNetworks[0] && why_not_fused(device(), precision).empty()) {
      ways.push_back(BatchNorm::kFused);
    }
    return ways;
  }
  // Those beside fp32 that the device has. Skips where there is none.
  void for_each_precision(const std::function<void(Precision, double tolerance)>& body) {
    std::string why_not;
    bool any = false;
    for (const auto& [precision, tolerance] : kTolerances) {
      why_not = device().why_not(precision);
      if (why_not.empty()) {
        any = true;
        SCOPED_TRACE(name_of(precision));
        body(precision, tolerance);
      }
    }
    if (!any) {
      GTEST_SKIP() << why_not;
    }
  }
};

TEST_P(PrecisionTest, StaysNearFp32) {
  for (const char* network : kNetworks) {
    SCOPED_TRACE(network);
    const Outcome exact = outcome_of(device(), options_of(network, Precision::kFloat32));
    for_each_precision([&](Precision precision, double tolerance) {
      for (const BatchNorm way : ways(network, precision)) {
        SCOPED_TRACE(name_of(way));
        const Outcome got = outcome_of(device(), options_of(network, precision, MemoryMode::kShared, way));
        EXPECT_NE(got.logits, exact.logits);
        EXPECT_LT(farthest(got.logits, exact.logits), tolerance);
        EXPECT_NEAR(got.loss, exact.loss, tolerance * exact.loss);
        EXPECT_GT(cosine(got.gradients, exact.gradients), 1 - 3 * tolerance);
      }
    });
  }
}

TEST_P(PrecisionTest, EveryMemoryModeGivesTheSameBits) {
  for_each_precision([&](Precision precision, double) {
    for (const BatchNorm way : ways(kNetworks[0], precision)) {
      const Outcome store = outcome_of(device(), options_of(kNetworks[0], precision, MemoryMode::kStore, way));
      for (const MemoryMode mode : {MemoryMode::kShared, MemoryMode::kRecompute}) {
        EXPECT_TRUE(outcome_of(device(), options_of(kNetworks[0], precision, mode, way)) == store)
            << name_of(way) << ", " << name_of(mode);
      }
    }
  });
}

// Half of what is kept; a workspace that widens operands, those of products (32 MiB on a Hopper GPU, whatever the size)
// and what is fp32 in any case come on top.
TEST_P(PrecisionTest, BFloat16SavesMemory) {
  if (const std::string why_not = device().why_not(Precision::kBFloat16); !why_not.empty()) {
    GTEST_SKIP() << why_not;
  }
  const auto bytes = [&](Precision precision, MemoryMode mode) {
    nn::ModelOptions options = options_of(kNetworks[0], precision, mode);
    options.batch_size = 256, options.image_size = 64;
    return static_cast<double>(nn::ModelPlan(device(), options).step_bytes());
  };
  const double share = why_not_fused(device(), Precision::kBFloat16).empty() ? 0.65 : 0.75;
  for (const MemoryMode mode : {MemoryMode::kStore, MemoryMode::kShared}) {
    EXPECT_LT(bytes(Precision::kBFloat16, mode), share * bytes(Precision::kFloat32, mode)) << name_of(mode);
  }
}

RUN_ON_DEVICES(PrecisionTest);

}  // namespace
}  // namespace densetree::test
