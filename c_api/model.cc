// Models: weights, inference and training steps on memory of the caller.
#include <algorithm>
#include <cmath>

#include "c_api/handles.h"
#include "engine/planner.h"
#include "kernels/functors/image.h"
#include "nn/checkpoint_labels.h"
#include "nn/network_settings.h"
#include "nn/scoring.h"

using namespace densetree;
using namespace densetree::c_api;

namespace {

void load(densetree_model& model, const TensorFile& file) {
  check_finite(file);
  const bool optimizer = model.model->options().training && nn::has_optimizer(file);
  for (const std::string& note : model.model->load(file, LoadPolicy::kStrict, optimizer, 1)) {
    model.engine->log(note);
  }
  model.steps = model.model->steps();
}

struct Images {
  std::span<const std::uint8_t> pixels;
  std::size_t count;
  Place place;
};

Images images_of(const densetree_model& model, const densetree_images* given) {
  const auto images = read_struct(given, "images");
  require_unused(images.reserved);
  require(images.count >= 0, "count is {}; it must not be negative", images.count);
  const auto side = static_cast<std::size_t>(model.info.source_size), count = static_cast<std::size_t>(images.count);
  require(count <= PTRDIFF_MAX / (side * side), "count is {}, more than memory has room for", count);
  Images result{{}, count, place_of(images.place)};
  if (count > 0) {
    result.pixels = buffer(images.pixels, images.pixels_size, count * side * side, "pixels", Size::kExactly);
    model.engine->require_place(images.pixels, result.place, "pixels");
  }
  return result;
}

// Where the caller wants what, for all images; empty where not at all.
struct Outputs {
  std::span<float> logits, embeddings;
  std::span<double> probabilities;
  Place place;
};

Outputs outputs_of(const densetree_model& model, const densetree_outputs* given, std::size_t count) {
  const auto outputs = read_struct(given, "outputs");
  require_unused(outputs.reserved);
  const auto labels = static_cast<std::size_t>(model.info.labels),
             features = static_cast<std::size_t>(model.info.features);
  Outputs result{{}, {}, {}, place_of(outputs.place)};
  require(outputs.logits || outputs.embeddings || outputs.probabilities,
          "logits, embeddings and probabilities are null: nothing is asked for");
  const auto wanted = [&]<class T>(T* data, std::size_t size, std::size_t columns, const char* name, Place place) {
    std::span<T> span;
    if (data) {
      span = buffer(data, size, count * columns, name, Size::kAtLeast);
      model.engine->require_place(data, place, name);
    }
    return span;
  };
  result.logits = wanted(outputs.logits, outputs.logits_size, labels, "logits", result.place);
  result.embeddings = wanted(outputs.embeddings, outputs.embeddings_size, features, "embeddings", result.place);
  result.probabilities =
      wanted(outputs.probabilities, outputs.probabilities_size, labels, "probabilities", Place::kHost);
  return result;
}

template <class T>
std::span<T> rows(std::span<T> all, std::size_t begin, std::size_t count, std::int64_t columns) {
  const auto width = static_cast<std::size_t>(columns);
  return all.empty() ? all : all.subspan(begin * width, count * width);
}

// One batch.
void infer(densetree_model& model, const Images& images, const Outputs& outputs, std::size_t begin, std::size_t count) {
  const auto side = model.info.source_size;
  const nn::ImageBatch batch{rows(images.pixels, begin, count, side * side), std::span(model.transforms).first(count),
                             [begin](std::size_t i) { return fmt::format("image {}", begin + i); }, images.place};
  std::span<float> logits = rows(outputs.logits, begin, count, model.info.labels);
  const std::span<float> embeddings = rows(outputs.embeddings, begin, count, model.info.features);
  const std::span<double> probabilities = rows(outputs.probabilities, begin, count, model.info.labels);
  const bool on_device = outputs.place == Place::kDevice;
  const std::span<float> staged = std::span(model.logits).first(count * static_cast<std::size_t>(model.info.labels));
  const std::span<float> host_logits = !on_device && !logits.empty() ? logits
                                       : !probabilities.empty()      ? staged
                                                                     : std::span<float>();
  nn::infer(*model.model, batch, host_logits, on_device ? std::span<float>() : embeddings);
  if (on_device && !logits.empty()) {
    model.model->read_logits(logits, Place::kDevice);
  }
  if (on_device && !embeddings.empty()) {
    model.model->read_embeddings(embeddings, Place::kDevice);
  }
  if (!probabilities.empty()) {
    nn::probabilities_of(host_logits, probabilities);
  }
}

struct StepSettings : AdamStep {
  static void settings(auto& o, auto&& f) { nn::step_settings(o, f); }
};

AdamStep step_of(const densetree_step_params* given) {
  const auto params = read_struct(given, "params");
  StepSettings step{{.lr = params.lr, .weight_decay = params.weight_decay, .clip_norm = params.clip_norm}};
  on_arguments([&] { check_settings(step); });
  return step;
}

}  // namespace

