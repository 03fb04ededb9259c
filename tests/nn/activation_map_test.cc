// Features that outlive inference, and class activation maps of them: pixel for pixel what the classifier added up.
#include "nn/activation_map.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/core/error.h"
#include "tests/error_of.h"
#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"

namespace densetree::test {
namespace {

using nn::activation_map;
using nn::Model;

nn::ModelOptions keeping(nn::ModelOptions options) {
  options.keep_features = true;
  return options;
}

class FeaturesTest : public DeviceTest {
 protected:
  // A model of these options with weights and running statistics of two training steps, fed with random input.
  std::unique_ptr<Model> fed_model(const nn::ModelOptions& options) {
    auto model = std::make_unique<Model>(device(), options);
    model->initialize(3);
    train_on(*model, 1), train_on(*model, 2);
    model->set_input(random_input(options, 4), false);
    return model;
  }
};

// ---- Features --------------------------------------------------------------------------------------

TEST_P(FeaturesTest, KeepingThemChangesNoBitOfTheAnswers) {
  const auto plain = fed_model(small_options()), keeps = fed_model(keeping(small_options()));
  plain->infer(), keeps->infer();
  EXPECT_EQ(keeps->logits(), plain->logits());
  EXPECT_EQ(keeps->embeddings(), plain->embeddings());
  EXPECT_EQ(keeps->read("classifier.weight"), plain->read("classifier.weight"));
}

TEST_P(FeaturesTest, KeepingThemTakesTheirOwnMemoryAtMost) {
  nn::ModelOptions options = small_options();
  options.training = false, options.image_size = 64;
  const nn::ModelPlan plain(device(), options), keeps(device(), keeping(options));
  const Tensor& features = keeps.inference()->features;
  const std::size_t bytes = storage_elements(features.shape(), features.layout) * sizeof(float);
  EXPECT_LE(keeps.bytes(), plain.bytes() + bytes + Planner::kAlignment);
}

// Against the device's own change of layout.
TEST_P(FeaturesTest, AreTheFeatureMapInPlanarOrder) {
  const auto model = fed_model(keeping(small_options()));
  model->infer();
  const Shape shape = model->feature_shape();
  EXPECT_EQ(shape, (Shape{4, model->options().arch.features(), 2, 2}));
  const nn::Graph& graph = *model->plan().inference();
  Tensor stored = graph.features;
  stored.data = graph.tape.address(graph.features);
  std::vector<float> planar(shape.elements());
  void* memory = device().allocate(planar.size() * sizeof(float));
  const op::Copy copy{.x = stored, .y = make_view(memory, shape, Layout::kPlanar)};
  std::vector<Refusal> refusals;
  device().prepare(copy, &refusals)->run(copy, nullptr);
  device().download(planar.data(), memory, planar.size() * sizeof(float));
  device().release(memory);
  EXPECT_EQ(model->features(), planar);
}

TEST_P(FeaturesTest, HaveTheEmbeddingsAsTheirMeans) {
  const auto model = fed_model(keeping(small_options()));
  model->set_poison(true);  // had their memory been given to others, they would be NaN
  model->infer();
  const std::vector<float> features = model->features(), embeddings = model->embeddings();
  const std::size_t pixels = model->feature_shape().pixels();
  ASSERT_EQ(features.size(), embeddings.size() * pixels);
  for (std::size_t i = 0; i < embeddings.size(); ++i) {
    double mean = 0;
    for (std::size_t p = 0; p < pixels; ++p) {
      EXPECT_GE(features[i * pixels + p], 0);  // after the ReLU
      mean += double{features[i * pixels + p]} / static_cast<double>(pixels);
    }
    EXPECT_NEAR(embeddings[i], mean, 1e-6 * (1 + mean));
  }
}

// What changes in a corner of the image changes features in that corner, and none beyond the network's reach.
TEST_P(FeaturesTest, LieWhereTheirCauseLies) {
  nn::ModelOptions options = keeping(small_options());
  options.batch_size = 1, options.image_size = 256;
  const auto model = fed_model(options);
  model->infer();
  const std::vector<float> before = model->features();
  std::vector<float> input = random_input(options, 4);
  for (std::int64_t y = 0; y < 16; ++y) {  // of channel 0, in the upper right
    std::fill_n(input.begin() + y * 256 + 240, 16, 3.0f);
  }
  model->set_input(input, false);
  model->infer();
  const std::vector<float> after = model->features();
  const Shape shape = model->feature_shape();
  ASSERT_EQ(shape, (Shape{1, options.arch.features(), 16, 16}));
  bool corner = false;
  for (std::size_t i = 0; i < after.size(); ++i) {
    const std::size_t y = i / 16 % 16, x = i % 16;
    if (y > 7 || x < 8) {
      EXPECT_EQ(after[i], before[i]) << x << ", " << y;
    }
    corner |= y == 0 && x == 15 && after[i] != before[i];
  }
  EXPECT_TRUE(corner);
}

TEST_P(FeaturesTest, AreThereOnlyWhereTheyWereKept) {
  Model model(device(), small_options());
  EXPECT_NE(error_of([&] { model.features(); }).find("set keep_features"), std::string::npos);
  EXPECT_NE(error_of([&] { model.feature_shape(); }).find("set keep_features"), std::string::npos);
  nn::ModelOptions options = keeping(small_options());
  options.inference = false;
  EXPECT_NE(error_of([&] { Model(device(), options); }).find("not made to predict"), std::string::npos);
}

// ---- Maps of a model -------------------------------------------------------------------------------

TEST_P(FeaturesTest, AMapsMeanAndTheBiasAreTheLogit) {
  nn::ModelOptions options = keeping(small_options());
  options.image_size = 96;  // 6×6 features
  const auto model = fed_model(options);
  model->infer();
  const Shape shape = model->feature_shape();
  const std::vector<float> features = model->features(), weights = model->read("classifier.weight"),
                           bias = model->read("classifier.bias"), logits = model->logits();
  const std::size_t image = shape.c * shape.pixels(), labels = options.labels;
  for (std::size_t n = 0; n < static_cast<std::size_t>(shape.n); ++n) {
    for (std::size_t l = 0; l < labels; ++l) {
      std::vector<double> leaf(labels, 0.0);
      leaf[l] = 1;
      const data::HeatMap map = activation_map(std::span(features).subspan(n * image, image), shape, weights, leaf);
      ASSERT_EQ(map.width, 6);
      ASSERT_EQ(map.height, 6);
      double mean = 0;
      for (const float value : map.values) {
        mean += value / 36.0;
      }
      EXPECT_NEAR(mean + bias[l], logits[n * labels + l], 1e-5 * (1 + std::abs(mean))) << n << ' ' << l;
    }
  }
}

RUN_ON_DEVICES(FeaturesTest);

// ---- Maps of made-up features ----------------------------------------------------------------------

TEST(ActivationMap, AddsUpChannelsAndLabels) {
  const Shape shape{7, 5, 3, 4};  // of a batch of 7, of which one image is given
  const std::vector<float> features = random_floats(5 * 12, 1), weights = random_floats(3 * 5, 2);
  const std::vector<double> gradients{0.3, -1.5, 0};
  const data::HeatMap map = activation_map(features, shape, weights, gradients);
  ASSERT_EQ(map.width, 4);
  ASSERT_EQ(map.height, 3);
  ASSERT_EQ(map.values.size(), 12u);
  for (std::size_t p = 0; p < 12; ++p) {
    double sum = 0;
    for (std::size_t l = 0; l < 3; ++l) {
      double leaf = 0;
      for (std::size_t c = 0; c < 5; ++c) {
        leaf += double{weights[l * 5 + c]} * features[c * 12 + p];
      }
      sum += gradients[l] * leaf;
    }
    EXPECT_NEAR(map.values[p], sum, 1e-6) << p;
  }
}

TEST(ActivationMap, LosesNothingWhereLargeTermsCancel) {
  const std::vector<float> features{1e9f, 1, 1e9f}, weights{1, 1, -1};
  EXPECT_EQ(activation_map(features, {1, 3, 1, 1}, weights, std::vector{1.0}).values, std::vector<float>{1});
}

TEST(ActivationMap, RefusesSizesThatDoNotGoTogether) {
  const std::vector<float> features(24), weights(12);
  const std::vector<double> gradients(3);
  const Shape shape{1, 4, 2, 3};
  EXPECT_NO_THROW(activation_map(features, shape, weights, gradients));
  const auto error = [&](const Shape& s, std::size_t labels) {
    return error_of([&] { activation_map(features, s, weights, std::vector<double>(labels)); });
  };
  EXPECT_NE(error({1, 4, 2, 2}, 3).find("24 features; (4, 2, 2) are 16"), std::string::npos);
  EXPECT_NE(error(shape, 2).find("12 weights; 2 labels of 4 channels have 8"), std::string::npos);
}

}  // namespace
}  // namespace densetree::test
