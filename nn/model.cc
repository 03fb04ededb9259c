#include "nn/model.h"

#include <algorithm>

#include "kernels/core/bfloat16.h"
#include "kernels/core/error.h"
#include "kernels/core/philox.h"

namespace densetree::nn {
namespace {

using Kind = Parameters::Kind;
constexpr std::size_t kAlignment = Planner::kAlignment;
constexpr const char* kFirstMoment = "exp_avg.";
constexpr const char* kSecondMoment = "exp_avg_sq.";
constexpr const char* kSteps = "steps";

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

void check_options(const ModelOptions& o) {
  check(o.batch_size >= 1, "batch size is {}; it must be at least 1", o.batch_size);
  constexpr std::int64_t kMostPixels = std::int64_t{1} << 38;
  check(o.image_size <= kMostPixels / o.batch_size / std::max<std::int64_t>(o.image_size, 1),
        "a batch of {} images of {}x{} pixels has more than 2^38 of them", o.batch_size, o.image_size, o.image_size);
  check(o.labels >= 1, "there are {} labels; at least 1 is needed", o.labels);
  const std::int64_t least = std::int64_t{4} << (o.arch.blocks.size() - 1);
  check(o.image_size >= least, "image size {} is too small for {}, which halves it {} times; use {} or more",
        o.image_size, o.arch.name, o.arch.blocks.size() + 1, least);
  check(o.positive_weights.empty() || static_cast<std::int64_t>(o.positive_weights.size()) == o.labels,
        "there are {} positive weights for {} labels", o.positive_weights.size(), o.labels);
  check(o.training || o.inference, "a model has to train or to predict");
  check(o.inference || !o.keep_features, "features are kept in inference; this model is not made to predict");
}

}  // namespace

// ---- Plan

ModelPlan::ModelPlan(Device& device, ModelOptions options) : device_(device), options_(std::move(options)) {
  check_options(options_);
  const std::string why_not = device_.why_not(options_.precision);
  check(why_not.empty(), "precision {}: {}", name_of(options_.precision), why_not);
  if (options_.training) {
    training_ = build(true);
  }
  if (options_.inference) {
    inference_ = build(false);
  }
}

std::unique_ptr<Graph> ModelPlan::build(bool training) {
  const ModelOptions& o = options_;
  auto graph = std::make_unique<Graph>(device_);
  Tape& tape = graph->tape;
  Builder builder(tape, parameters_, *memory_, training, o.memory, o.batch_norm, o.precision);

  const Shape shape{o.batch_size, kInputChannels, o.image_size, o.image_size};
  graph->input = tape.tensor("input", shape, device_.layout(Use::kInput), element_type(o.precision));
  if (o.source_size > 0) {
    graph->pixels = tape.storage("pixels", o.batch_size * o.source_size * o.source_size);
    graph->transforms = tape.storage("transforms", o.batch_size * sizeof(ImageTransform));
    tape.keep(graph->pixels);
    tape.keep(graph->transforms);
    tape.add(make_input("input", graph->pixels, o.source_size, graph->transforms, graph->input));
  } else {
    tape.keep(graph->input.storage);
  }
  const Outputs outputs = densenet(builder, o.arch, graph->input, o.labels);
  graph->features = outputs.features;
  graph->embedding = outputs.embedding;
  graph->logits = outputs.logits;
  tape.keep(outputs.logits);
  builder.finish();
  graph->batch_norms = builder.batch_norms();

  if (training) {
    const std::int64_t terms = o.batch_size * o.labels;
    graph->targets = tape.storage("targets", terms * sizeof(float));
    graph->loss = tape.storage("loss", sizeof(double));
    graph->gradients = builder.gradients();
    if (!o.positive_weights.empty()) {
      graph->positive_weights = tape.storage("positive weights", o.labels * sizeof(float));
      tape.keep(graph->positive_weights);
    }
    tape.keep(graph->targets);
    tape.keep(graph->loss);
    const Shape row{1, terms, 1, 1};
    const StorageId dlogits = tape.gradient(Tensor{outputs.logits, row, row}).storage;
    tape.add(make_loss("loss", o.loss, o.batch_size, o.labels, outputs.logits, graph->targets, graph->positive_weights,
                       graph->loss, dlogits));
  } else {
    tape.keep(outputs.embedding);
    if (o.keep_features) {
      tape.keep(outputs.features.storage);
    }
  }
  tape.freeze(training);
  return graph;
}

std::size_t ModelPlan::persistent_bytes() const {
  const std::size_t weights = aligned(parameters_.size(Kind::kWeight) * sizeof(float));
  const std::size_t running = aligned(parameters_.size(Kind::kRunning) * sizeof(float));
  const std::size_t norm = aligned(sizeof(double)) + aligned(device_.reduction_bytes(1));
  const StepInputs inputs = step_inputs();
  std::size_t rest = aligned(inputs.adam) + aligned(options_.positive_weights.size() * sizeof(float));
  for (const std::size_t bytes : {inputs.pixels, inputs.transforms, inputs.targets, inputs.adam}) {
    rest += aligned(device_.staging_bytes(bytes));
  }
  return (training_ ? 3 : 1) * weights + running + norm + rest;
}

ModelPlan::StepInputs ModelPlan::step_inputs() const {
  const ModelOptions& o = options_;
  const auto batch = static_cast<std::size_t>(o.batch_size);
  StepInputs inputs;
  if (o.source_size > 0) {
    inputs.pixels = batch * static_cast<std::size_t>(o.source_size * o.source_size);
    inputs.transforms = batch * sizeof(ImageTransform);
  }
  if (training_) {
    inputs.targets = batch * static_cast<std::size_t>(o.labels) * sizeof(float);
    inputs.adam = sizeof(AdamScalars);
  }
  return inputs;
}

std::size_t ModelPlan::step_bytes() const {
  return std::max(training_ ? training_->tape.bytes() : 0, inference_ ? inference_->tape.bytes() : 0);
}

std::int64_t largest_batch(Device& device, ModelOptions options, std::size_t budget, std::int64_t limit) {
  const auto fits = [&](std::int64_t batch) {
    options.batch_size = batch;
    return ModelPlan(device, options).bytes() <= budget;
  };
  std::int64_t good = 0, bad = limit + 1;
  for (std::int64_t batch = 1; batch <= limit && bad > limit; batch *= 2) {
    (fits(batch) ? good : bad) = batch;
  }
  while (bad - good > 1) {
    const std::int64_t middle = (good + bad) / 2;
    (fits(middle) ? good : bad) = middle;
  }
  return good;
}

// ---- Model

Model::Model(Device& device, const ModelOptions& options) : device_(device), plan_(device, options) {
  if (options.training) {
    const Shape& last = plan_.training_->features.shape;
    check(last.n * last.pixels() > 1,
          "batch norm needs more than one value per channel, but a batch of {} ends with maps of {}x{}; use a larger "
          "batch or larger images",
          last.n, last.h, last.w);
  }
  const std::size_t free = device.info().free_memory;
  if (plan_.bytes() > free) {  // no check(): the advice takes a while
    fail("{} has {:.2f} GiB free and the plan needs {:.2f} GiB; {}", device.info().name, free / 0x1p30,
         plan_.bytes() / 0x1p30, advice(free));
  }
  arena_ = std::make_unique<Arena>(device, plan_.bytes());
  std::size_t at = 0;
  const auto take = [&](std::size_t bytes) {
    std::byte* memory = arena_->at(at);
    at += aligned(bytes);
    return memory;
  };
  const std::size_t weights = plan_.parameters_.size(Kind::kWeight) * sizeof(float);
  plan_.memory_->weights = reinterpret_cast<float*>(take(weights));
  plan_.memory_->running = reinterpret_cast<float*>(take(plan_.parameters_.size(Kind::kRunning) * sizeof(float)));
  if (plan_.training_) {
    first_moment_ = reinterpret_cast<float*>(take(weights));
    second_moment_ = reinterpret_cast<float*>(take(weights));
  }
  norm_ = reinterpret_cast<double*>(take(sizeof(double)));
  norm_workspace_ = take(device.reduction_bytes(1));
  const ModelPlan::StepInputs inputs = plan_.step_inputs();
  adam_ = reinterpret_cast<AdamScalars*>(take(inputs.adam));
  if (const std::size_t bytes = options.positive_weights.size() * sizeof(float); bytes > 0) {
    positive_weights_ = reinterpret_cast<float*>(take(bytes));
    device.upload(positive_weights_, options.positive_weights.data(), bytes);
  }
  const auto stage = [&](std::size_t bytes) {
    void* memory = take(device.staging_bytes(bytes));
    return bytes > 0 ? device.make_staged_upload(bytes, memory) : nullptr;
  };
  pixel_upload_ = stage(inputs.pixels);
  transform_upload_ = stage(inputs.transforms);
  target_upload_ = stage(inputs.targets);
  adam_upload_ = stage(inputs.adam);
  if (plan_.training_) {
    losses_ = device.make_readback(sizeof(double));
  }
  if (plan_.inference_) {
    logits_ = device.make_readback(options.batch_size * options.labels * sizeof(float));
  }
  gaps_ = plan_.parameters_.gaps();
  for (Graph* graph : {plan_.training_.get(), plan_.inference_.get()}) {
    if (graph) {
      graph->tape.bind(arena_->at(at));
    }
  }
}

std::string Model::advice(std::size_t free) const {
  std::string fitting;
  for (const MemoryMode mode : {MemoryMode::kStore, MemoryMode::kShared, MemoryMode::kRecompute}) {
    ModelOptions options = plan_.options();
    options.memory = mode;
    const std::int64_t batch = largest_batch(device_, options, free, options.batch_size);
    if (batch > 0) {
      fitting += fmt::format("{}--batch-size {} --memory {}", fitting.empty() ? "" : ", or ", batch, name_of(mode));
    }
  }
  return fitting.empty() ? "not even one image fits" : "this would fit: " + fitting;
}

Graph& Model::graph(bool training) {
  Graph* graph = training ? plan_.training_.get() : plan_.inference_.get();
  check(graph != nullptr, "this model was not made to {}", training ? "train" : "predict");
  return *graph;
}

float* Model::array_of(const Parameters::Entry& entry) const {
  return (entry.kind == Kind::kWeight ? plan_.memory_->weights : plan_.memory_->running) + entry.offset;
}

std::vector<float> Model::download(const void* from, std::int64_t count, DType type) const {
  std::vector<float> values(count);
  if (type == DType::kFloat32) {
    device_.download(values.data(), from, count * sizeof(float));
    return values;
  }
  std::vector<std::uint16_t> bits(count);
  device_.download(bits.data(), from, count * sizeof(std::uint16_t));
  std::transform(bits.begin(), bits.end(), values.begin(), float_of_bfloat16);
  return values;
}

void Model::initialize(std::uint64_t seed) {
  std::uint32_t index = 0;
  for (const Parameters::Entry& entry : plan_.parameters_.entries()) {
    RandomStream random(seed, RandomUse::kInit, index++);
    std::vector<float> values(entry.elements, 0.0f);
    const double fan_in = static_cast<double>(entry.elements / entry.shape[0]);
    if (entry.kind == Kind::kRunning) {
      std::fill(values.begin(), values.end(), entry.name.ends_with("running_var") ? 1.0f : 0.0f);
    } else if (entry.shape.size() == 4) {
      for (float& value : values) {
        value = static_cast<float>(random.normal() * std::sqrt(2.0 / fan_in));
      }
    } else if (entry.shape.size() == 2) {
      const auto bound = static_cast<float>(1.0 / std::sqrt(fan_in));
      for (float& value : values) {
        value = random.uniform(-bound, bound);
      }
    } else if (entry.name.ends_with("weight")) {
      std::fill(values.begin(), values.end(), 1.0f);
    }
    device_.upload(array_of(entry), values.data(), values.size() * sizeof(float));
  }
  if (first_moment_) {
    const std::size_t bytes = plan_.parameters_.size(Kind::kWeight) * sizeof(float);
    device_.fill(first_moment_, 0, bytes);
    device_.fill(second_moment_, 0, bytes);
  }
  steps_ = 0;
}

std::vector<ExpectedTensor> Model::expected_tensors() const {
  std::vector<ExpectedTensor> expected;
  constexpr std::string_view kVariance = "running_var";
  for (const Parameters::Entry& entry : plan_.parameters_.entries()) {
    expected.push_back({entry.name, entry.shape});
    if (entry.name.ends_with(kVariance)) {
      const std::string prefix = entry.name.substr(0, entry.name.size() - kVariance.size());
      expected.push_back({prefix + "num_batches_tracked", {}});
    }
  }
  return expected;
}

std::vector<std::string> Model::load(const TensorFile& file, LoadPolicy policy, bool optimizer, std::uint64_t seed) {
  const std::vector<ExpectedTensor> expected = expected_tensors();
  const LoadPlan matched = match_tensors(file, expected, policy);
  initialize(seed);
  weight_fault_.clear();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const int index = plan_.parameters_.find(expected[i].name);
    if (index >= 0 && matched.tensors[i]) {
      const std::vector<float> values = matched.tensors[i]->to_float32();
      const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
      if (bad != values.end() && weight_fault_.empty()) {
        weight_fault_ = fmt::format("'{}' holds {}", expected[i].name, *bad);
      }
      device_.upload(array_of(plan_.parameters_.entry(index)), values.data(), values.size() * sizeof(float));
    }
  }
  if (optimizer) {
    check(first_moment_ != nullptr, "this model was not made to train");
    for (const Parameters::Entry& entry : plan_.parameters_.entries()) {
      if (entry.kind == Kind::kWeight) {
        for (auto [prefix, moment] : {std::pair{kFirstMoment, first_moment_}, {kSecondMoment, second_moment_}}) {
          const TensorInfo& tensor = file.at(kOptimizerPrefix + std::string(prefix) + entry.name);
          check(tensor.shape == entry.shape, "{}: '{}' has shape {}; it should have {}", file.source(), tensor.name,
                describe(tensor.shape), describe(entry.shape));
          const std::vector<float> values = tensor.to_float32();
          device_.upload(moment + entry.offset, values.data(), values.size() * sizeof(float));
        }
      }
    }
    const std::vector<std::int64_t> steps = file.at(std::string(kOptimizerPrefix) + kSteps).to_int64();
    check(steps.size() == 1 && steps[0] >= 0, "{}: the optimiser's step count is not one number", file.source());
    steps_ = steps[0];
  }
  return matched.notes;
}

