// What a model promises whatever its network: its steps, its state in files, inference, and errors.
#include "nn/model.h"

#include <algorithm>
#include <cmath>

#include "tests/error_of.h"
#include "tests/nn/counting_device.h"
#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"
#include "tests/nn/temporary.h"

namespace densetree::test {
namespace {

using nn::MemoryMode;
using nn::Model;
using Kind = Parameters::Kind;

class ModelTest : public DeviceTest {
 protected:
  void save(Model& model, const std::filesystem::path& path, bool optimizer) {
    TensorWriter writer;
    model.save(writer, optimizer);
    writer.write(path);
  }
  static void expect_same_state(const Model& a, const Model& b) {
    for (const Parameters::Entry& entry : a.plan().parameters().entries()) {
      EXPECT_EQ(a.read(entry.name), b.read(entry.name)) << entry.name;
    }
  }
};

// ---- Training --------------------------------------------------------------------------------------

TEST_P(ModelTest, LearnsAFixedBatch) {
  Model model(device(), small_options());
  model.initialize(1);
  train_on(model, 3);
  const double first = model.loss();
  for (int step = 0; step < 60; ++step) {
    train_on(model, 3);
  }
  EXPECT_LT(model.loss(), 0.3 * first);
}

TEST_P(ModelTest, TheSameSeedGivesTheSameBitsAndAnotherOneDoesNot) {
  Model a(device(), small_options()), b(device(), small_options());
  a.initialize(7), b.initialize(7);
  expect_same_state(a, b);
  train_on(a, 1), train_on(b, 1);
  expect_same_state(a, b);
  b.initialize(8);
  EXPECT_NE(a.read("features.conv0.weight"), b.read("features.conv0.weight"));
}

TEST_P(ModelTest, InitialWeightsAreTorchvisionsDistributions) {
  Model model(device(), small_options());
  model.initialize(1);
  for (const Parameters::Entry& entry : model.plan().parameters().entries()) {
    const std::vector<float> values = model.read(entry.name);
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    double square = 0;
    for (const float value : values) {
      square += double{value} * value / static_cast<double>(values.size());
    }
    if (entry.shape.size() == 4) {  // He normal over the inputs of one output
      const double variance = 2.0 * static_cast<double>(entry.shape[0]) / static_cast<double>(entry.elements);
      EXPECT_NEAR(square / variance, 1, 6 * std::sqrt(2.0 / static_cast<double>(entry.elements))) << entry.name;
    } else if (entry.shape.size() == 2) {  // uniform within ±1/sqrt(inputs)
      const double bound = 1 / std::sqrt(static_cast<double>(entry.shape[1]));
      EXPECT_GE(*low, -bound) << entry.name;
      EXPECT_LE(*high, bound) << entry.name;
      EXPECT_GT(*high - *low, bound) << entry.name;
    } else {
      const bool one = entry.name.ends_with("running_var") ||
                       (entry.name.find("norm") != std::string::npos && entry.name.ends_with(".weight"));
      EXPECT_EQ(*low, one ? 1.0f : 0.0f) << entry.name;
      EXPECT_EQ(*high, one ? 1.0f : 0.0f) << entry.name;
    }
  }
}

// One step from mean 0 and variance 1 leaves 0.1 of the batch's; a second one moves by 0.1 again. In every mode.
TEST_P(ModelTest, RunningAveragesMoveExactlyOnceAStep) {
  for (const MemoryMode mode : {MemoryMode::kStore, MemoryMode::kShared, MemoryMode::kRecompute}) {
    Model model(device(), small_options(mode));
    model.initialize(1);
    std::map<std::string, std::vector<float>> batch;  // the batch's own statistics, from the first step
    const AdamStep still{.lr = 0};                    // weights stay, so each step sees the same statistics
    for (int step = 1; step <= 3; ++step) {
      train_on(model, 5, still);
      for (const Parameters::Entry& entry : model.plan().parameters().entries()) {
        if (entry.kind == Kind::kWeight) {
          continue;
        }
        const double start = entry.name.ends_with("running_var") ? 1 : 0, kept = std::pow(0.9, step);
        const std::vector<float> now = model.read(entry.name);
        std::vector<float>& own = batch[entry.name];
        for (std::size_t c = 0; c < now.size(); ++c) {
          if (step == 1) {
            own.push_back(static_cast<float>((now[c] - 0.9 * start) / 0.1));
          }
          const double expected = kept * start + (1 - kept) * own[c];
          EXPECT_NEAR(now[c], expected, 1e-5 * (1 + std::abs(expected))) << name_of(mode) << " " << entry.name;
        }
      }
    }
  }
}

TEST_P(ModelTest, ClippingScalesTheGradientToTheNorm) {
  Model free(device(), small_options()), clipped(device(), small_options());
  free.initialize(1), clipped.initialize(1);
  train_on(free, 1);
  train_on(clipped, 1, {.clip_norm = 1e-3f});
  double square = 0;
  for (const Parameters::Entry& entry : free.plan().parameters().entries()) {
    if (entry.kind == Kind::kWeight) {
      for (const float g : free.read_gradient(entry.name)) {
        square += double{g} * g;
      }
    }
  }
  EXPECT_NEAR(clipped.gradient_norm(), std::sqrt(square), 1e-6 * std::sqrt(square));
  EXPECT_NE(free.read("classifier.weight"), clipped.read("classifier.weight"));
}

TEST_P(ModelTest, EveryMemoryModeGivesTheSameBits) {
  Model store(device(), small_options(MemoryMode::kStore));
  store.initialize(1);
  for (int step = 0; step < 3; ++step) {
    train_on(store, step);
  }
  for (const MemoryMode mode : {MemoryMode::kShared, MemoryMode::kRecompute}) {
    Model other(device(), small_options(mode));
    other.initialize(1);
    for (int step = 0; step < 3; ++step) {
      train_on(other, step);
    }
    EXPECT_EQ(other.loss(), store.loss()) << name_of(mode);
    expect_same_state(store, other);
  }
}

// A mode for each block: what the modes keep lies between, and no bit changes.
TEST_P(ModelTest, BlocksMayHaveMemoryModesOfTheirOwn) {
  using Modes = std::vector<MemoryMode>;
  const auto made = [&](MemoryMode all, const Modes& blocks) {
    nn::ModelOptions options = small_options(all);
    options.image_size = 64;
    options.block_memory = blocks;
    return std::make_unique<Model>(device(), options);
  };
  const auto store = made(MemoryMode::kStore, {});
  store->initialize(1);
  train_on(*store, 1);
  for (const Modes& blocks : {Modes{MemoryMode::kRecompute, MemoryMode::kStore, MemoryMode::kShared},
                              Modes{MemoryMode::kStore, MemoryMode::kStore, MemoryMode::kRecompute}}) {
    const auto mixed = made(MemoryMode::kStore, blocks);
    mixed->set_poison(true);
    mixed->initialize(1);
    train_on(*mixed, 1);
    EXPECT_EQ(mixed->loss(), store->loss());
    expect_same_state(*store, *mixed);
  }
  const auto again = [](const Model& model) {
    std::vector<std::string> layers;
    for (const Step& step : model.plan().training()->tape.steps()) {
      if (step.phase == Phase::kRecompute) {
        layers.push_back(step.name);
      }
    }
    return layers;
  };
  const auto second = made(MemoryMode::kStore, {MemoryMode::kStore, MemoryMode::kShared, MemoryMode::kStore});
  EXPECT_TRUE(again(*store).empty());
  ASSERT_FALSE(again(*second).empty());
  for (const std::string& layer : again(*second)) {
    EXPECT_TRUE(layer.find("denseblock2") != std::string::npos || layer.find("transition2") != std::string::npos ||
                layer.find("average pool") != std::string::npos)
        << layer;
  }
  EXPECT_LE(made(MemoryMode::kShared, {})->plan().step_bytes(), second->plan().step_bytes());
  EXPECT_LE(second->plan().step_bytes(), store->plan().step_bytes());
}

// Poison fills with NaN whatever is dead: had anything been read too late, it would show.
TEST_P(ModelTest, PoisonChangesNothing) {
  for (const MemoryMode mode : {MemoryMode::kStore, MemoryMode::kShared, MemoryMode::kRecompute}) {
    Model plain(device(), small_options(mode)), poisoned(device(), small_options(mode));
    plain.initialize(1), poisoned.initialize(1);
    poisoned.set_poison(true);
    for (int step = 0; step < 2; ++step) {
      train_on(plain, step), train_on(poisoned, step);
    }
    expect_same_state(plain, poisoned);
    plain.set_input(random_input(plain.options(), 9), false),
        poisoned.set_input(random_input(plain.options(), 9), false);
    plain.infer(), poisoned.infer();
    EXPECT_EQ(plain.logits(), poisoned.logits());
  }
}

// ---- Steps that wait for nothing -------------------------------------------------------------------

// Rates, clipping and weights of positives as they may be; no two steps alike.
void train_variously(Model& model, int steps) {
  for (int i = 0; i < steps; ++i) {
    const double lr = 0.01 / (1 + i), decay = i % 3 == 2 ? 0.1 : 0, clip = i % 4 == 3 ? 0.1 : 0;
    train_on(model, i, {.lr = lr, .weight_decay = decay, .clip_norm = clip});
    if (i % 2 == 1) {
      model.set_input(random_input(model.options(), i + 50), false);
      model.infer();
    }
  }
}

// A replay that sees nothing but memory: had anything of a step been left on the host, the steps would be alike.
TEST_P(ModelTest, CapturedStepsGiveTheSameBits) {
  for (const MemoryMode mode : {MemoryMode::kStore, MemoryMode::kShared, MemoryMode::kRecompute}) {
    CountingDevice captures(device());
    captures.captures = true;
    nn::ModelOptions options = small_options(mode);
    options.positive_weights = {1, 2, 3, 4, 5};
    Model captured(captures, options);
    options.capture = false;
    Model called(device(), options);
    captured.initialize(1), called.initialize(1);
    train_variously(captured, 9), train_variously(called, 9);
    EXPECT_EQ(captured.loss(), called.loss()) << name_of(mode);
    EXPECT_EQ(captured.loss(1), called.loss(1)) << name_of(mode);
    EXPECT_EQ(captured.logits(), called.logits()) << name_of(mode);
    expect_same_state(captured, called);
  }
}

TEST_P(ModelTest, PoisonIsCapturedAnew) {
  CountingDevice captures(device());
  captures.captures = true;
  Model captured(captures, small_options()), called(device(), small_options());
  captured.initialize(1), called.initialize(1);
  train_variously(captured, 4), train_variously(called, 4);
  captured.set_poison(true);
  train_variously(captured, 4), train_variously(called, 4);
  expect_same_state(captured, called);
}

TEST_P(ModelTest, CapturesNothingWhereItShallNot) {
  for (const bool capture : {false, true}) {
    CountingDevice counting(device());
    nn::ModelOptions options = small_options();
    options.capture = capture;
    Model model(counting, options);
    model.initialize(1);
    train_variously(model, 6);                      // with clipping and without
    EXPECT_EQ(counting.captured, capture ? 3 : 0);  // and inference
  }
}

TEST_P(ModelTest, KeepsTheLossOfTheStepBefore) {
  Model model(device(), small_options());
  model.initialize(1);
  EXPECT_NE(error_of([&] { model.loss(); }).find("0 were taken"), std::string::npos);
  train_on(model, 1);
  double before = model.loss();
  EXPECT_NE(error_of([&] { model.loss(1); }).find("1 were taken"), std::string::npos);
  for (int step = 2; step < 5; ++step) {
    train_on(model, step);
    EXPECT_EQ(model.loss(1), before);
    EXPECT_NE(model.loss(), before);
    before = model.loss();
  }
}

// ---- Inference -------------------------------------------------------------------------------------

TEST_P(ModelTest, ImagesAreIndependentOfWhatElseIsInTheBatch) {
  nn::ModelOptions options = small_options();
  options.source_size = 40;
  Model model(device(), options);
  model.initialize(1);
  const std::size_t image = options.source_size * options.source_size;
  std::vector<std::uint8_t> pixels(options.batch_size * image);
  RandomStream random(1, RandomUse::kSynth);
  for (std::uint8_t& pixel : pixels) {
    pixel = static_cast<std::uint8_t>(random.below(256));
  }
  const std::vector<ImageTransform> transforms(options.batch_size);
  model.set_images(pixels, transforms, false);
  model.infer();
  const std::vector<float> all = model.logits();

  model.set_images(std::span(pixels).first(3 * image), std::span(transforms).first(3), false);
  model.infer();
  const std::vector<float> three = model.logits();
  const std::size_t kept = 3 * options.labels;
  EXPECT_EQ(std::vector<float>(three.begin(), three.begin() + kept),
            std::vector<float>(all.begin(), all.begin() + kept));

  const std::vector<std::uint8_t> black(image, 0);  // and images beyond the count are black
  std::copy(black.begin(), black.end(), pixels.begin() + 3 * image);
  std::vector<ImageTransform> with_none = transforms;
  with_none[3] = {.xx = 0, .yy = 0, .contrast = 0};
  model.set_images(pixels, with_none, false);
  model.infer();
  EXPECT_EQ(model.logits(), three);
}

TEST_P(ModelTest, KeepsTheLogitsOfTheBatchBefore) {
  Model model(device(), small_options());
  model.initialize(1);
  EXPECT_THROW(model.logits(), Error);
  std::vector<std::vector<float>> logits;
  for (const std::uint32_t seed : {1, 2, 3}) {
    model.set_input(random_input(model.options(), seed), false);
    model.infer();
    if (!logits.empty()) {
      EXPECT_EQ(model.logits(1), logits.back());
    }
    logits.push_back(model.logits());
  }
  EXPECT_NE(logits[0], logits[1]);
  EXPECT_NE(logits[1], logits[2]);
}

TEST_P(ModelTest, EmbeddingsTimesClassifierAreTheLogits) {
  Model model(device(), small_options());
  model.initialize(1);
  train_on(model, 1);
  model.set_input(random_input(model.options(), 2), false);
  model.infer();
  const std::int64_t features = model.options().arch.features(), labels = model.options().labels;
  const std::vector<float> embeddings = model.embeddings(), logits = model.logits(),
                           weight = model.read("classifier.weight"), bias = model.read("classifier.bias");
  ASSERT_EQ(static_cast<std::int64_t>(embeddings.size()), model.options().batch_size * features);
  for (std::int64_t n = 0; n < model.options().batch_size; ++n) {
    for (std::int64_t l = 0; l < labels; ++l) {
      double expected = bias[l];
      for (std::int64_t k = 0; k < features; ++k) {
        expected += double{weight[l * features + k]} * embeddings[n * features + k];
      }
      EXPECT_NEAR(logits[n * labels + l], expected, 1e-5 * (1 + std::abs(expected)));
    }
  }
}

TEST_P(ModelTest, AModelForInferenceAloneAgreesWithOneThatTrains) {
  const TemporaryFolder folder;
  Model trained(device(), small_options());
  trained.initialize(1);
  train_on(trained, 1);
  save(trained, folder / "w.safetensors", false);
  nn::ModelOptions options = small_options();
  options.training = false;
  options.batch_size = 2;  // another batch size, too
  Model predicts(device(), options);
  predicts.load(TensorFile::open(folder / "w.safetensors"), LoadPolicy::kStrict, false, 1);

  const std::vector<float> input = random_input(trained.options(), 2);
  trained.set_input(input, false);
  trained.infer();
  predicts.set_input(std::span(input).first(input.size() / 2), false);
  predicts.infer();
  const std::vector<float> expected = trained.logits(), got = predicts.logits();
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], expected[i], 1e-5 * (1 + std::abs(expected[i])));
  }
  EXPECT_THROW(predicts.train_step({}), Error);
}