densetree_status* densetree_model_create(densetree_plan* plan, void* memory, size_t bytes, densetree_model** model) {
  return guarded(DENSETREE_FAILED, [&] {
    densetree_model*& made = made_at(model, "model");
    const Entry entry(at(plan, "plan").engine);
    Device& device = plan->engine->device();
    require(memory || bytes == 0, "memory is null and bytes {}; null takes 0 bytes", bytes);
    if (memory) {
      require(reinterpret_cast<std::uintptr_t>(memory) % Planner::kAlignment == 0,
              "memory is at {}, which is not aligned to {} bytes", memory, Planner::kAlignment);
      require(bytes >= plan->info.bytes, "memory has {} bytes; the plan needs {}", bytes, plan->info.bytes);
      plan->engine->require_place(memory, Place::kDevice, "memory");
    }
    if (!plan->plan) {
      plan->plan.emplace(device, plan->options);
      check(plan->plan->bytes() == plan->info.bytes,
            "planned anew, the model takes {} bytes instead of {}; make another plan", plan->plan->bytes(),
            plan->info.bytes);
    }
    if (!memory && plan->engine->allocates()) {
      const std::size_t free = device.info().free_memory;
      if (plan->info.bytes > free) {
        refuse(DENSETREE_OUT_OF_MEMORY,
               "{} has {} bytes free and the plan needs {}; densetree_largest_batch says what fits",
               plan->engine->name(), free, plan->info.bytes);
      }
    }
    nn::ModelPlan taken = std::move(*plan->plan);
    plan->plan.reset();
    auto result = std::make_unique<densetree_model>();
    result->engine = plan->engine;
    result->labels = plan->labels;
    result->model = std::make_unique<nn::Model>(std::move(taken), memory);
    const nn::ModelOptions& o = result->model->options();
    result->info = plan->info;
    result->info.architecture = o.arch.name.c_str();
    result->transforms.assign(static_cast<std::size_t>(o.batch_size), resize_transform(o.source_size, o.image_size));
    result->logits.resize(static_cast<std::size_t>(o.batch_size * o.labels));
    if (!plan->run.empty()) {
      load(*result, nn::TrainedWeights(plan->run).file);
    } else {
      result->model->initialize(1);
    }
    made = result.release();
  });
}

void densetree_model_release(densetree_model* model) {
  Engine::release(model);
}

densetree_status* densetree_model_get_info(const densetree_model* model, densetree_model_info* info) {
  return guarded(DENSETREE_FAILED, [&] {
    densetree_model_info now = at(model, "model").info;
    now.steps = model->steps;
    write_struct(info, "info", now);
  });
}

const char* densetree_model_label(const densetree_model* model, int64_t index) {
  if (!model || index < 0 || static_cast<std::size_t>(index) >= model->labels.names.size()) {
    return nullptr;
  }
  return model->labels.names[static_cast<std::size_t>(index)].c_str();
}

densetree_status* densetree_model_initialize(densetree_model* model, uint64_t seed) {
  return guarded(DENSETREE_FAILED, [&] {
    const Entry entry(at(model, "model").engine);
    model->model->initialize(seed);
    model->steps = 0;
  });
}

densetree_status* densetree_model_load(densetree_model* model, const char* file) {
  return guarded(DENSETREE_FAILED, [&] {
    const Entry entry(at(model, "model").engine);
    load(*model, TensorFile::open(&at(file, "file")));
  });
}

densetree_status* densetree_model_save(densetree_model* model, const char* file) {
  return guarded(DENSETREE_FAILED, [&] {
    const Entry entry(at(model, "model").engine);
    at(file, "file");
    const nn::ModelOptions& o = model->model->options();
    require(!model->labels.names.empty(), "the labels have no names; give label_names when the plan is made");
    CheckpointMeta meta{
        .arch = o.arch.name,
        .labels = model->labels.names,
        .preprocessing = {.source_size = o.source_size, .image_size = o.image_size, .normalization = {}},
        .step = model->model->steps(),
        .epoch = 0,
        .extra = {}};
    if (model->labels.of_findings) {
      nn::store_labels(meta, *model->labels.of_findings);
    }
    TensorWriter writer;
    for (const auto& [key, value] : meta.to_metadata()) {
      writer.set_metadata(key, value);
    }
    model->model->save(writer, o.training);
    writer.write(std::filesystem::path(file));
  });
}