void Model::save(TensorWriter& writer, bool optimizer) {
  saved_.clear();
  saved_steps_ = steps_;
  const auto add = [&](const std::string& name, const TensorShape& shape, const float* from, std::int64_t elements) {
    saved_.push_back(download(from, elements));
    for (const float value : saved_.back()) {
      check(std::isfinite(value), "'{}' became {} by step {}; it is not saved: what was saved before stays", name,
            value, steps_);
    }
    writer.add(name, TensorType::kFloat32, shape, saved_.back().data());
  };
  const auto& entries = plan_.parameters_.entries();
  saved_.reserve(entries.size() * 3);
  for (const ExpectedTensor& tensor : expected_tensors()) {
    const int index = plan_.parameters_.find(tensor.name);
    if (index < 0) {
      writer.add(tensor.name, TensorType::kInt64, {}, &saved_steps_);
    } else {
      add(tensor.name, tensor.shape, array_of(entries[index]), entries[index].elements);
    }
  }
  if (!optimizer) {
    return;
  }
  check(first_moment_ != nullptr, "this model was not made to train");
  for (const Parameters::Entry& entry : entries) {
    if (entry.kind == Kind::kWeight) {
      add(kOptimizerPrefix + (kFirstMoment + entry.name), entry.shape, first_moment_ + entry.offset, entry.elements);
      add(kOptimizerPrefix + (kSecondMoment + entry.name), entry.shape, second_moment_ + entry.offset, entry.elements);
    }
  }
  writer.add(std::string(kOptimizerPrefix) + kSteps, TensorType::kInt64, {}, &saved_steps_);
}

