// Outputs that are not finite are refused, with the image and the layer they come from; probabilities are made in one
// place.
#include "nn/scoring.h"

#include <cmath>

#include "engine/io/safetensors.h"
#include "kernels/functors/image.h"
#include "tests/data/tiny_dataset.h"
#include "tests/error_of.h"
#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"
#include "tests/nn/temporary.h"

namespace densetree::test {
namespace {

constexpr std::int64_t kImages = 10, kSource = 20;

class ScoringTest : public DeviceTest {
 protected:
  ScoringTest() {
    make_folder(folder_ / "data");
    data::write_tiny_dataset(folder_ / "data", kImages, kSource);
    dataset_ = std::make_unique<data::Dataset>(folder_ / "data");
    nn::ModelOptions o = small_options();
    o.labels = 14, o.source_size = kSource, o.training = false;
    model_ = std::make_unique<nn::Model>(device(), o);
    model_->initialize(3);
  }

  // The model's weights with `value` as the first number of the tensor `name`.
  void spoil(const std::string& name, float value) {
    TensorWriter writer;
    std::vector<std::vector<float>> values;
    const std::vector<ExpectedTensor> tensors = model_->expected_tensors();
    values.reserve(tensors.size());
    for (const ExpectedTensor& tensor : tensors) {
      if (!tensor.name.ends_with("num_batches_tracked")) {
        values.push_back(model_->read(tensor.name));
        values.back()[0] = tensor.name == name ? value : values.back()[0];
        writer.add(tensor.name, TensorType::kFloat32, tensor.shape, values.back().data());
      }
    }
    writer.write(folder_ / "spoilt.safetensors");
    model_->load(TensorFile::open(folder_ / "spoilt.safetensors"), LoadPolicy::kStrict, false, 1);
  }
  std::string fault_of_scoring() {
    return error_of([&] { nn::score(*model_, *dataset_, data::LabelSet(), dataset_->all_rows()); });
  }

  const TemporaryFolder folder_;
  std::unique_ptr<data::Dataset> dataset_;
  std::unique_ptr<nn::Model> model_;
};

TEST_P(ScoringTest, NamesTheFirstImageAndLayer) {
  const struct {
    const char *tensor, *layer;
    float value;
    bool named;
  } faults[] = {
      {"features.norm5.running_var", "features.norm5", NAN, true},
      {"features.norm0.running_mean", "features.norm0", NAN, true},
      {"features.conv0.weight", "features.conv0", INFINITY, true},
      {"features.conv0.weight", "features.conv0", 3e38f, false},  // finite itself
      {"classifier.bias", "classifier", INFINITY, true},
      {"classifier.weight", "classifier", NAN, true},
  };
  for (const auto& fault : faults) {
    model_->initialize(3);
    spoil(fault.tensor, fault.value);
    const std::string message = fault_of_scoring();
    SCOPED_TRACE(fmt::format("{} in {}: {}", fault.value, fault.tensor, message));
    EXPECT_TRUE(message.starts_with(dataset_->row(0).image + ": the network's output is ")) << message;
    EXPECT_NE(message.find(fmt::format("the first layer whose output is not finite is {}", fault.layer)),
              std::string::npos);
    EXPECT_EQ(message.find(fmt::format("'{}' holds ", fault.tensor)) != std::string::npos, fault.named);
  }
}

TEST_P(ScoringTest, FeaturesAreRefusedToo) {
  spoil("features.norm5.weight", NAN);
  const std::string message = error_of([&] {
    nn::embed(*model_, *dataset_, {4, 7}, [](std::span<const float>) { FAIL() << "features were given out"; });
  });
  EXPECT_TRUE(message.starts_with(dataset_->row(4).image + ": ")) << message;
}

// One image of a batch, a white one among black ones, whose first sums are 1.04 times the largest number.
TEST_P(ScoringTest, NamesTheImageThatIsAtFault) {
  spoil("features.conv0.weight", 1.57e38f);
  std::vector<std::uint8_t> pixels(3 * kSource * kSource, 0);
  std::fill_n(pixels.begin() + kSource * kSource, kSource * kSource, 255);
  const std::vector<ImageTransform> transforms(3, resize_transform(kSource, 32));
  const std::string message = error_of([&] {
    nn::infer_logits(*model_, {pixels, transforms, [](std::size_t i) { return fmt::format("image {}", i); }});
  });
  EXPECT_TRUE(message.starts_with("image 1: the network's output is ")) << message;
  EXPECT_NE(message.find("not finite is features.conv0"), std::string::npos) << message;
}

TEST_P(ScoringTest, ProbabilitiesAreTheSigmoidOfLogitsInDouble) {
  const nn::Scores scores = nn::score(*model_, *dataset_, data::LabelSet(), dataset_->all_rows());
  ASSERT_EQ(scores.probabilities.size(), static_cast<std::size_t>(kImages * 14));
  for (std::size_t i = 0; i < scores.logits.size(); ++i) {
    EXPECT_DOUBLE_EQ(scores.probabilities[i], 1 / (1 + std::exp(-double{scores.logits[i]})));
  }
}

TEST_P(ScoringTest, StopsWhereItIsTold) {
  int batches = 0;
  const nn::Scores scores = nn::score(*model_, *dataset_, data::LabelSet(), dataset_->all_rows(),
                                      [&](std::int64_t) { return ++batches < 2; });
  EXPECT_EQ(scores.logits.size(), 8u * 14);
  EXPECT_EQ(scores.probabilities.size(), scores.logits.size());
}

RUN_ON_DEVICES(ScoringTest);

}  // namespace
}  // namespace densetree::test
