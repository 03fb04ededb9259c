// Handles of the C interface that release themselves, and small networks behind them.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "c_api/densetree.h"

namespace densetree::test {

struct Release {
  void operator()(densetree_engine* engine) const { densetree_engine_release(engine); }
  void operator()(densetree_plan* plan) const { densetree_plan_release(plan); }
  void operator()(densetree_model* model) const { densetree_model_release(model); }
  void operator()(densetree_calibration* calibration) const { densetree_calibration_release(calibration); }
};
template <class T>
using Handle = std::unique_ptr<T, Release>;

struct Result {
  densetree_code code;
  std::string message;
};

// What a call answered; the status is released.
inline Result result_of(densetree_status* status) {
  Result result{densetree_status_code(status), densetree_status_message(status)};
  densetree_status_release(status);
  return result;
}
inline void expect_ok(densetree_status* status) {
  const Result result = result_of(status);
  EXPECT_EQ(result.code, DENSETREE_OK) << result.message;
}

inline densetree_engine_params engine_params(const char* device) {
  densetree_engine_params params;
  expect_ok(densetree_engine_params_init(&params, sizeof params));
  params.device = device;
  params.threads = 1;
  return params;
}

inline Handle<densetree_engine> make_engine(const densetree_engine_params& params) {
  densetree_engine* engine = nullptr;
  expect_ok(densetree_engine_create(DENSETREE_VERSION, &params, &engine));
  return Handle<densetree_engine>(engine);
}
inline Handle<densetree_engine> make_engine(const char* device) {
  return make_engine(engine_params(device));
}

// Five labels, four images of 40 pixels a side, sampled to 32.
inline constexpr const char* kNetwork = "growth=8,blocks=2-3-2,init=12";
inline constexpr const char* kNames[] = {"Mass", "Nodule", "Edema", "Hernia", "Fibrosis"};
inline constexpr std::int64_t kLabels = 5, kBatch = 4, kSource = 40;

inline densetree_model_params model_params() {
  densetree_model_params params;
  expect_ok(densetree_model_params_init(&params, sizeof params));
  params.architecture = kNetwork;
  params.label_names = kNames;
  params.labels = kLabels;
  params.batch_size = kBatch;
  params.image_size = 32;
  params.source_size = kSource;
  params.training = 1;
  return params;
}

inline Handle<densetree_plan> make_plan(densetree_engine* engine, const densetree_model_params& params) {
  densetree_plan* plan = nullptr;
  expect_ok(densetree_plan_create(engine, &params, &plan));
  return Handle<densetree_plan>(plan);
}

inline Handle<densetree_model> make_model(densetree_engine* engine,
                                          const densetree_model_params& params = model_params()) {
  const Handle<densetree_plan> plan = make_plan(engine, params);
  densetree_model* model = nullptr;
  expect_ok(densetree_model_create(plan.get(), nullptr, 0, &model));
  return Handle<densetree_model>(model);
}

inline densetree_images images_on_host(const std::vector<std::uint8_t>& pixels) {
  return {.size = sizeof(densetree_images),
          .pixels = pixels.data(),
          .pixels_size = pixels.size(),
          .count = static_cast<std::int64_t>(pixels.size()) / (kSource * kSource),
          .place = DENSETREE_HOST,
          .reserved = 0};
}

inline densetree_outputs no_outputs() {
  densetree_outputs outputs{};
  outputs.size = sizeof outputs;
  return outputs;
}

inline std::vector<float> logits_of(densetree_model* model, const std::vector<std::uint8_t>& pixels) {
  const densetree_images images = images_on_host(pixels);
  std::vector<float> logits(static_cast<std::size_t>(images.count * kLabels));
  densetree_outputs outputs = no_outputs();
  outputs.logits = logits.data();
  outputs.logits_size = logits.size();
  expect_ok(densetree_model_infer(model, &images, &outputs, nullptr, nullptr));
  return logits;
}

}  // namespace densetree::test