std::vector<float> Model::read(const std::string& name) const {
  const int index = plan_.parameters_.find(name);
  check(index >= 0, "the model has no tensor '{}'", name);
  const Parameters::Entry& entry = plan_.parameters_.entry(index);
  return download(array_of(entry), entry.elements);
}

std::vector<float> Model::read_gradient(const std::string& name) const {
  const int index = plan_.parameters_.find(name);
  check(index >= 0 && plan_.training_, "the model has no gradient of '{}'", name);
  const Parameters::Entry& entry = plan_.parameters_.entry(index);
  check(entry.kind == Kind::kWeight, "'{}' is a running statistic; it has no gradient", name);
  const auto* gradients = static_cast<const float*>(plan_.training_->tape.address(plan_.training_->gradients));
  return download(gradients + entry.offset, entry.elements);
}

// ---- Steps

void Model::set_images(std::span<const std::uint8_t> pixels, std::span<const ImageTransform> transforms,
                       bool training) {
  Graph& g = graph(training);
  const auto& o = options();
  const std::size_t image = o.source_size * o.source_size;
  const std::size_t count = transforms.size();
  check(g.pixels >= 0, "this model takes floats, not images");
  check(pixels.size() == count * image && count <= static_cast<std::size_t>(o.batch_size),
        "{} bytes of pixels and {} transforms do not make a batch of up to {} images of {}x{}", pixels.size(), count,
        o.batch_size, o.source_size, o.source_size);
  check(!training || count == static_cast<std::size_t>(o.batch_size),
        "training takes whole batches of {} images; this one has {}", o.batch_size, count);
  pixel_upload_->send(g.tape.address(g.pixels), pixels.data(), pixels.size());
  transform_upload_->send(g.tape.address(g.transforms), transforms.data(), count * sizeof(ImageTransform));
  if (count < static_cast<std::size_t>(o.batch_size)) {
    auto* rest = static_cast<std::byte*>(g.tape.address(g.pixels)) + pixels.size();
    device_.fill(rest, 0, o.batch_size * image - pixels.size());
    auto* rest_transforms = static_cast<std::byte*>(g.tape.address(g.transforms)) + count * sizeof(ImageTransform);
    device_.fill(rest_transforms, 0, (o.batch_size - count) * sizeof(ImageTransform));
  }
}

