// Models through the C interface: the same numbers as through the classes, on memory of the caller.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

#include "kernels/functors/image.h"
#include "nn/model.h"
#include "tests/c_api/handles.h"
#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"
#include "tests/nn/temporary.h"

namespace densetree::test {
namespace {

class CModelTest : public DeviceTest {
 protected:
  Handle<densetree_engine> engine_ = make_engine(GetParam().c_str());

  // The same network as make_model() makes, through the classes.
  std::unique_ptr<nn::Model> model_of_classes() {
    nn::ModelOptions options;
    options.arch = nn::parse_architecture(kNetwork);
    options.labels = kLabels;
    options.batch_size = kBatch;
    options.image_size = 32;
    options.source_size = kSource;
    auto model = std::make_unique<nn::Model>(device(), options);
    model->initialize(1);
    return model;
  }
};

std::vector<std::uint8_t> random_pixels(std::size_t images, std::uint32_t seed) {
  std::vector<std::uint8_t> pixels;
  for (const float value : random_floats(images * kSource * kSource, seed, 0, 255)) {
    pixels.push_back(static_cast<std::uint8_t>(value));
  }
  return pixels;
}

const std::vector<ImageTransform> kTransforms(kBatch, resize_transform(kSource, 32));

TEST_P(CModelTest, InfersWhatTheClassesInfer) {
  const Handle<densetree_model> model = make_model(engine_.get());
  const auto classes = model_of_classes();
  const std::vector<std::uint8_t> pixels = random_pixels(7, 3);  // a whole batch and a part of one
  const densetree_images images = images_on_host(pixels);
  const std::int64_t features = classes->options().arch.features();
  std::vector<float> logits(7 * kLabels), embeddings(static_cast<std::size_t>(7 * features));
  std::vector<double> probabilities(7 * kLabels);
  const densetree_outputs outputs{.size = sizeof outputs,
                                  .logits = logits.data(),
                                  .logits_size = logits.size(),
                                  .embeddings = embeddings.data(),
                                  .embeddings_size = embeddings.size(),
                                  .probabilities = probabilities.data(),
                                  .probabilities_size = probabilities.size(),
                                  .place = DENSETREE_HOST,
                                  .reserved = 0};
  expect_ok(densetree_model_infer(model.get(), &images, &outputs, nullptr, nullptr));
  for (const std::size_t first : {0u, 4u}) {
    const std::size_t count = std::min<std::size_t>(kBatch, 7 - first);
    classes->set_images(std::span(pixels).subspan(first * kSource * kSource, count * kSource * kSource),
                        std::span(kTransforms).first(count), false);
    classes->infer();
    const std::vector<float> expected = classes->logits(), expected_features = classes->embeddings();
    for (std::size_t i = 0; i < count * kLabels; ++i) {
      EXPECT_EQ(logits[first * kLabels + i], expected[i]);
      EXPECT_DOUBLE_EQ(probabilities[first * kLabels + i], 1 / (1 + std::exp(-static_cast<double>(expected[i]))));
    }
    for (std::size_t i = 0; i < count * features; ++i) {
      EXPECT_EQ(embeddings[first * features + i], expected_features[i]);
    }
  }
  std::fill(probabilities.begin(), probabilities.end(), -1.0);  // alone, without a place for logits
  densetree_outputs alone = no_outputs();
  alone.probabilities = probabilities.data();
  alone.probabilities_size = probabilities.size();
  expect_ok(densetree_model_infer(model.get(), &images, &alone, nullptr, nullptr));
  EXPECT_DOUBLE_EQ(probabilities[33], 1 / (1 + std::exp(-static_cast<double>(logits[33]))));
}

TEST_P(CModelTest, TrainsAsTheClassesTrain) {
  const Handle<densetree_model> model = make_model(engine_.get());
  const auto classes = model_of_classes();
  densetree_step_params params;
  expect_ok(densetree_step_params_init(&params, sizeof params));
  params.clip_norm = 0.5;
  params.weight_decay = 0.01;
  for (std::uint32_t step = 1; step <= 4; ++step) {
    const std::vector<std::uint8_t> pixels = random_pixels(kBatch, step);
    const densetree_images images = images_on_host(pixels);
    std::vector<float> targets = random_targets(classes->options(), step);
    targets[step] = NAN;
    double loss = -1;
    expect_ok(densetree_model_train_step(model.get(), &images, targets.data(), targets.size(), &params,
                                         step == 3 ? nullptr : &loss));
    classes->set_images(pixels, kTransforms, true);
    classes->set_targets(targets);
    classes->train_step({.weight_decay = 0.01, .clip_norm = 0.5});
    EXPECT_EQ(loss, step == 3 ? -1 : classes->loss());
  }
  densetree_model_info info{};
  info.size = sizeof info;
  expect_ok(densetree_model_get_info(model.get(), &info));
  EXPECT_EQ(info.steps, 4);
  densetree_tensor tensor{};
  tensor.size = sizeof tensor;
  std::int64_t index = 0;
  for (;; ++index) {
    const Result result = result_of(densetree_model_get_tensor(model.get(), index, &tensor));
    if (result.code == DENSETREE_NOT_FOUND) {
      break;
    }
    ASSERT_EQ(result.code, DENSETREE_OK) << result.message;
    std::int64_t elements = 1;
    for (int i = 0; i < tensor.dimensions; ++i) {
      elements *= tensor.shape[i];
    }
    EXPECT_EQ(elements, tensor.elements);
    std::vector<float> values(static_cast<std::size_t>(tensor.elements));
    expect_ok(densetree_model_read_tensor(model.get(), tensor.name, values.data(), values.size()));
    EXPECT_EQ(values, classes->read(tensor.name)) << tensor.name;
  }
  EXPECT_EQ(index, static_cast<std::int64_t>(classes->plan().parameters().entries().size()));
}

// Images, targets and outputs in the device's memory, and the model in a block of the caller's there.
TEST_P(CModelTest, WorksOnMemoryOfTheDevice) {
  const Handle<densetree_model> reference = make_model(engine_.get());
  const std::vector<std::uint8_t> pixels = random_pixels(kBatch, 8);
  nn::ModelOptions sizes;
  sizes.batch_size = kBatch, sizes.labels = kLabels;
  const std::vector<float> targets = random_targets(sizes, 9);
  const Handle<densetree_plan> plan = make_plan(engine_.get(), model_params());
  densetree_model_info info{};
  info.size = sizeof info;
  expect_ok(densetree_plan_get_info(plan.get(), &info));
  const std::size_t outputs_at = info.bytes, pixels_at = outputs_at + 4096, targets_at = pixels_at + 8192;
  auto* const memory = static_cast<std::byte*>(device().allocate(targets_at + 4096));
  device().upload(memory + pixels_at, pixels.data(), pixels.size());
  device().upload(memory + targets_at, targets.data(), targets.size() * sizeof(float));
  densetree_model* made = nullptr;
  expect_ok(densetree_model_create(plan.get(), memory, info.bytes, &made));
  const Handle<densetree_model> model(made);
  densetree_images images = images_on_host(pixels);
  densetree_step_params params;
  expect_ok(densetree_step_params_init(&params, sizeof params));
  double expected = 0, loss = 1;
  expect_ok(densetree_model_train_step(reference.get(), &images, targets.data(), targets.size(), &params, &expected));
  images.pixels = reinterpret_cast<std::uint8_t*>(memory + pixels_at);
  images.place = DENSETREE_DEVICE;
  expect_ok(densetree_model_train_step(model.get(), &images, reinterpret_cast<float*>(memory + targets_at),
                                       targets.size(), &params, &loss));
  EXPECT_EQ(loss, expected);
  densetree_outputs outputs = no_outputs();
  outputs.place = DENSETREE_DEVICE;
  outputs.logits = reinterpret_cast<float*>(memory + outputs_at);
  outputs.logits_size = kBatch * kLabels;
  outputs.embeddings = outputs.logits + 32;
  outputs.embeddings_size = static_cast<std::size_t>(kBatch * info.features);
  std::vector<double> probabilities(kBatch * kLabels);
  outputs.probabilities = probabilities.data();
  outputs.probabilities_size = probabilities.size();
  expect_ok(densetree_model_infer(model.get(), &images, &outputs, nullptr, nullptr));
  expect_ok(densetree_engine_wait(engine_.get()));
  std::vector<float> logits(kBatch * kLabels);
  device().download(logits.data(), outputs.logits, logits.size() * sizeof(float));
  EXPECT_EQ(logits, logits_of(reference.get(), pixels));
  EXPECT_DOUBLE_EQ(probabilities[7], 1 / (1 + std::exp(-static_cast<double>(logits[7]))));
  std::vector<float> embedding(static_cast<std::size_t>(info.features));
  device().download(embedding.data(), outputs.embeddings, embedding.size() * sizeof(float));
  EXPECT_TRUE(std::any_of(embedding.begin(), embedding.end(), [](float value) { return value != 0; }));
  device().release(memory);  // the model goes later, and gives nothing back
}

TEST_P(CModelTest, WhereMemoryLiesIsChecked) {
  const Handle<densetree_model> model = make_model(engine_.get());
  const std::vector<std::uint8_t> pixels = random_pixels(kBatch, 8);
  densetree_images images = images_on_host(pixels);
  images.place = DENSETREE_DEVICE;
  std::vector<float> logits(kBatch * kLabels);
  densetree_outputs outputs = no_outputs();
  outputs.logits = logits.data();
  outputs.logits_size = logits.size();
  Result result = result_of(densetree_model_infer(model.get(), &images, &outputs, nullptr, nullptr));
  if (GetParam() == "cpu") {  // whose memory is the host's
    EXPECT_EQ(result.code, DENSETREE_OK) << result.message;
    EXPECT_EQ(logits, logits_of(model.get(), pixels));
    return;
  }
  EXPECT_EQ(result.code, DENSETREE_INVALID_ARGUMENT);
  EXPECT_EQ(result.message, "pixels is memory of the host; it must be memory of cuda:0");
  images.place = DENSETREE_HOST;
  auto* const memory = static_cast<float*>(device().allocate(4096));
  outputs.logits = memory;
  result = result_of(densetree_model_infer(model.get(), &images, &outputs, nullptr, nullptr));
  EXPECT_EQ(result.code, DENSETREE_INVALID_ARGUMENT);
  EXPECT_EQ(result.message, "logits is memory of cuda:0; it must be memory of the host");
  device().release(memory);
}

// The caller's allocator serves the model, to the byte that was planned, and gets everything back.
TEST_P(CModelTest, TakesMemoryFromTheCallersAllocator) {
  struct Counts {
    Device& device;
    std::size_t bytes = 0;
    int taken = 0, given_back = 0;
    bool empty = false;
  } counts{device()};
  densetree_engine_params params = engine_params(GetParam().c_str());
  params.memory_data = &counts;
  params.allocate = [](void* data, std::size_t bytes, std::size_t) -> void* {
    auto& c = *static_cast<Counts*>(data);
    if (c.empty) {
      return nullptr;
    }
    c.bytes = bytes;
    ++c.taken;
    return c.device.allocate(bytes);
  };
  params.free = [](void* data, void* memory) {
    auto& c = *static_cast<Counts*>(data);
    ++c.given_back;
    c.device.release(memory);
  };
  Handle<densetree_engine> engine = make_engine(params);
  Handle<densetree_model> model = make_model(engine.get());
  densetree_model_info info{};
  info.size = sizeof info;
  expect_ok(densetree_model_get_info(model.get(), &info));
  EXPECT_EQ(counts.taken, 1);
  EXPECT_EQ(counts.bytes, info.bytes);
  const std::vector<std::uint8_t> pixels = random_pixels(kBatch, 8);
  EXPECT_EQ(logits_of(model.get(), pixels), logits_of(make_model(engine_.get()).get(), pixels));
  EXPECT_EQ(counts.taken, 1);
  counts.empty = true;
  const Handle<densetree_plan> plan = make_plan(engine.get(), model_params());
  densetree_model* none = nullptr;
  const Result result = result_of(densetree_model_create(plan.get(), nullptr, 0, &none));
  EXPECT_EQ(result.code, DENSETREE_OUT_OF_MEMORY) << result.message;
  EXPECT_EQ(none, nullptr);
  engine.reset();  // before what was made of it
  model.reset();
  EXPECT_EQ(counts.given_back, 1);
}

TEST_P(CModelTest, CheckpointsGoBothWays) {
  const TemporaryFolder folder;
  const std::string file = (folder / "weights.safetensors").string();
  const Handle<densetree_model> model = make_model(engine_.get());
  const std::vector<std::uint8_t> pixels = random_pixels(kBatch, 5);
  const densetree_images images = images_on_host(pixels);
  nn::ModelOptions sizes;
  sizes.batch_size = kBatch, sizes.labels = kLabels;
  const std::vector<float> targets = random_targets(sizes, 6);
  densetree_step_params step;
  expect_ok(densetree_step_params_init(&step, sizeof step));
  const auto train = [&](densetree_model* of) {
    double loss = 0;
    expect_ok(densetree_model_train_step(of, &images, targets.data(), targets.size(), &step, &loss));
    return loss;
  };
  train(model.get());
  expect_ok(densetree_model_save(model.get(), file.c_str()));

  densetree_model_params params;  // all of it from the file
  expect_ok(densetree_model_params_init(&params, sizeof params));
  params.run = file.c_str();
  params.batch_size = kBatch;
  params.training = 1;
  const Handle<densetree_model> read = make_model(engine_.get(), params);
  EXPECT_STREQ(densetree_model_label(read.get(), 4), "Fibrosis");
  EXPECT_EQ(densetree_model_label(read.get(), 5), nullptr);
  EXPECT_EQ(densetree_model_label(read.get(), -1), nullptr);
  EXPECT_EQ(logits_of(read.get(), pixels), logits_of(model.get(), pixels));
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(train(read.get()), train(model.get()));  // Adam's state came along
  }
  const std::vector<float> logits = logits_of(read.get(), pixels);
  expect_ok(densetree_model_load(read.get(), file.c_str()));
  EXPECT_NE(logits_of(read.get(), pixels), logits);
  std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
  const std::vector<float> before = logits_of(read.get(), pixels);
  const Result result = result_of(densetree_model_load(read.get(), file.c_str()));
  EXPECT_EQ(result.code, DENSETREE_FAILED);
  EXPECT_NE(result.message.find(file), std::string::npos) << result.message;
  EXPECT_EQ(logits_of(read.get(), pixels), before);
}

TEST_P(CModelTest, ProgressCancels) {
  const Handle<densetree_model> model = make_model(engine_.get());
  const std::vector<std::uint8_t> pixels = random_pixels(10, 5);
  const densetree_images images = images_on_host(pixels);
  std::vector<float> logits(10 * kLabels, -7);
  densetree_outputs outputs = no_outputs();
  outputs.logits = logits.data();
  outputs.logits_size = logits.size();
  std::vector<std::int64_t> done;
  const auto note = [](void* data, std::int64_t now, std::int64_t total) -> std::int32_t {
    EXPECT_EQ(total, 10);
    static_cast<std::vector<std::int64_t>*>(data)->push_back(now);
    return now < 8;
  };
  const Result result = result_of(densetree_model_infer(model.get(), &images, &outputs, note, &done));
  EXPECT_EQ(result.code, DENSETREE_CANCELLED);
  EXPECT_EQ(result.message, "cancelled after 8 of 10 images");
  EXPECT_EQ(done, (std::vector<std::int64_t>{4, 8}));
  EXPECT_NE(logits[8 * kLabels - 1], -7);
  EXPECT_EQ(logits[8 * kLabels], -7);
}

// A file whose weights are not finite is refused before anything is taken from it.
TEST_P(CModelTest, ABadFileChangesNothing) {
  const TemporaryFolder folder;
  const std::string file = (folder / "weights.safetensors").string();
  const Handle<densetree_model> model = make_model(engine_.get());
  expect_ok(densetree_model_save(model.get(), file.c_str()));
  const std::vector<std::uint8_t> pixels = random_pixels(kBatch, 5);
  expect_ok(densetree_model_initialize(model.get(), 7));
  const std::vector<float> before = logits_of(model.get(), pixels);
  {
    std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
    std::uint64_t header = 0;
    stream.read(reinterpret_cast<char*>(&header), sizeof header);
    const float bad = NAN;
    stream.seekp(static_cast<std::streamoff>(sizeof header + header));  // the first weight
    stream.write(reinterpret_cast<const char*>(&bad), sizeof bad);
  }
  const Result result = result_of(densetree_model_load(model.get(), file.c_str()));
  EXPECT_EQ(result.code, DENSETREE_FAILED);
  EXPECT_NE(result.message.find(file), std::string::npos) << result.message;
  EXPECT_EQ(logits_of(model.get(), pixels), before);
}

// What is released out of a callback, or by another thread meanwhile, goes when the call is over.
TEST_P(CModelTest, MayBeReleasedDuringACall) {
  Handle<densetree_engine> engine = make_engine(GetParam().c_str());
  struct Handles {
    densetree_engine* engine;
    densetree_model *model, *other;
    int calls = 0;
  } handles{engine.get(), make_model(engine.get()).release(), make_model(engine.get()).release()};
  static_cast<void>(engine.release());  // the callback releases it
  const std::vector<std::uint8_t> pixels = random_pixels(3 * kBatch, 5);
  const densetree_images images = images_on_host(pixels);
  std::vector<float> logits(3 * kBatch * kLabels), expected = logits_of(make_model(engine_.get()).get(), pixels);
  densetree_outputs outputs = no_outputs();
  outputs.logits = logits.data();
  outputs.logits_size = logits.size();
  const auto release = [](void* data, std::int64_t, std::int64_t) -> std::int32_t {
    auto& h = *static_cast<Handles*>(data);
    if (h.calls++ == 0) {
      densetree_engine_release(h.engine);
      densetree_model_release(h.model);
      std::thread([&] { densetree_model_release(h.other); }).join();
    }
    return 1;
  };
  expect_ok(densetree_model_infer(handles.model, &images, &outputs, release, &handles));
  EXPECT_EQ(handles.calls, 3);
  EXPECT_EQ(logits, expected);
}

TEST_P(CModelTest, OneCallAtATime) {
  const Handle<densetree_model> model = make_model(engine_.get());
  const std::vector<std::uint8_t> pixels = random_pixels(5, 5);
  const densetree_images images = images_on_host(pixels);
  std::vector<float> logits(5 * kLabels);
  densetree_outputs outputs = no_outputs();
  outputs.logits = logits.data();
  outputs.logits_size = logits.size();
  const auto again = [](void* data, std::int64_t, std::int64_t) -> std::int32_t {
    auto* const busy = static_cast<densetree_model*>(data);
    const auto refused = [busy] {
      const Result result = result_of(densetree_model_initialize(busy, 1));
      EXPECT_EQ(result.code, DENSETREE_BUSY) << result.message;
      densetree_model_info info{};
      info.size = sizeof info;
      expect_ok(densetree_model_get_info(busy, &info));  // a const handle
      EXPECT_STREQ(densetree_model_label(busy, 0), "Mass");
    };
    refused();
    std::thread(refused).join();
    return 1;
  };
  expect_ok(densetree_model_infer(model.get(), &images, &outputs, again, model.get()));
  expect_ok(densetree_model_initialize(model.get(), 1));  // and it is free again
}

INSTANTIATE_TEST_SUITE_P(Any, CModelTest, testing::ValuesIn(available_devices()), device_label);

}  // namespace
}  // namespace densetree::test
