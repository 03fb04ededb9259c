#include "nn/model.h"

#include <algorithm>

#include "kernels/core/bfloat16.h"
#include "kernels/core/error.h"
#include "kernels/core/philox.h"
#include "nn/tensor_names.h"

namespace densetree::nn {
namespace {

using Kind = Parameters::Kind;
// Persistent storages that no layer uses.
constexpr const char* kFirstMoment = "first moment";
constexpr const char* kSecondMoment = "second moment";
constexpr const char* kAdamScalars = "adam scalars";
constexpr const char* kGradientNorm = "gradient norm";
constexpr const char* kPositiveWeights = "positive weights";
constexpr const char* kPixelStaging = "pixel staging";
constexpr const char* kTransformStaging = "transform staging";
constexpr const char* kTargetStaging = "target staging";
constexpr const char* kAdamStaging = "adam staging";
// Names in files, which are torch's.
constexpr std::pair<const char*, const char*> kMoments[] = {{"exp_avg.", kFirstMoment}, {"exp_avg_sq.", kSecondMoment}};
constexpr const char* kSteps = "steps";

// Batch norm has a variance of at least two values.
std::int64_t least_batch(const ModelOptions& o) {
  return o.training && o.arch.last_side(o.image_size) == 1 ? 2 : 1;
}

}  // namespace

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
  check(o.block_memory.empty() || o.block_memory.size() == o.arch.blocks.size(),
        "there are {} memory modes for {} blocks; use one for each, or none", o.block_memory.size(),
        o.arch.blocks.size());
  const std::int64_t side = o.arch.last_side(o.image_size);
  check(o.batch_size >= least_batch(o),
        "batch norm needs more than one value per channel, but a batch of {} ends with maps of {}x{}; use a larger "
        "batch or larger images",
        o.batch_size, side, side);
  check(o.inference || !o.keep_features, "features are kept in inference; this model is not made to predict");
}

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
  list_persistent();
}

std::unique_ptr<Graph> ModelPlan::build(bool training) {
  const ModelOptions& o = options_;
  auto graph = std::make_unique<Graph>(device_);
  Tape& tape = graph->tape;
  const Shape shape{o.batch_size, kInputChannels, o.image_size, o.image_size};
  graph->input = tape.tensor("input", shape, device_.layout(Use::kInput), element_type(o.precision));
  tape.set_constant(graph->input.storage);
  if (o.source_size > 0) {
    graph->pixels = tape.array<std::uint8_t>("pixels", o.batch_size * o.source_size * o.source_size);
    graph->transforms = tape.array<ImageTransform>("transforms", o.batch_size);
    tape.keep(graph->pixels.storage);
    tape.keep(graph->transforms.storage);
    tape.add("input",
             op::ImagesToInput{
                 .images = graph->pixels, .source = o.source_size, .transforms = graph->transforms, .y = graph->input});
  } else {
    tape.keep(graph->input.storage);
  }
  Builder builder(tape, parameters_, {training, o.memory, o.block_memory, o.batch_norm, o.precision});
  const Outputs outputs = densenet(builder, o.arch, graph->input, o.labels);
  graph->features = outputs.features;
  graph->embedding = outputs.embedding;
  graph->logits = outputs.logits;
  graph->batch_norms = builder.batch_norms();
  tape.keep(outputs.logits.storage);
  if (training) {
    add_loss(*graph);
    add_optimizer(tape);
  } else {
    tape.keep(outputs.embedding.storage);
    if (o.keep_features) {
      tape.keep(outputs.features.storage);
    }
  }
  tape.freeze(training);
  return graph;
}

void ModelPlan::add_loss(Graph& graph) const {
  Tape& tape = graph.tape;
  graph.targets = tape.array<float>("targets", options_.batch_size * options_.labels);
  graph.loss = tape.array<double>("loss", 1);
  tape.keep(graph.targets.storage);
  tape.keep(graph.loss.storage);
  op::Loss loss{.kind = options_.loss,
                .z = graph.logits,
                .y = graph.targets,
                .loss = graph.loss,
                .dz = tape.tensor("grad logits", graph.logits.shape(), graph.logits.layout)};
  if (!options_.positive_weights.empty()) {
    loss.positive_weights = tape.external<float>(kPositiveWeights, 0, options_.labels);
  }
  tape.add("loss", loss);
}

