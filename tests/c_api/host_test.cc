// What belongs to the host program stays as it was; versions meet; and several engines work in several threads.
#include <dirent.h>
#include <dlfcn.h>
#include <omp.h>
#include <unistd.h>

#include <array>
#include <cfenv>
#include <clocale>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <set>
#include <thread>

#include "engine/io/file.h"
#include "engine/io/text.h"
#include "tests/c_api/handles.h"
#include "tests/nn/allocation_counter.h"
#include "tests/nn/small_model.h"
#include "tests/nn/temporary.h"

namespace densetree::test {
namespace {

std::vector<std::uint8_t> pixels_of(std::size_t images) {
  std::vector<std::uint8_t> pixels;
  for (const float value : random_floats(images * kSource * kSource, 2, 0, 255)) {
    pixels.push_back(static_cast<std::uint8_t>(value));
  }
  return pixels;
}

std::vector<float> targets_of_a_batch() {
  nn::ModelOptions sizes;
  sizes.batch_size = kBatch, sizes.labels = kLabels;
  return random_targets(sizes, 3);
}

double train(densetree_model* model, const std::vector<std::uint8_t>& pixels, const std::vector<float>& targets) {
  const densetree_images images = images_on_host(pixels);
  densetree_step_params step;
  expect_ok(densetree_step_params_init(&step, sizeof step));
  double loss = 0;
  expect_ok(densetree_model_train_step(model, &images, targets.data(), targets.size(), &step, &loss));
  return loss;
}

// All that a host would not like to see changed.
struct HostState {
  int threads = omp_get_max_threads(), rounding = std::fegetround();
  unsigned int mxcsr = __builtin_ia32_stmxcsr();
  std::string locale = std::setlocale(LC_ALL, nullptr), folder;
  std::array<struct sigaction, 32> handlers{};
  std::set<std::string> files;
  mode_t mask;

  HostState() : mask(::umask(0)) {
    ::umask(mask);
    char buffer[4096];
    folder = ::getcwd(buffer, sizeof buffer);
    for (std::size_t signal = 1; signal < handlers.size(); ++signal) {
      sigaction(static_cast<int>(signal), nullptr, &handlers[signal]);
    }
    DIR* const open = ::opendir("/proc/self/fd");
    while (const dirent* entry = ::readdir(open)) {
      files.insert(entry->d_name);
    }
    ::closedir(open);
  }