void Model::set_input(std::span<const float> nchw, bool training) {
  Graph& g = graph(training);
  check(g.pixels < 0, "this model takes images, not floats");
  const Shape& shape = g.input.shape;
  check(static_cast<std::int64_t>(nchw.size()) == shape.elements(), "the input has {} values; ({}, {}, {}, {}) has {}",
        nchw.size(), shape.n, shape.c, shape.h, shape.w, shape.elements());
  staging_.assign(storage_elements(shape, g.input.layout), 0.0f);
  const View view = make_view(staging_.data(), shape, g.input.layout);
  std::size_t at = 0;
  for (std::int64_t n = 0; n < shape.n; ++n) {
    for (std::int64_t c = 0; c < shape.c; ++c) {
      for (std::int64_t p = 0; p < shape.pixels(); ++p) {
        staging_[view.offset(n, c, p)] = nchw[at++];
      }
    }
  }
  if (g.input.dtype == DType::kFloat32) {
    device_.upload(g.tape.address(g.input.storage), staging_.data(), staging_.size() * sizeof(float));
    return;
  }
  std::vector<std::uint16_t> rounded(staging_.size());
  std::transform(staging_.begin(), staging_.end(), rounded.begin(), bfloat16_bits);
  device_.upload(g.tape.address(g.input.storage), rounded.data(), rounded.size() * sizeof(std::uint16_t));
}

