// Networks that are no DenseNet: residual sums, where a tensor is read as it is, by its statistics and normalised.
// Their gradients are held against finite differences, in every memory mode and way of batch norm.
#include <cmath>

#include "engine/arena.h"
#include "nn/builder.h"
#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"

namespace densetree::test {
namespace {

using nn::BatchNorm;
using nn::Feature;
using nn::MemoryMode;
using Kind = Parameters::Kind;

constexpr std::int64_t kImages = 4, kSide = 8, kLabels = 3;

// conv, norm, ReLU; then twice x + conv(ReLU(norm(x))), the second time through fewer channels of it; the mean of
// ReLU(norm(x)) to the logits.
class ResidualNetwork {
 public:
  ResidualNetwork(Device& device, MemoryMode memory, BatchNorm batch_norm) : device_(device), tape_(device) {
    build({.memory = memory, .batch_norm = batch_norm});
    for (const auto& [name, kind] : {std::pair{nn::kWeights, Kind::kWeight},
                                     {nn::kRunningMean, Kind::kRunningMean},
                                     {nn::kRunningVariance, Kind::kRunningVariance}}) {
      persistent_.add(name, parameters_.size(kind) * sizeof(float));
    }
    arena_ = std::make_unique<Arena>(device, persistent_.bytes() + tape_.bytes());
    persistent_.place(arena_->at(0));
    tape_.bind(arena_->at(persistent_.bytes()), persistent_);
    tape_.set_poison(true);
  }

  const Parameters& parameters() const { return parameters_; }
  // The loss with these weights, and the gradients of all of them.
  double run(const std::vector<float>& weights, const std::vector<float>& image, std::vector<float>* gradients) {
    const std::vector<float> targets = random_floats(kImages * kLabels, 7, 0, 1);
    device_.upload(persistent_.at(nn::kWeights), weights.data(), weights.size() * sizeof(float));
    device_.upload(tape_.address(image_), image.data(), image.size() * sizeof(float));
    device_.upload(tape_.address(targets_), targets.data(), targets.size() * sizeof(float));
    tape_.run();
    double loss = 0;
    device_.download(&loss, tape_.address(loss_), sizeof loss);
    if (gradients != nullptr) {
      const auto all = tape_.external<float>(nn::kWeights, 0, static_cast<std::int64_t>(weights.size()));
      gradients->resize(weights.size());
      device_.download(gradients->data(), tape_.address(tape_.gradient(all)), weights.size() * sizeof(float));
    }
    return loss;
  }

 private:
  void build(const nn::BuildOptions& options) {
    image_ = tape_.tensor("image", {kImages, kInputChannels, kSide, kSide}, Layout::kPlanar);
    const Tensor input = tape_.tensor("input", {kImages, kInputChannels, kSide, kSide}, device_.layout(Use::kInput));
    tape_.keep(image_.storage);
    tape_.set_constant(image_.storage);
    tape_.set_constant(input.storage);
    tape_.add("input", op::Copy{.x = image_, .y = input});
    nn::Builder b(tape_, parameters_, options);
    Tensor x = b.convolution("conv0", input, {.out = 32, .kernel = 3, .padding = 1});
    x = b.norm_relu("norm0", b.normalize(x), Use::kSpatial);
    const Feature once = b.normalize(x);
    const Tensor inner = b.convolution("conv1", b.norm_relu("norm1", once, Use::kSpatial),
                                       {.out = 32, .kernel = 3, .padding = 1, .role = nn::Role::kBottleneck});
    const Tensor sum = b.add(x, inner);
    const Feature twice = b.normalize(sum);
    const Tensor half = b.norm_relu("norm2", twice.slice(0, 16), Use::kSpatial);
    x = b.add(sum, b.convolution("conv2", half, {.out = 32, .kernel = 3, .padding = 1}));
    x = b.norm_relu("norm3", b.normalize(b.add(x, b.norm_relu("norm4", twice, Use::kSpatial))), Use::kSpatial);
    const Tensor logits = b.linear("classifier", b.global_average_pool(x), kLabels);

    targets_ = tape_.array<float>("targets", kImages * kLabels);
    loss_ = tape_.array<double>("loss", 1);
    tape_.keep(targets_.storage);
    tape_.keep(loss_.storage);
    const Tensor dz = tape_.tensor("grad logits", logits.shape(), logits.layout);
    tape_.add("loss", op::Loss{.kind = LossKind::kBce, .z = logits, .y = targets_, .loss = loss_, .dz = dz});
    tape_.make_gradients(nn::kWeights, "gradients", parameters_.size(Kind::kWeight));
    tape_.freeze(true);
  }