// What alignment leaves between the weights' gradients is written by no operation, and read by those below.
void ModelPlan::add_optimizer(Tape& tape) const {
  const std::int64_t count = parameters_.size(Kind::kWeight);
  tape.make_gradients(kWeights, "parameter gradients", count);
  const auto w = tape.external<float>(kWeights, 0, count);
  const Array<float> g = tape.gradient(w);
  const auto norm = tape.external<double>(kGradientNorm, 0, 1);
  for (const auto& [begin, end] : parameters_.gaps()) {
    tape.add_update("gaps", Phase::kUpdate, op::Clear{.memory = bytes_of(g.slice(begin, end - begin))});
  }
  tape.add_update("all-reduce", Phase::kUpdate, op::AllReduce{.g = g});
  tape.add_update("gradient norm", Phase::kClip, op::L2Norm{.g = g, .norm = norm});
  tape.add_update("adam", Phase::kUpdate,
                  op::Adam{.scalars = tape.external<AdamScalars>(kAdamScalars, 0, 1),
                           .norm = norm,
                           .g = g,
                           .m = tape.external<float>(kFirstMoment, 0, count),
                           .v = tape.external<float>(kSecondMoment, 0, count),
                           .w = w});
}

void ModelPlan::list_persistent() {
  const auto floats = [&](Kind kind) { return parameters_.size(kind) * sizeof(float); };
  const StepInputs inputs = step_inputs();
  for (const Kind kind : {Kind::kWeight, Kind::kRunningMean, Kind::kRunningVariance}) {
    persistent_.add(storage_of(kind), floats(kind));
  }
  if (inference_) {
    persistent_.add(kRunningRstd, floats(Kind::kRunningVariance));
  }
  if (training_) {
    persistent_.add(kFirstMoment, floats(Kind::kWeight));
    persistent_.add(kSecondMoment, floats(Kind::kWeight));
    persistent_.add(kAdamScalars, sizeof(AdamScalars));
    persistent_.add(kGradientNorm, sizeof(double));
    persistent_.add(kPositiveWeights, options_.positive_weights.size() * sizeof(float));
  }
  persistent_.add(kPixelStaging, device_.staging_bytes(inputs.pixels));
  persistent_.add(kTransformStaging, device_.staging_bytes(inputs.transforms));
  persistent_.add(kTargetStaging, device_.staging_bytes(inputs.targets));
  persistent_.add(kAdamStaging, device_.staging_bytes(inputs.adam));
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

bool has_optimizer(const TensorFile& file) {
  return file.find(std::string(kOptimizerPrefix) + kSteps) != nullptr;
}

std::size_t ModelPlan::step_bytes() const {
  return std::max(training_ ? training_->tape.bytes() : 0, inference_ ? inference_->tape.bytes() : 0);
}

std::int64_t largest_batch(Device& device, ModelOptions options, std::size_t budget, std::int64_t limit) {
  const auto fits = [&](std::int64_t batch) {
    options.batch_size = batch;
    return ModelPlan(device, options).bytes() <= budget;
  };
  const std::int64_t least = least_batch(options);
  std::int64_t good = least - 1, bad = limit + 1;
  for (std::int64_t batch = least; batch <= limit && bad > limit; batch *= 2) {
    (fits(batch) ? good : bad) = batch;
  }
  while (bad - good > 1) {
    const std::int64_t middle = (good + bad) / 2;
    (fits(middle) ? good : bad) = middle;
  }
  return good < least ? 0 : good;
}

// ---- Model

Model::Model(ModelPlan plan, void* memory) : device_(plan.device_), plan_(std::move(plan)) {
  Device& device = device_;
  const std::size_t free = memory ? plan_.bytes() : device.info().free_memory;
  if (plan_.bytes() > free) {
    throw OutOfMemory(fmt::format("{} has {:.2f} GiB free and the plan needs {:.2f} GiB; {}", device.info().name,
                                  free / 0x1p30, plan_.bytes() / 0x1p30, advice(free)));
  }
  arena_ = std::make_unique<Arena>(device, plan_.bytes(), memory);
  Persistent& persistent = plan_.persistent_;
  persistent.place(arena_->at(0));
  for (Graph* graph : {plan_.training_.get(), plan_.inference_.get()}) {
    if (graph) {
      graph->tape.bind(arena_->at(persistent.bytes()), persistent);
    }
  }
  const auto stage = [&](const char* staging, std::size_t bytes) {
    return bytes > 0 ? device.make_staged_upload(bytes, persistent.at(staging)) : nullptr;
  };
  const ModelPlan::StepInputs inputs = plan_.step_inputs();
  pixel_upload_ = stage(kPixelStaging, inputs.pixels);
  transform_upload_ = stage(kTransformStaging, inputs.transforms);
  target_upload_ = stage(kTargetStaging, inputs.targets);
  adam_upload_ = stage(kAdamStaging, inputs.adam);
  if (plan_.training_) {
    losses_ = device.make_readback(sizeof(double));
    const std::vector<float>& weights = plan_.options().positive_weights;
    if (!weights.empty()) {
      device.upload(persistent.at(kPositiveWeights), weights.data(), weights.size() * sizeof(float));
    }
  }
  if (plan_.inference_) {
    read_.resize(options().batch_size * options().labels);
    logits_ = device.make_readback(read_.size() * sizeof(float));
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
  return static_cast<float*>(plan_.persistent_.at(storage_of(entry.kind))) + entry.offset;
}

float* Model::moment_of(const Parameters::Entry& entry, const char* moment) const {
  check(options().training, "this model was not made to train");
  return static_cast<float*>(plan_.persistent_.at(moment)) + entry.offset;
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
    const bool is_scale = entry.shape.size() == 1 && entry.kind == Kind::kWeight && entry.name.ends_with("weight");
    if (is_scale || entry.kind == Kind::kRunningVariance) {
      std::fill(values.begin(), values.end(), 1.0f);
    } else if (entry.shape.size() == 4) {
      for (float& value : values) {
        value = static_cast<float>(random.normal() * std::sqrt(2.0 / fan_in));
      }
    } else if (entry.shape.size() == 2) {
      const auto bound = static_cast<float>(1.0 / std::sqrt(fan_in));
      for (float& value : values) {
        value = random.uniform(-bound, bound);
      }
    }
    device_.upload(array_of(entry), values.data(), values.size() * sizeof(float));
  }
  for (const auto& [prefix, moment] : kMoments) {
    if (options().training) {
      device_.fill(plan_.persistent_.at(moment), 0, plan_.parameters_.size(Kind::kWeight) * sizeof(float));
    }
  }
  steps_ = 0;
  folded_ = false;
  weight_fault_.clear();
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
  const LoadPlan matched = match_tensors(file, expected, densenet_names(), policy);
  const auto& entries = plan_.parameters_.entries();
  struct Moment {
    const TensorInfo& tensor;
    float* to;
  };
  std::vector<Moment> moments;
  std::int64_t steps = 0;
  if (optimizer) {
    for (const Parameters::Entry& entry : entries) {
      if (entry.kind == Kind::kWeight) {
        for (const auto& [prefix, moment] : kMoments) {
          const TensorInfo& tensor = file.at(kOptimizerPrefix + std::string(prefix) + entry.name);
          check(tensor.shape == entry.shape, "{}: '{}' has shape {}; it should have {}", file.source(), tensor.name,
                describe(tensor.shape), describe(entry.shape));
          moments.push_back({tensor, moment_of(entry, moment)});
        }
      }
    }
    const std::vector<std::int64_t> stored = file.at(std::string(kOptimizerPrefix) + kSteps).to_int64();
    check(stored.size() == 1 && stored[0] >= 0, "{}: the optimiser's step count is not one number", file.source());
    steps = stored[0];
  }
  initialize(seed);
  steps_ = steps;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const int index = plan_.parameters_.find(expected[i].name);
    if (index >= 0 && matched.tensors[i]) {
      const std::vector<float> values = matched.tensors[i]->to_float32();
      const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
      if (bad != values.end() && weight_fault_.empty()) {
        weight_fault_ = fmt::format("'{}' holds {}", expected[i].name, *bad);
      }
      device_.upload(array_of(entries[index]), values.data(), values.size() * sizeof(float));
    }
  }
  for (const Moment& moment : moments) {
    const std::vector<float> values = moment.tensor.to_float32();
    device_.upload(moment.to, values.data(), values.size() * sizeof(float));
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
  for (const Parameters::Entry& entry : entries) {
    for (const auto& [prefix, moment] : kMoments) {
      if (entry.kind == Kind::kWeight) {
        add(kOptimizerPrefix + (prefix + entry.name), entry.shape, moment_of(entry, moment), entry.elements);
      }
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
  Tape& tape = plan_.training_->tape;
  const auto weight = tape.external<float>(kWeights, entry.offset, entry.elements);
  return download(tape.address(tape.gradient(weight)), entry.elements);
}

// ---- Steps

void Model::set_images(std::span<const std::uint8_t> pixels, std::span<const ImageTransform> transforms, bool training,
                       Place place) {
  Graph& g = graph(training);
  const auto& o = options();
  const std::size_t image = o.source_size * o.source_size;
  const std::size_t count = transforms.size();
  check(g.pixels.present(), "this model takes floats, not images");
  check(pixels.size() == count * image && count <= static_cast<std::size_t>(o.batch_size),
        "{} bytes of pixels and {} transforms do not make a batch of up to {} images of {}x{}", pixels.size(), count,
        o.batch_size, o.source_size, o.source_size);
  check(!training || count == static_cast<std::size_t>(o.batch_size),
        "training takes whole batches of {} images; this one has {}", o.batch_size, count);
  if (place == Place::kHost) {
    pixel_upload_->send(g.tape.address(g.pixels), pixels.data(), pixels.size());
  } else {
    device_.copy(g.tape.address(g.pixels), pixels.data(), pixels.size());
  }
  transform_upload_->send(g.tape.address(g.transforms), transforms.data(), count * sizeof(ImageTransform));
  if (count < static_cast<std::size_t>(o.batch_size)) {
    auto* rest = g.tape.address(g.pixels) + pixels.size();
    device_.fill(rest, 0, o.batch_size * image - pixels.size());
    auto* rest_transforms = g.tape.address(g.transforms) + count;
    device_.fill(rest_transforms, 0, (o.batch_size - count) * sizeof(ImageTransform));
  }
}

void Model::set_input(std::span<const float> nchw, bool training) {
  Graph& g = graph(training);
  check(!g.pixels.present(), "this model takes images, not floats");
  const Shape shape = g.input.shape();
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
    device_.upload(g.tape.address(g.input), staging_.data(), staging_.size() * sizeof(float));
    return;
  }
  std::vector<std::uint16_t> rounded(staging_.size());
  std::transform(staging_.begin(), staging_.end(), rounded.begin(), bfloat16_bits);
  device_.upload(g.tape.address(g.input), rounded.data(), rounded.size() * sizeof(std::uint16_t));
}

void Model::set_targets(std::span<const float> targets, Place place) {
  Graph& g = graph(true);
  check(static_cast<std::int64_t>(targets.size()) == options().batch_size * options().labels,
        "{} targets are not {} images times {} labels", targets.size(), options().batch_size, options().labels);
  if (place == Place::kHost) {
    target_upload_->send(g.tape.address(g.targets), targets.data(), targets.size_bytes());
  } else {
    device_.copy(g.tape.address(g.targets), targets.data(), targets.size_bytes());
  }
}

void Model::train_step(AdamStep step) {
  const Graph& g = graph(true);
  step.step = steps_ + 1;
  const AdamScalars scalars(step);
  adam_upload_->send(plan_.persistent_.at(kAdamScalars), &scalars, sizeof scalars);
  const bool clipping = step.clip_norm > 0;
  std::unique_ptr<Replay>& replay = training_[clipping];
  if (!replay) {
    Tape& tape = graph(true).tape;
    replay = replay_of([&tape, clipping] { tape.run(clipping); });
  }
  replay->run();
  losses_->take(g.tape.address(g.loss));
  ++steps_;
  folded_ = false;
}

void Model::infer() {
  Tape& tape = graph(false).tape;
  if (!inference_) {
    inference_ = replay_of([&tape] { tape.run(); });
  }
  fold_statistics();
  inference_->run();
  logits_->take(tape.address(graph(false).logits));
}

// Once for as long as the running statistics stay what they are.
void Model::fold_statistics() {
  if (std::exchange(folded_, true)) {
    return;
  }
  const std::int64_t count = plan_.parameters_.size(Kind::kRunningVariance);
  const auto array = [&](const char* name) {
    return Array<float>(static_cast<float*>(plan_.persistent_.at(name)), count);
  };
  const Operation fold =
      op::ReciprocalStd{.variance = array(kRunningVariance), .eps = kBatchNormEps, .rstd = array(kRunningRstd)};
  if (!fold_) {
    fold_ = device_.prepare(fold);
  }
  fold_->run(fold, nullptr);
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
  device_.download(&value, plan_.persistent_.at(kGradientNorm), sizeof value);
  return value;
}

std::vector<float> Model::training_logits() {
  return download(graph(true).tape.address(graph(true).logits), options().batch_size * options().labels);
}

std::vector<float> Model::logits(int ago) {
  std::vector<float> values(options().batch_size * options().labels);
  read_logits(values, Place::kHost, ago);
  return values;
}

void Model::read_logits(std::span<float> to, Place place, int ago) {
  const Graph& g = graph(false);
  check(to.size() <= read_.size(), "{} logits are asked for; a batch has {}", to.size(), read_.size());
  if (place == Place::kDevice) {
    check(ago == 0, "only the last logits are on the device");
    device_.copy(to.data(), g.tape.address(g.logits), to.size_bytes());
    return;
  }
  logits_->read(ago, read_.data());
  std::copy_n(read_.begin(), to.size(), to.begin());
}

std::vector<float> Model::embeddings() {
  std::vector<float> values(options().batch_size * options().arch.features());
  read_embeddings(values);
  return values;
}

void Model::read_embeddings(std::span<float> to, Place place) {
  const Graph& g = graph(false);
  const auto most = static_cast<std::size_t>(options().batch_size * options().arch.features());
  check(to.size() <= most, "{} values of embeddings are asked for; a batch has {}", to.size(), most);
  const void* from = g.tape.address(g.embedding);
  place == Place::kDevice ? device_.copy(to.data(), from, to.size_bytes())
                          : device_.download(to.data(), from, to.size_bytes());
}

const Tensor& Model::kept_features() const {
  check(options().keep_features, "this model was not made to keep its features; set keep_features in its options");
  return plan_.inference_->features;
}

Shape Model::feature_shape() const {
  return kept_features().shape();
}

std::vector<float> Model::features() {
  const Tensor& tensor = kept_features();
  const Shape shape = tensor.shape();
  const std::vector<float> stored =
      download(plan_.inference_->tape.address(tensor), storage_elements(shape, tensor.layout), tensor.dtype);
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

std::string Model::trace_not_finite(std::span<const std::uint8_t> pixels, std::span<const ImageTransform> transforms,
                                    Place place) {
  Tape& tape = graph(false).tape;
  device_.fill(tape.memory(), 0, tape.bytes());
  set_images(pixels, transforms, false, place);
  fold_statistics();
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