void Model::set_targets(std::span<const float> targets) {
  Graph& g = graph(true);
  check(static_cast<std::int64_t>(targets.size()) == options().batch_size * options().labels,
        "{} targets are not {} images times {} labels", targets.size(), options().batch_size, options().labels);
  target_upload_->send(g.tape.address(g.targets), targets.data(), targets.size_bytes());
}

void Model::train_step(AdamStep step) {
  const Graph& g = graph(true);
  step.step = steps_ + 1;
  const AdamScalars scalars(step);
  adam_upload_->send(adam_, &scalars, sizeof scalars);
  const bool clipping = step.clip_norm > 0;
  std::unique_ptr<Replay>& replay = training_[clipping];
  if (!replay) {
    replay = replay_of([this, clipping] { queue_training(clipping); });
  }
  replay->run();
  losses_->take(g.tape.address(g.loss));
  ++steps_;
}

// A step without what changes from step to step: that lies in device memory.
void Model::queue_training(bool clipping) {
  Graph& g = graph(true);
  if (g.positive_weights >= 0) {
    device_.copy(g.tape.address(g.positive_weights), positive_weights_, options().labels * sizeof(float));
  }
  g.tape.run();
  const Range range(device_, "adam");
  const std::int64_t count = plan_.parameters_.size(Kind::kWeight);
  auto* gradients = static_cast<float*>(g.tape.address(g.gradients));
  for (const auto& [begin, end] : gaps_) {
    device_.fill(gradients + begin, 0, (end - begin) * sizeof(float));
  }
  if (clipping) {
    device_.l2_norm(gradients, count, norm_, norm_workspace_);
  }
  device_.adam(adam_, clipping ? norm_ : nullptr, count, gradients, first_moment_, second_moment_,
               plan_.memory_->weights);
}

