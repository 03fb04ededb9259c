// Plans: what a model is made of, from the caller's parameters and a run's checkpoint.
#include <algorithm>

#include "c_api/handles.h"
#include "data/image.h"
#include "engine/planner.h"
#include "nn/checkpoint_labels.h"

namespace densetree::c_api {
namespace {

static_assert(static_cast<int>(Precision::kFloat32) == DENSETREE_FP32);
static_assert(static_cast<int>(Precision::kTensorFloat32) == DENSETREE_TF32);
static_assert(static_cast<int>(Precision::kBFloat16) == DENSETREE_BF16);
static_assert(static_cast<int>(nn::MemoryMode::kStore) == DENSETREE_STORE);
static_assert(static_cast<int>(nn::MemoryMode::kShared) == DENSETREE_SHARED);
static_assert(static_cast<int>(nn::MemoryMode::kRecompute) == DENSETREE_RECOMPUTE);
static_assert(static_cast<int>(LossKind::kMse) == DENSETREE_MSE);
static_assert(static_cast<int>(LossKind::kBce) == DENSETREE_BCE);

// A size that the run or the default says where the caller leaves it open.
void settle(std::int64_t& value, std::int64_t given, bool is_of_run, const char* name) {
  require(given >= 0, "{} is {}; it must be positive, or 0 for {}", name, given,
          is_of_run ? "the run's" : "the default");
  require(!is_of_run || given == 0 || given == value, "{} is {}, but the run was trained with {}", name, given, value);
  if (given > 0) {
    value = given;
  }
}

// Each stands for the finding of its name, where all are such names.
std::optional<data::LabelSet> findings_of(const std::vector<std::string>& names) {
  std::vector<std::pair<std::string, std::vector<std::string>>> labels;
  for (const std::string& name : names) {
    if (std::find(data::kFindings.begin(), data::kFindings.end(), name) == data::kFindings.end()) {
      return std::nullopt;
    }
    labels.push_back({name, {name}});
  }
  return data::LabelSet(labels);
}

Labels labels_of(const densetree_model_params& params, const std::optional<nn::TrainedWeights>& weights,
                 std::int64_t count) {
  Labels labels;
  if (weights) {
    labels.names = weights->meta.labels;
    if (nn::has_findings(weights->meta)) {
      labels.of_findings = nn::labels_of(weights->meta);
    }
  }
  if (params.label_names) {
    std::vector<std::string> names;
    at(params.label_names, "label_names");
    for (std::int64_t i = 0; i < count; ++i) {
      require(params.label_names[i] != nullptr && *params.label_names[i] != 0, "label_names[{}] is null or empty", i);
      names.emplace_back(params.label_names[i]);
      require(std::find(names.begin(), names.end() - 1, names.back()) == names.end() - 1, "label_names has '{}' twice",
              names.back());
    }
    require(!weights || names == labels.names, "label_names are {}, but the run was trained on {}",
            fmt::join(names, ", "), fmt::join(labels.names, ", "));
    labels.names = names;
  }
  const data::LabelSet nih;
  if (labels.names.empty() && count == static_cast<std::int64_t>(nih.size())) {
    labels.names = nih.names();
  }
  if (!labels.of_findings && !labels.names.empty()) {
    labels.of_findings = findings_of(labels.names);
  }
  return labels;
}

struct Wanted {
  nn::ModelOptions options;
  std::string run;
  Labels labels;
};

void check_sense(const nn::ModelOptions& options) {
  check_settings(options);
  nn::check_options(options);
}

// batch_size: instead of the caller's, or 0. Arrays are read once it is clear how long they are.
Wanted wanted_model(const densetree_model_params* given, const Device& device, std::int64_t batch_size = 0) {
  const auto params = read_struct(given, "params");
  Wanted wanted;
  nn::ModelOptions& o = wanted.options;
  std::optional<nn::TrainedWeights> weights;
  if (params.run) {
    wanted.run = params.run;
    weights.emplace(params.run);
    o = weights->options();
  }
  const bool has_run = params.run != nullptr;
  if (params.architecture) {
    const nn::Architecture arch = on_arguments([&] { return nn::parse_architecture(params.architecture); });
    require(!has_run || arch.name == o.arch.name, "architecture is {}, but the run was trained with {}", arch.name,
            o.arch.name);
    o.arch = arch;
  }
  settle(o.labels, params.labels, has_run, "labels");
  settle(o.image_size, params.image_size, has_run, "image_size");
  settle(o.source_size, params.source_size, has_run, "source_size");
  o.batch_size = batch_size > 0 ? batch_size : params.batch_size;
  o.precision = enumeration<Precision>(params.precision, "precision");
  const std::string why_not = device.why_not(o.precision);
  if (!why_not.empty()) {
    refuse(DENSETREE_UNAVAILABLE, "precision is {}: {}", name_of(o.precision), why_not);
  }
  o.memory = enumeration<nn::MemoryMode>(params.memory, "memory");
  o.loss = enumeration<LossKind>(params.loss, "loss");
  o.training = truth(params.training, "training");
  o.inference = truth(params.inference, "inference");
  o.capture = truth(params.capture, "capture");
  on_arguments([&] { check_sense(o); });
  if (params.positive_weights) {
    at(params.positive_weights, "positive_weights");
    o.positive_weights.assign(params.positive_weights, params.positive_weights + o.labels);
    for (const float weight : o.positive_weights) {
      require(weight > 0 && weight <= std::numeric_limits<float>::max(),
              "positive_weights has {}; they must be more than 0, and finite", weight);
    }
  }
  wanted.labels = labels_of(params, weights, o.labels);
  return wanted;
}

}  // namespace
}  // namespace densetree::c_api