TEST_P(ModelTest, AModelForTrainingAloneTrainsAlike) {
  nn::ModelOptions options = small_options();
  Model both(device(), options);
  options.inference = false;
  Model trains(device(), options);
  both.initialize(1), trains.initialize(1);
  train_on(both, 1), train_on(trains, 1);
  EXPECT_EQ(trains.loss(), both.loss());
  EXPECT_LT(trains.plan().persistent_bytes(), both.plan().persistent_bytes());
  EXPECT_THROW(trains.infer(), Error);
}

// Predictions are made with what the running statistics are now: after training, loading and starting anew.
TEST_P(ModelTest, InferenceFollowsTheRunningStatistics) {
  const TemporaryFolder folder;
  Model model(device(), small_options());
  const std::vector<float> input = random_input(model.options(), 2);
  const auto logits = [&] {
    model.set_input(input, false);
    model.infer();
    return model.logits();
  };
  model.initialize(1);
  const std::vector<float> untrained = logits();
  train_on(model, 1, {.lr = 0});  // moves nothing but the running statistics
  const std::vector<float> once = logits();
  EXPECT_NE(once, untrained);
  save(model, folder / "w.safetensors", false);
  train_on(model, 2, {.lr = 0});
  EXPECT_NE(logits(), once);
  model.load(TensorFile::open(folder / "w.safetensors"), LoadPolicy::kStrict, false, 1);
  EXPECT_EQ(logits(), once);
  model.initialize(1);
  EXPECT_EQ(logits(), untrained);
}