  void expect_same(const HostState& other) const {
    EXPECT_EQ(threads, other.threads);
    EXPECT_EQ(rounding, other.rounding);
    EXPECT_EQ(mxcsr & ~0x3Fu, other.mxcsr & ~0x3Fu);  // the mode; below it are flags that arithmetic raises
    EXPECT_EQ(locale, other.locale);
    EXPECT_EQ(folder, other.folder);
    EXPECT_EQ(files, other.files);
    EXPECT_EQ(mask, other.mask);
    for (std::size_t signal = 1; signal < handlers.size(); ++signal) {
      EXPECT_EQ(handlers[signal].sa_handler, other.handlers[signal].sa_handler) << signal;
      EXPECT_EQ(handlers[signal].sa_flags, other.handlers[signal].sa_flags) << signal;
    }
  }
};

TEST(CHost, StaysAsItWas) {
  const TemporaryFolder folder;
  const std::string file = (folder / "weights.safetensors").string();
  omp_set_num_threads(3);
  const HostState before;
  {
    densetree_engine_params params = engine_params("cpu");
#ifndef __SANITIZE_THREAD__  // which does not see how OpenMP's threads wait for each other
    params.threads = 2;
#endif
    const Handle<densetree_engine> engine = make_engine(params);
    before.expect_same(HostState());
    const Handle<densetree_model> model = make_model(engine.get());
    train(model.get(), pixels_of(kBatch), targets_of_a_batch());
    logits_of(model.get(), pixels_of(5));
    expect_ok(densetree_model_save(model.get(), file.c_str()));
    expect_ok(densetree_model_load(model.get(), file.c_str()));
    densetree_calibration* none = nullptr;
    EXPECT_EQ(result_of(densetree_calibration_read(engine.get(), file.c_str(), &none)).code, DENSETREE_FAILED);
    densetree_device_info device{};
    device.size = sizeof device;
    expect_ok(densetree_device_get(0, &device));
    EXPECT_STREQ(device.name, "cpu");
    before.expect_same(HostState());
  }
  before.expect_same(HostState());
}

// A language of decimal commas, made on the spot.
TEST(CHost, MayHaveDecimalCommas) {
  const TemporaryFolder folder;
  const std::string make = fmt::format("localedef -i de_DE -f UTF-8 {} > /dev/null 2>&1", (folder / "de_DE").string());
  if (std::system(make.c_str()) != 0) {
    GTEST_SKIP() << "localedef and the sources of de_DE are not installed";
  }
  const Handle<densetree_engine> engine = make_engine("cpu");
  densetree_calibration_params params;
  expect_ok(densetree_calibration_params_init(&params, sizeof params));
  params.bins = 7;
  params.smoothing = 0.25;
  params.choose = "precision:0.5,delta:0.25";
  const std::vector<float> drawn = random_floats(200 * 14, 4, 0, 1), luck = random_floats(200 * 14, 5, 0, 1);
  const std::vector<double> scores(drawn.begin(), drawn.end());
  std::vector<float> targets;
  std::vector<std::int64_t> patients;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    targets.push_back(luck[i] < drawn[i] ? 1.0f : 0.0f);
  }
  for (std::int64_t i = 0; i < 200; ++i) {
    patients.push_back(i);
  }
  const auto calibration_text = [&](const std::string& name) {
    const std::string file = (folder / name).string();
    densetree_calibration* made = nullptr;
    expect_ok(densetree_calibration_fit(engine.get(), &params, scores.data(), scores.size(), targets.data(),
                                        targets.size(), patients.data(), patients.size(), &made));
    const Handle<densetree_calibration> fitted(made);
    expect_ok(densetree_calibration_write(fitted.get(), file.c_str()));
    expect_ok(densetree_calibration_read(engine.get(), file.c_str(), &made));
    const Handle<densetree_calibration> read(made);
    std::size_t length = 0;
    densetree_calibration_info info{};
    info.size = sizeof info;
    expect_ok(densetree_calibration_get_info(read.get(), &info));
    const auto nodes = static_cast<std::size_t>(info.nodes);
    std::vector<double> values(nodes, 0.75), limits(nodes, 0.5);
    std::string text(4096, 0);
    expect_ok(densetree_calibration_report(read.get(), values.data(), nodes, limits.data(), nodes, text.data(),
                                           text.size(), &length));
    return read_file(file) + text.substr(0, length);
  };
  const std::string expected = calibration_text("plain.json");
  ::setenv("LOCPATH", (folder / "").c_str(), 1);
  ASSERT_NE(std::setlocale(LC_ALL, "de_DE"), nullptr);
  ASSERT_STREQ(std::localeconv()->decimal_point, ",");
  EXPECT_EQ(calibration_text("german.json"), expected);
  EXPECT_EQ(parse_number("1.5e-400"), 0.0);
  EXPECT_EQ(parse_number("1.5e400"), std::numeric_limits<double>::infinity());
  EXPECT_EQ(parse_number("1.5"), 1.5);
  EXPECT_STREQ(std::setlocale(LC_ALL, nullptr), "de_DE");
  std::setlocale(LC_ALL, "C");
  ::unsetenv("LOCPATH");
}

TEST(CHost, EnginesInTwoThreadsDoNotDisturbEachOther) {
  const std::vector<std::uint8_t> pixels = pixels_of(kBatch);
  const std::vector<float> targets = targets_of_a_batch();
  const auto work = [&](std::vector<double>& losses, std::vector<float>& logits) {
    const Handle<densetree_engine> engine = make_engine("cpu");
    const Handle<densetree_model> model = make_model(engine.get());
    for (int step = 0; step < 5; ++step) {
      losses.push_back(train(model.get(), pixels, targets));
    }
    logits = logits_of(model.get(), pixels);
  };
  std::array<std::vector<double>, 3> losses;
  std::array<std::vector<float>, 3> logits;
  work(losses[0], logits[0]);
  std::thread first([&] { work(losses[1], logits[1]); }), second([&] { work(losses[2], logits[2]); });
  first.join();
  second.join();
  for (const std::size_t i : {1u, 2u}) {
    EXPECT_EQ(losses[i], losses[0]);
    EXPECT_EQ(logits[i], logits[0]);
  }
}

TEST(CHost, InferenceAllocatesNothingOfOurs) {
  if (!counts_allocations()) {
    GTEST_SKIP() << "allocations cannot be counted under a sanitizer";
  }
  densetree_engine_params params = engine_params("cpu");
  params.threads = 2;  // a team of one is made anew for each parallel region
  const Handle<densetree_engine> engine = make_engine(params);
  const Handle<densetree_model> model = make_model(engine.get());
  const std::vector<std::uint8_t> pixels = pixels_of(kBatch + 1);
  const densetree_images images = images_on_host(pixels);
  std::vector<float> logits((kBatch + 1) * kLabels), embeddings((kBatch + 1) * 64);
  std::vector<double> probabilities(logits.size());
  densetree_outputs outputs = no_outputs();
  outputs.logits = logits.data();
  outputs.logits_size = logits.size();
  outputs.embeddings = embeddings.data();
  outputs.embeddings_size = embeddings.size();
  outputs.probabilities = probabilities.data();
  outputs.probabilities_size = probabilities.size();
  for (int call = 0; call < 6; ++call) {
    outputs.place = call % 2 == 0 ? DENSETREE_HOST : DENSETREE_DEVICE;
    const std::int64_t before = allocations(), cpp_before = cpp_allocations(), onednn_before = onednn_allocations();
    densetree_status* const status = densetree_model_infer(model.get(), &images, &outputs, nullptr, nullptr);
    const std::int64_t onednn = onednn_allocations() - onednn_before;
    const std::int64_t others = allocations() - before - onednn;
    expect_ok(status);
    if (call > 1) {
      EXPECT_EQ(others, 0) << cpp_allocations() - cpp_before << " of them by operator new";
    }
  }
}

TEST(CHost, VersionsMeet) {
  EXPECT_EQ(densetree_version(), DENSETREE_VERSION);
  const densetree_engine_params params = engine_params("cpu");
  densetree_engine* engine = nullptr;
  const Result result = result_of(densetree_engine_create(DENSETREE_VERSION + 1000000, &params, &engine));
  EXPECT_EQ(result.code, DENSETREE_INVALID_ARGUMENT);
  EXPECT_NE(result.message.find("their major versions must agree"), std::string::npos) << result.message;
  EXPECT_EQ(engine, nullptr);
  expect_ok(densetree_engine_create(DENSETREE_VERSION + 5, &params, &engine));  // of a later release
  densetree_engine_release(engine);
}

// A caller of a later version has larger structs: what this library does not know must be zero.
TEST(CHost, StructsMayGrow) {
  struct {
    densetree_engine_params known;
    std::int64_t later;
  } params;
  std::memset(&params, 0xFF, sizeof params);
  expect_ok(densetree_engine_params_init(&params.known, sizeof params));
  EXPECT_EQ(params.known.size, sizeof params);
  EXPECT_EQ(params.later, 0);
  params.known.device = "cpu";
  densetree_engine* engine = nullptr;
  expect_ok(densetree_engine_create(DENSETREE_VERSION, &params.known, &engine));
  densetree_engine_release(engine);
  params.later = 1;
  const Result result = result_of(densetree_engine_create(DENSETREE_VERSION, &params.known, &engine));
  EXPECT_EQ(result.code, DENSETREE_INVALID_ARGUMENT);
  EXPECT_NE(result.message.find("sets a field that version"), std::string::npos) << result.message;
  struct {
    densetree_device_info known;
    std::int64_t later;
  } device{};
  device.known.size = sizeof device;
  device.later = 7;
  expect_ok(densetree_device_get(0, &device.known));
  EXPECT_EQ(device.known.size, sizeof device);
  EXPECT_EQ(device.later, 0);
}

// What programs were compiled with must stay what it is until the major version changes.
static_assert(sizeof(densetree_device_info) == 496);
static_assert(sizeof(densetree_engine_params) == 72);
static_assert(sizeof(densetree_model_params) == 96);
static_assert(sizeof(densetree_model_info) == 96);
static_assert(sizeof(densetree_tensor) == 64);
static_assert(sizeof(densetree_images) == 40);
static_assert(sizeof(densetree_outputs) == 64);
static_assert(sizeof(densetree_step_params) == 32);
static_assert(sizeof(densetree_calibration_params) == 56);
static_assert(sizeof(densetree_calibration_info) == 48);
static_assert(sizeof(densetree_node) == 24);

}  // namespace
}  // namespace densetree::test