using namespace densetree;
using namespace densetree::c_api;

namespace {

constexpr std::int64_t kLargestTried = 4096;

densetree_model_info info_of(const nn::ModelPlan& plan) {
  const nn::ModelOptions& o = plan.options();
  return {.size = sizeof(densetree_model_info),
          .bytes = plan.bytes(),
          .persistent_bytes = plan.persistent_bytes(),
          .alignment = Planner::kAlignment,
          .architecture = nullptr,
          .labels = o.labels,
          .features = o.arch.features(),
          .batch_size = o.batch_size,
          .image_size = o.image_size,
          .source_size = o.source_size,
          .steps = 0,
          .training = o.training,
          .inference = o.inference};
}

}  // namespace

densetree_status* densetree_model_params_init(densetree_model_params* params, size_t size) {
  const nn::ModelOptions options;
  densetree_model_params defaults{};
  defaults.batch_size = 16;
  defaults.precision = static_cast<densetree_precision>(options.precision);
  defaults.memory = static_cast<densetree_memory>(options.memory);
  defaults.loss = static_cast<densetree_loss>(options.loss);
  defaults.inference = 1;
  defaults.capture = 1;
  return init_struct(params, size, defaults);
}

densetree_status* densetree_plan_create(densetree_engine* engine, const densetree_model_params* params,
                                        densetree_plan** plan) {
  return guarded(DENSETREE_FAILED, [&] {
    densetree_plan*& made = made_at(plan, "plan");
    const Entry entry(at(engine, "engine").engine);
    Wanted wanted = wanted_model(params, engine->engine->device());
    auto result = std::make_unique<densetree_plan>();
    result->engine = engine->engine;
    result->run = std::move(wanted.run);
    result->labels = std::move(wanted.labels);
    result->options = std::move(wanted.options);
    result->plan.emplace(engine->engine->device(), result->options);
    result->info = info_of(*result->plan);
    result->info.architecture = result->options.arch.name.c_str();
    made = result.release();
  });
}

void densetree_plan_release(densetree_plan* plan) {
  Engine::release(plan);
}

densetree_status* densetree_plan_get_info(const densetree_plan* plan, densetree_model_info* info) {
  return guarded(DENSETREE_FAILED, [&] { write_struct(info, "info", at(plan, "plan").info); });
}

densetree_status* densetree_largest_batch(densetree_engine* engine, const densetree_model_params* params, size_t bytes,
                                          int64_t* batch_size) {
  return guarded(DENSETREE_FAILED, [&] {
    at(batch_size, "batch_size");
    const Entry entry(at(engine, "engine").engine);
    const Wanted wanted = wanted_model(params, engine->engine->device(), 2);
    *batch_size = nn::largest_batch(engine->engine->device(), wanted.options, bytes, kLargestTried);
  });
}
