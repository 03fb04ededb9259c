#include "nn/trace.h"

#include "kernels/core/error.h"

namespace densetree::nn {
namespace {

constexpr std::string_view kCounter = "num_batches_tracked";

std::vector<double> widen(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

ModelOptions model_options(const TraceOptions& options, const TensorFile& batch) {
  const TensorInfo &x = batch.at("x"), &y = batch.at("y");
  check(x.shape.size() == 4 && x.shape[1] == kInputChannels && x.shape[2] == x.shape[3],
        "{}: x has shape {}; it should be [N, 3, S, S]", batch.source(), describe(x.shape));
  check(y.shape.size() == 2 && y.shape[0] == x.shape[0], "{}: y has shape {}; it should be [{}, L]", batch.source(),
        describe(y.shape), x.shape[0]);
  return {.arch = options.arch,
          .labels = y.shape[1],
          .batch_size = x.shape[0],
          .image_size = x.shape[2],
          .source_size = 0,
          .memory = options.memory,
          .batch_norm = options.batch_norm,
          .precision = options.precision,
          .loss = options.loss,
          .positive_weights = {}};
}

}  // namespace

Trace run_trace(Device& device, const TraceOptions& options, const TensorFile& weights, const TensorFile& batch) {
  check(options.steps >= 1, "a trace of {} steps is empty; use at least 1", options.steps);
  check(options.lr >= 0 && options.lr <= 1, "the learning rate is {}; use 0 to 1", options.lr);
  check_finite(weights);
  Model model(device, model_options(options, batch));
  model.set_poison(options.poison);
  model.load(weights, LoadPolicy::kStrict, false, 1);
  const std::vector<float> x = batch.at("x").to_float32(), y = batch.at("y").to_float32();
  const std::vector<std::int64_t> logits_shape{model.options().batch_size, model.options().labels};

  Trace trace;
  for (int k = 0; k < options.steps; ++k) {
    model.set_input(x, true);
    model.set_targets(y);
    model.train_step({.lr = options.lr});
    check(std::isfinite(model.loss()), "{}: the loss became {} in step {}", batch.source(), model.loss(), k);
    trace[fmt::format("step{}.loss", k)] = {{1}, {model.loss()}};
    trace[fmt::format("step{}.logits", k)] = {logits_shape, widen(model.training_logits())};
    if (k == 0) {
      for (const Parameters::Entry& entry : model.plan().parameters().entries()) {
        if (entry.kind == Parameters::Kind::kWeight) {
          trace["grad." + entry.name] = {entry.shape, widen(model.read_gradient(entry.name))};
        }
      }
    }
  }
  for (const ExpectedTensor& tensor : model.expected_tensors()) {
    const bool counter = tensor.name.ends_with(kCounter);
    trace["final." + tensor.name] = {tensor.shape, counter ? std::vector<double>{static_cast<double>(model.steps())}
                                                           : widen(model.read(tensor.name))};
  }
  model.set_input(x, false);
  model.infer();
  trace["eval.logits"] = {logits_shape, widen(model.logits())};
  return trace;
}

void write_trace(const Trace& trace, const std::string& path) {
  TensorWriter writer;
  std::map<std::string, std::vector<float>> floats;
  std::map<std::string, std::vector<std::int64_t>> counters;
  for (const auto& [name, tensor] : trace) {
    if (name.ends_with(kCounter)) {
      auto& values = counters[name] = {tensor.values.begin(), tensor.values.end()};
      writer.add(name, TensorType::kInt64, tensor.shape, values.data());
    } else {
      auto& values = floats[name] = {tensor.values.begin(), tensor.values.end()};
      writer.add(name, TensorType::kFloat32, tensor.shape, values.data());
    }
  }
  writer.write(path);
}

}  // namespace densetree::nn