// ---- Files -----------------------------------------------------------------------------------------

TEST_P(ModelTest, ContinuesFromAFileWithTheSameBits) {
  const TemporaryFolder folder;
  Model straight(device(), small_options());
  straight.initialize(1);
  train_on(straight, 1), train_on(straight, 2);
  save(straight, folder / "state.safetensors", true);

  Model resumed(device(), small_options());
  resumed.initialize(99);
  train_on(resumed, 77);  // whatever was there is gone after loading
  const TensorFile file = TensorFile::open(folder / "state.safetensors");
  EXPECT_TRUE(resumed.load(file, LoadPolicy::kStrict, true, 1).empty());
  EXPECT_EQ(resumed.steps(), 2);
  expect_same_state(straight, resumed);
  train_on(straight, 3), train_on(resumed, 3);
  EXPECT_EQ(straight.loss(), resumed.loss());
  expect_same_state(straight, resumed);

  save(straight, folder / "a.safetensors", true), save(resumed, folder / "b.safetensors", true);
  EXPECT_EQ(read_file(folder / "a.safetensors"), read_file(folder / "b.safetensors"));
}

TEST_P(ModelTest, WithoutTheOptimizerTrainingStartsAnew) {
  const TemporaryFolder folder;
  Model model(device(), small_options());
  model.initialize(1);
  train_on(model, 1);
  save(model, folder / "weights.safetensors", false);
  const TensorFile file = TensorFile::open(folder / "weights.safetensors");
  EXPECT_EQ(file.tensors().size(), model.expected_tensors().size());
  EXPECT_THROW(model.load(file, LoadPolicy::kStrict, true, 1), Error);  // it has no optimiser's state
  model.load(file, LoadPolicy::kStrict, false, 1);
  EXPECT_EQ(model.steps(), 0);
}