  Device& device_;
  Tape tape_;
  Parameters parameters_;
  Persistent persistent_;
  std::unique_ptr<Arena> arena_;
  Tensor image_;
  Array<float> targets_;
  Array<double> loss_;
};

class ResidualTest : public DeviceTest {
 protected:
  // Around 1 for batch norm's scales, around 0 for the rest.
  static std::vector<float> weights_of(const Parameters& parameters) {
    std::vector<float> weights = random_floats(parameters.size(Kind::kWeight), 3, -0.3f, 0.3f);
    for (const Parameters::Entry& entry : parameters.entries()) {
      if (entry.kind == Kind::kWeight && entry.name.starts_with("norm") && entry.name.ends_with("weight")) {
        for (std::int64_t i = 0; i < entry.elements; ++i) {
          weights[entry.offset + i] += 1;
        }
      }
    }
    return weights;
  }
  const std::vector<float> image_ = random_floats(kImages * kInputChannels * kSide * kSide, 5);
};

TEST_P(ResidualTest, GradientsAgreeWithFiniteDifferences) {
  for (const BatchNorm way : {BatchNorm::kPlain, BatchNorm::kFactored}) {
    ResidualNetwork network(device(), MemoryMode::kShared, way);
    const std::vector<float> weights = weights_of(network.parameters());
    std::vector<float> gradients;
    network.run(weights, image_, &gradients);
    for (const Parameters::Entry& entry : network.parameters().entries()) {
      if (entry.kind != Kind::kWeight) {
        continue;
      }
      // Along the gradient of this tensor, where the difference is largest beside rounding.
      double square = 0;
      for (std::int64_t i = 0; i < entry.elements; ++i) {
        square += double{gradients[entry.offset + i]} * gradients[entry.offset + i];
      }
      const double length = std::sqrt(square), h = 2e-3;
      if (length < 1e-6) {
        continue;  // shifts that a batch norm behind them takes out again
      }
      std::vector<float> up = weights, down = weights;
      double expected = 0;  // of the weights as fp32 holds them
      for (std::int64_t i = entry.offset; i < entry.offset + entry.elements; ++i) {
        up[i] += static_cast<float>(h * gradients[i] / length);
        down[i] -= static_cast<float>(h * gradients[i] / length);
        expected += double{gradients[i]} * (double{up[i]} - down[i]);
      }
      const double difference = network.run(up, image_, nullptr) - network.run(down, image_, nullptr);
      EXPECT_NEAR(difference, expected, 0.02 * expected + 1e-7) << name_of(way) << ' ' << entry.name;
    }
  }
}

TEST_P(ResidualTest, EveryMemoryModeGivesTheSameBitsAndEveryWayTheSameGradients) {
  std::vector<float> plain;
  for (const BatchNorm way : {BatchNorm::kPlain, BatchNorm::kFactored}) {
    std::vector<float> kept;
    double loss = 0;
    for (const MemoryMode mode : {MemoryMode::kStore, MemoryMode::kShared, MemoryMode::kRecompute}) {
      ResidualNetwork network(device(), mode, way);
      std::vector<float> gradients;
      const double now = network.run(weights_of(network.parameters()), image_, &gradients);
      if (kept.empty()) {
        kept = gradients, loss = now;
      }
      EXPECT_EQ(now, loss) << name_of(mode);
      for (const Parameters::Entry& entry : network.parameters().entries()) {
        const auto begin = entry.kind == Kind::kWeight ? entry.offset : 0,
                   end = entry.kind == Kind::kWeight ? entry.offset + entry.elements : 0;
        EXPECT_TRUE(std::equal(gradients.begin() + begin, gradients.begin() + end, kept.begin() + begin))
            << name_of(mode) << ' ' << entry.name;
        for (std::int64_t i = begin; way == BatchNorm::kFactored && i < end; ++i) {
          ASSERT_NEAR(gradients[i], plain[i], 2e-5) << entry.name;
        }
      }
    }
    plain = kept;
  }
}

RUN_ON_DEVICES(ResidualTest);

}  // namespace
}  // namespace densetree::test