void Model::infer() {
  Tape& tape = graph(false).tape;
  if (!inference_) {
    inference_ = replay_of([&tape] { tape.run(); });
  }
  inference_->run();
  logits_->take(tape.address(graph(false).logits));
}

std::unique_ptr<Replay> Model::replay_of(std::function<void()> work) {
  return options().capture ? device_.capture(std::move(work)) : make_direct_replay(std::move(work));
}

double Model::loss(int ago) {
  check(losses_ != nullptr, "this model was not made to train");
  double value = 0;
  losses_->read(ago, &value);
  return value;
}

double Model::gradient_norm() {
  double value = 0;
  device_.download(&value, norm_, sizeof value);
  return value;
}

std::vector<float> Model::training_logits() {
  return download(graph(true).tape.address(graph(true).logits), options().batch_size * options().labels);
}

std::vector<float> Model::logits(int ago) {
  check(logits_ != nullptr, "this model was not made to predict");
  std::vector<float> values(options().batch_size * options().labels);
  logits_->read(ago, values.data());
  return values;
}

std::vector<float> Model::embeddings() {
  return download(graph(false).tape.address(graph(false).embedding), options().batch_size * options().arch.features());
}

const Tensor& Model::kept_features() const {
  check(options().keep_features, "this model was not made to keep its features; set keep_features in its options");
  return plan_.inference_->features;
}

Shape Model::feature_shape() const {
  return kept_features().shape;
}

std::vector<float> Model::features() {
  const Tensor& tensor = kept_features();
  const Shape& shape = tensor.shape;
  const std::vector<float> stored =
      download(plan_.inference_->tape.address(tensor.storage), storage_elements(shape, tensor.layout), tensor.dtype);
  const View view = make_view(nullptr, shape, tensor.layout, tensor.dtype);
  std::vector<float> planar(shape.elements());
  std::size_t at = 0;
  for (std::int64_t n = 0; n < shape.n; ++n) {
    for (std::int64_t c = 0; c < shape.c; ++c) {
      for (std::int64_t p = 0; p < shape.pixels(); ++p) {
        planar[at++] = stored[view.offset(n, c, p)];
      }
    }
  }
  return planar;
}

std::string Model::trace_not_finite(std::span<const std::uint8_t> pixels, std::span<const ImageTransform> transforms) {
  Tape& tape = graph(false).tape;
  device_.fill(tape.memory(), 0, tape.bytes());
  set_images(pixels, transforms, false);
  const std::string layer = tape.first_not_finite();
  return fmt::format("the first layer whose output is not finite is {}{}{}", layer.empty() ? "none" : layer,
                     weight_fault_.empty() ? "" : "; ", weight_fault_);
}

void Model::set_poison(bool poison) {
  training_ = {};  // captured as they were
  inference_.reset();
  for (Graph* graph : {plan_.training_.get(), plan_.inference_.get()}) {
    if (graph) {
      graph->tape.set_poison(poison);
    }
  }
}

}  // namespace densetree::nn