TEST_P(ModelTest, AnotherNumberOfLabelsLoadsWithANewClassifierAlone) {
  const TemporaryFolder folder;
  Model five(device(), small_options());
  five.initialize(1);
  save(five, folder / "five.safetensors", false);
  nn::ModelOptions options = small_options();
  options.labels = 3;
  Model three(device(), options);
  const TensorFile file = TensorFile::open(folder / "five.safetensors");
  EXPECT_THROW(three.load(file, LoadPolicy::kStrict, false, 1), Error);
  EXPECT_FALSE(three.load(file, LoadPolicy::kAllowNewClassifier, false, 4).empty());
  EXPECT_EQ(three.read("features.conv0.weight"), five.read("features.conv0.weight"));
  Model fresh(device(), options);
  fresh.initialize(4);
  EXPECT_EQ(three.read("classifier.weight"), fresh.read("classifier.weight"));
}

// ---- Errors ----------------------------------------------------------------------------------------

TEST_P(ModelTest, RefusesInputOfTheWrongSize) {
  Model model(device(), small_options());
  EXPECT_NE(error_of([&] { model.set_input(std::vector<float>(5), true); }).find("(4, 3, 32, 32) has 12288"),
            std::string::npos);
  EXPECT_NE(error_of([&] { model.set_targets(std::vector<float>(5)); }).find("4 images times 5 labels"),
            std::string::npos);
  EXPECT_NE(error_of([&] { model.set_images({}, {}, true); }).find("takes floats"), std::string::npos);
  EXPECT_NE(error_of([&] { model.read("features.conv9.weight"); }).find("features.conv9.weight"), std::string::npos);
  EXPECT_NE(error_of([&] { model.read_gradient("features.norm0.running_mean"); }).find("no gradient"),
            std::string::npos);
}

TEST_P(ModelTest, RefusesOptionsThatMakeNoSense) {
  const auto with = [&](auto change) {
    nn::ModelOptions options = small_options();
    change(options);
    return error_of([&] { Model(device(), options); });
  };
  EXPECT_NE(with([](auto& o) { o.batch_size = 0; }).find("batch size is 0"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.labels = 0; }).find("0 labels"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.image_size = 15; }).find("use 16 or more"), std::string::npos);  // three blocks
  EXPECT_NE(with([](auto& o) {
              o.positive_weights = {1, 2};
            }).find("2 positive weights for 5 labels"),
            std::string::npos);
  EXPECT_NE(with([](auto& o) { o.block_memory = {MemoryMode::kStore}; }).find("1 memory modes for 3 blocks"),
            std::string::npos);
  EXPECT_NE(with([](auto& o) { o.training = o.inference = false; }).find("train or to predict"), std::string::npos);

  nn::ModelOptions smallest = small_options();
  smallest.image_size = 16;
  EXPECT_NO_THROW(Model(device(), smallest));
}

RUN_ON_DEVICES(ModelTest);

}  // namespace
}  // namespace densetree::test
