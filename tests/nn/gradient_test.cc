// The gradients of a whole network: against finite differences of its loss, and of its last layer against the loss's
// definition, with missing targets and weighted positives.
#include <cmath>
#include <limits>
#include <map>

#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"
#include "tests/nn/temporary.h"

namespace densetree::test {
namespace {

using nn::Model;
using nn::ModelOptions;
using Weights = std::map<std::string, std::vector<float>>;

constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();

class GradientTest : public DeviceTest {
 protected:
  static Weights weights_of(const Model& model, bool gradients) {
    Weights weights;
    for (const Parameters::Entry& entry : model.plan().parameters().entries()) {
      if (entry.kind == Parameters::Kind::kWeight) {
        weights[entry.name] = gradients ? model.read_gradient(entry.name) : model.read(entry.name);
      }
    }
    return weights;
  }
  // Loads the model's own state with these weights in place of its own.
  static void set_weights(Model& model, const Weights& weights) {
    const TemporaryFolder folder;
    const std::int64_t zero = 0;
    std::map<std::string, std::vector<float>> running;
    TensorWriter writer;
    for (const ExpectedTensor& tensor : model.expected_tensors()) {
      if (const auto it = weights.find(tensor.name); it != weights.end()) {
        writer.add(tensor.name, TensorType::kFloat32, tensor.shape, it->second.data());
      } else if (tensor.name.ends_with("num_batches_tracked")) {
        writer.add(tensor.name, TensorType::kInt64, {}, &zero);
      } else {
        running[tensor.name] = model.read(tensor.name);
        writer.add(tensor.name, TensorType::kFloat32, tensor.shape, running[tensor.name].data());
      }
    }
    writer.write(folder / "weights.safetensors");
    model.load(TensorFile::open(folder / "weights.safetensors"), LoadPolicy::kStrict, false, 1);
  }
  // The loss of training on this batch, weights left as they are.
  static double loss_of(Model& model, const std::vector<float>& input, const std::vector<float>& targets) {
    model.set_input(input, true);
    model.set_targets(targets);
    model.train_step({.lr = 0});
    return model.loss();
  }
};

// Each tensor alone, along its gradient and as much noise: gradient · d = (L(w + h·d) − L(w − h·d)) / 2h.
TEST_P(GradientTest, AgreesWithFiniteDifferencesOfTheLoss) {
  for (const LossKind kind : {LossKind::kMse, LossKind::kBce}) {
    ModelOptions options = small_options();
    options.loss = kind;
    options.image_size = 64;
    Model model(device(), options);
    model.initialize(3);
    const std::vector<float> input = random_input(options, 4), targets = random_targets(options, 5);
    Weights start = weights_of(model, false);
    for (auto& [name, values] : start) {  // scales of 1 without shifts are degenerate: later norms undo them
      if (name.find("norm") != std::string::npos) {
        const bool shift = name.ends_with(".bias");
        values = random_floats(values.size(), 6, shift ? -0.2f : 0.5f, shift ? 0.2f : 1.5f);
      }
    }
    set_weights(model, start);
    loss_of(model, input, targets);
    const Weights gradient = weights_of(model, true);
    for (const std::string name :
         {"features.conv0.weight", "features.denseblock1.denselayer1.norm1.weight",
          "features.denseblock1.denselayer1.conv1.weight", "features.denseblock1.denselayer2.norm2.bias",
          "features.transition1.conv.weight", "features.denseblock2.denselayer3.conv2.weight", "features.norm5.weight",
          "classifier.weight"}) {
      const std::vector<float>&g = gradient.at(name), noise = random_floats(g.size(), 10);
      double norm = 0;
      for (const float value : g) {
        norm += double{value} * value;
      }
      std::vector<double> direction;
      double slope = 0;
      for (std::size_t i = 0; i < g.size(); ++i) {
        direction.push_back(g[i] + std::sqrt(norm / static_cast<double>(g.size())) * noise[i]);
        slope += g[i] * direction[i];
      }
      // The loss changes by 2e-5: few ReLUs change sides, and its rounding is a hundredth of that.
      const double h = 1e-5 / slope;
      double losses[2];
      for (const int side : {0, 1}) {
        Weights moved = start;
        for (std::size_t i = 0; i < g.size(); ++i) {
          moved[name][i] = static_cast<float>(moved[name][i] + (side ? h : -h) * direction[i]);
        }
        set_weights(model, moved);
        losses[side] = loss_of(model, input, targets);
      }
      EXPECT_NEAR((losses[1] - losses[0]) / (2 * h) / slope, 1, 3e-2) << name;
    }
  }
}

// Loss and ∂L/∂z by docs/method.md §1 in float64 from the network's own logits.
struct Expected {
  double loss = 0;
  std::vector<double> dz;
};
Expected expected_loss(const ModelOptions& o, const std::vector<float>& z, const std::vector<float>& y) {
  Expected result;
  double terms = 0;
  for (std::size_t i = 0; i < z.size(); ++i) {
    terms += !std::isnan(y[i]);
  }
  for (std::size_t i = 0; i < z.size(); ++i) {
    if (std::isnan(y[i])) {
      result.dz.push_back(0);
      continue;
    }
    const double s = 1 / (1 + std::exp(-double{z[i]})), difference = s - y[i];
    const double weight = o.positive_weights.empty() || y[i] == 0 ? 1 : o.positive_weights[i % o.labels];
    const bool mse = o.loss == LossKind::kMse;
    result.loss +=
        weight / terms * (mse ? difference * difference : -(y[i] * std::log(s) + (1 - y[i]) * std::log1p(-s)));
    result.dz.push_back(weight / terms * (mse ? 2 * difference * s * (1 - s) : difference));
  }
  return result;
}

void expect_loss_and_bias_gradient(Model& model, const std::vector<float>& targets) {
  const ModelOptions& o = model.options();
  const Expected want = expected_loss(o, model.training_logits(), targets);
  EXPECT_NEAR(model.loss(), want.loss, 1e-6 * want.loss);
  const std::vector<float> bias = model.read_gradient("classifier.bias");
  for (std::int64_t l = 0; l < o.labels; ++l) {
    double gradient = 0, scale = 0;
    for (std::int64_t n = 0; n < o.batch_size; ++n) {
      gradient += want.dz[n * o.labels + l];
      scale += std::abs(want.dz[n * o.labels + l]);
    }
    EXPECT_NEAR(bias[l], gradient, 1e-5 * scale + 1e-12) << "label " << l;
  }
}

TEST_P(GradientTest, MissingTargetsCarryNoLossAndNoGradient) {
  for (const LossKind kind : {LossKind::kMse, LossKind::kBce}) {
    ModelOptions options = small_options();
    options.loss = kind;
    Model model(device(), options);
    model.initialize(3);
    std::vector<float> targets = random_targets(options, 5);
    targets[0] = targets[7] = kMissing;
    for (std::int64_t n = 0; n < options.batch_size; ++n) {
      targets[n * options.labels + 3] = kMissing;  // nobody was asked for label 3
    }
    loss_of(model, random_input(options, 4), targets);
    expect_loss_and_bias_gradient(model, targets);
    EXPECT_EQ(model.read_gradient("classifier.bias")[3], 0);
  }
}

TEST_P(GradientTest, PositiveWeightsWeighTheTermsOfPositives) {
  for (const LossKind kind : {LossKind::kMse, LossKind::kBce}) {
    ModelOptions options = small_options();
    options.loss = kind;
    options.positive_weights = {1, 2, 0.5f, 10, 0};
    Model model(device(), options);
    model.initialize(3);
    const std::vector<float> targets = random_targets(options, 5);
    for (int step = 0; step < 2; ++step) {  // they are there in later steps, too
      loss_of(model, random_input(options, 4 + step), targets);
      expect_loss_and_bias_gradient(model, targets);
    }
  }
}

RUN_ON_DEVICES(GradientTest);

}  // namespace
}  // namespace densetree::test