densetree_status* densetree_model_get_tensor(const densetree_model* model, int64_t index, densetree_tensor* tensor) {
  return guarded(DENSETREE_FAILED, [&] {
    const auto& entries = at(model, "model").model->plan().parameters().entries();
    require(index >= 0, "index is {}; it counts from 0", index);
    if (static_cast<std::size_t>(index) >= entries.size()) {
      refuse(DENSETREE_NOT_FOUND, "the model has {} tensors", entries.size());
    }
    const Parameters::Entry& entry = entries[static_cast<std::size_t>(index)];
    densetree_tensor result{};
    result.name = entry.name.c_str();
    result.elements = entry.elements;
    result.dimensions = static_cast<int32_t>(entry.shape.size());
    std::copy(entry.shape.begin(), entry.shape.end(), result.shape);
    write_struct(tensor, "tensor", result);
  });
}

densetree_status* densetree_model_read_tensor(densetree_model* model, const char* name, float* values,
                                              size_t values_size) {
  return guarded(DENSETREE_FAILED, [&] {
    const Entry entry(at(model, "model").engine);
    const Parameters& parameters = model->model->plan().parameters();
    const int index = parameters.find(&at(name, "name"));
    require(index >= 0, "name is '{}', and the model has no such tensor", name);
    const auto elements = static_cast<std::size_t>(parameters.entry(index).elements);
    const std::span<float> to = buffer(values, values_size, elements, "values", Size::kAtLeast);
    model->engine->require_place(values, Place::kHost, "values");
    std::ranges::copy(model->model->read(name), to.begin());
  });
}

densetree_status* densetree_model_infer(densetree_model* model, const densetree_images* images,
                                        const densetree_outputs* outputs, densetree_progress progress,
                                        void* progress_data) {
  return guarded(DENSETREE_FAILED, [&] {
    const Entry entry(at(model, "model").engine);
    require(model->info.inference == 1, "the model was not made to infer; set inference when the plan is made");
    const Images given = images_of(*model, images);
    const Outputs wanted = outputs_of(*model, outputs, given.count);
    const auto batch = static_cast<std::size_t>(model->info.batch_size);
    for (std::size_t done = 0; done < given.count;) {
      const std::size_t count = std::min(batch, given.count - done);
      infer(*model, given, wanted, done, count);
      done += count;
      if (progress && progress(progress_data, static_cast<int64_t>(done), static_cast<int64_t>(given.count)) == 0 &&
          done < given.count) {
        refuse(DENSETREE_CANCELLED, "cancelled after {} of {} images", done, given.count);
      }
    }
  });
}

densetree_status* densetree_step_params_init(densetree_step_params* params, size_t size) {
  const AdamStep step;
  densetree_step_params defaults{};
  defaults.lr = step.lr;
  defaults.weight_decay = step.weight_decay;
  defaults.clip_norm = step.clip_norm;
  return init_struct(params, size, defaults);
}

densetree_status* densetree_model_train_step(densetree_model* model, const densetree_images* images,
                                             const float* targets, size_t targets_size,
                                             const densetree_step_params* params, double* loss) {
  return guarded(DENSETREE_FAILED, [&] {
    const Entry entry(at(model, "model").engine);
    require(model->info.training == 1, "the model was not made to train; set training when the plan is made");
    const Images given = images_of(*model, images);
    const auto batch = static_cast<std::size_t>(model->info.batch_size);
    require(given.count == batch, "count is {}; a step takes a whole batch of {} images", given.count, batch);
    const std::span<const float> known =
        buffer(targets, targets_size, batch * static_cast<std::size_t>(model->info.labels), "targets", Size::kExactly);
    model->engine->require_place(targets, given.place, "targets");
    if (given.place == Place::kHost) {
      const auto bad = std::ranges::find_if(known, [](float y) { return !std::isnan(y) && !(y >= 0 && y <= 1); });
      require(bad == known.end(), "targets[{}] is {}; targets are from 0 to 1, or NaN where unknown",
              bad - known.begin(), bad == known.end() ? 0 : *bad);
    }
    const AdamStep step = step_of(params);
    if (loss) {
      at(loss, "loss");
      model->engine->require_place(loss, Place::kHost, "loss");
    }
    nn::Model& m = *model->model;
    m.set_images(given.pixels, model->transforms, true, given.place);
    m.set_targets(known, given.place);
    m.train_step(step);
    model->steps = m.steps();
    if (loss) {
      *loss = m.loss();
    }
  });
}
