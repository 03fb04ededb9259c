#include "nn/builder.h"

#include "kernels/core/error.h"

namespace densetree::nn {

MemoryMode parse_memory_mode(const std::string& name) {
  for (const MemoryMode mode : {MemoryMode::kStore, MemoryMode::kShared, MemoryMode::kRecompute}) {
    if (name == name_of(mode)) {
      return mode;
    }
  }
  fail("memory mode '{}' is unknown; use store, shared or recompute", name);
}

const char* name_of(MemoryMode mode) {
  switch (mode) {
    case MemoryMode::kStore:
      return "store";
    case MemoryMode::kShared:
      return "shared";
    case MemoryMode::kRecompute:
      return "recompute";
  }
  fail("unknown memory mode {}", static_cast<int>(mode));
}

BatchNorm parse_batch_norm(const std::string& name) {
  for (const BatchNorm way : {BatchNorm::kAuto, BatchNorm::kPlain, BatchNorm::kFactored, BatchNorm::kFused}) {
    if (name == name_of(way)) {
      return way;
    }
  }
  fail("batch norm '{}' is unknown; use auto, plain, factored or fused", name);
}

const char* name_of(BatchNorm way) {
  switch (way) {
    case BatchNorm::kAuto:
      return "auto";
    case BatchNorm::kPlain:
      return "plain";
    case BatchNorm::kFactored:
      return "factored";
    case BatchNorm::kFused:
      return "fused";
  }
  fail("unknown way of batch norm {}", static_cast<int>(way));
}

std::string BatchNormCounts::describe() const {
  std::string text;
  for (const auto& [count, way] :
       {std::pair{fused, BatchNorm::kFused}, {factored, BatchNorm::kFactored}, {plain, BatchNorm::kPlain}}) {
    if (count > 0) {
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, name_of(way));
    }
  }
  if (refused > 0) {
    text += fmt::format("; {} could not be fused, first {}", refused, refusal);
  }
  return text;
}

// ---- Stack

Stack::Stack(Builder& builder, const std::string& name, const Tensor& first, std::int64_t channels)
    : builder_(&builder), name_(name) {
  const Shape shape{first.shape.n, channels, first.shape.h, first.shape.w};
  all_ = builder.feature(builder.activation(name, shape, builder.tape_.device().layout(Use::kStack)));
  append(first);
}

void Stack::append(const Tensor& x) {
  const Feature place = all_.slice(filled_, x.shape.c);
  Builder& b = *builder_;
  const std::string name = fmt::format("{}[{}]", name_, filled_);
  if (b.training_ && b.batch_norm_ != BatchNorm::kPlain) {
    b.tape_.add(make_normalize(name, b.tape_.device(), x, place, b.gradient(x), b.gradient(place.x)));
  } else {
    b.tape_.add(make_copy(name, x, place.x, b.gradient(x), b.gradient(place.x)));
  }
  filled_ += x.shape.c;
}

void Stack::append(const std::string& norm, const std::string& convolution, const Feature& x,
                   const ConvolutionOptions& options) {
  Builder& b = *builder_;
  Feature place = all_.slice(filled_, options.out);
  if (b.fuse(norm, convolution, x, options, place)) {
    filled_ += options.out;
  } else {
    append(b.convolution(convolution, b.norm_relu(norm, x, b.convolution_shape(x.x, options).input_use), options));
  }
}

Feature Stack::features() const {
  return all_.slice(0, filled_);
}

// ---- Builder

Builder::Builder(Tape& tape, Parameters& parameters, const ParameterMemory& memory, bool training, MemoryMode mode,
                 BatchNorm batch_norm, Precision precision)
    : tape_(tape),
      parameters_(parameters),
      memory_(memory),
      training_(training),
      mode_(mode),
      batch_norm_(batch_norm),
      precision_(precision) {
  if (training) {
    gradients_ = tape.storage("parameter gradients", 0);
    tape.keep_in_backward(gradients_);
  }
}

void Builder::finish() {
  if (training_) {
    tape_.set_bytes(gradients_, parameters_.size(Parameters::Kind::kWeight) * sizeof(float));
  }
}

ConvolutionShape Builder::convolution_shape(const Tensor& x, const ConvolutionOptions& o) const {
  const bool input = input_ < 0 || x.storage == input_;
  const bool stack = o.kernel == 1 && o.stride == 1 && o.padding == 0;
  return {.input = x.shape,
          .out_channels = o.out,
          .kernel = o.kernel,
          .stride = o.stride,
          .padding = o.padding,
          .input_use = input   ? Use::kInput
                       : stack ? Use::kStack
                               : Use::kSpatial,
          .output_use = stack && !input ? Use::kStack : Use::kSpatial,
          .training = training_,
          .precision = precision_};
}

Tensor Builder::convolution(const std::string& name, const Tensor& x, const ConvolutionOptions& o) {
  const ConvolutionShape shape = convolution_shape(x, o);
  const bool input = shape.input_use == Use::kInput;
  if (input) {
    input_ = x.storage;
  }
  Device& device = tape_.device();
  const Tensor y = activation(name, shape.output(), device.layout(shape.output_use));
  if (o.bottleneck && mode_ == MemoryMode::kRecompute) {
    tape_.drop_after_forward(y.storage);
  }
  const Weight w = weight(name + ".weight", {o.out, x.shape.c, o.kernel, o.kernel});
  tape_.add(make_convolution(name, device.make_convolution(shape), x, w, y, input ? Tensor{} : gradient(x), gradient(y),
                             !input));
  return y;
}

Feature Builder::feature(const Tensor& x) {
  Feature feature{.x = x, .total = x.shape.c};
  if (training_ && batch_norm_ != BatchNorm::kPlain) {
    add_statistics(feature);
  }
  return feature;
}

void Builder::add_statistics(Feature& feature) {
  feature.statistics = tape_.storage(unique("statistics"), 3 * feature.total * sizeof(float));
  feature.sums = tape_.storage(unique("gradient sums"), 2 * feature.total * sizeof(double));
}

Feature Builder::normalize(const Tensor& x) {
  const Feature result = feature(x);
  if (training_ && batch_norm_ != BatchNorm::kPlain) {
    tape_.add(make_normalize(unique("normalize"), tape_.device(), x, result, gradient(x), gradient(x)));
  }
  return result;
}

NormParameters Builder::norm_parameters(const std::string& name, std::int64_t channels) {
  NormParameters p;
  p.gamma = weight(name + ".weight", {channels});
  p.beta = weight(name + ".bias", {channels});
  p.running_mean = running(name + ".running_mean", channels);
  p.running_variance = running(name + ".running_var", channels);
  return p;
}

Tensor Builder::norm_relu(const std::string& name, const Feature& f, Use use) {
  const std::int64_t channels = f.x.shape.c;
  const NormParameters p = norm_parameters(name, channels);
  Device& device = tape_.device();
  const Tensor y = activation(name, f.x.shape, device.layout(use));
  ++(batch_norm_ == BatchNorm::kPlain ? counts_.plain : counts_.factored);
  if (!training_) {
    tape_.add(make_norm_relu_inference(name, f.x, p, y, tape_.storage(name + " rstd", channels * sizeof(float))));
    return y;
  }
  if (mode_ != MemoryMode::kStore) {
    tape_.drop_after_forward(y.storage);
  }
  if (batch_norm_ == BatchNorm::kPlain) {
    Feature own{.x = f.x, .total = channels};
    add_statistics(own);
    const Tensor normalized = activation("grad " + name + " normalized", f.x.shape, f.x.layout);
    tape_.add(make_batch_norm_relu(name, device, own, p, y, gradient(f.x), gradient(y), normalized));
  } else {
    tape_.add(make_norm_relu(name, device, f, p, y, gradient(f.x), gradient(y)));
  }
  return y;
}

Feature Builder::norm_relu_convolution(const std::string& norm, const std::string& name, const Feature& x,
                                       const ConvolutionOptions& options) {
  Feature out;
  if (fuse(norm, name, x, options, out)) {
    return out;
  }
  const Use use = convolution_shape(x.x, options).input_use;
  return normalize(convolution(name, norm_relu(norm, x, use), options));
}

bool Builder::fuse(const std::string& norm, const std::string& name, const Feature& x, const ConvolutionOptions& o,
                   Feature& out) {
  Device& device = tape_.device();
  const bool wanted = batch_norm_ == BatchNorm::kFused || (batch_norm_ == BatchNorm::kAuto && device.prefers_fused());
  if (!wanted) {
    return false;
  }
  ConvolutionShape shape = convolution_shape(x.x, o);
  shape.input_use = shape.output_use = Use::kStack;
  std::string why_not;
  std::unique_ptr<NormConvolution> made = device.make_norm_convolution(
      shape, {x.x.first, x.x.storage_shape.c},
      out.x.storage < 0 ? ChannelSlice{0, o.out} : ChannelSlice{out.x.first, out.x.storage_shape.c}, &why_not);
  if (!made) {
    check(batch_norm_ == BatchNorm::kAuto, "batch norm fused: {} has no fused form on {}: {}; auto fuses where it can",
          name, device.info().name, why_not);
    if (++counts_.refused == 1) {
      counts_.refusal = fmt::format("{}: {}", name, why_not);
    }
    return false;
  }
  ++counts_.fused;
  if (out.x.storage < 0) {
    out = feature(activation(name, shape.output(), device.layout(Use::kStack)));
    if (o.bottleneck && mode_ == MemoryMode::kRecompute) {
      tape_.drop_after_forward(out.x.storage);
    }
  }
  const std::int64_t channels = x.x.shape.c;
  const NormParameters p = norm_parameters(norm, channels);
  const Weight w = weight(name + ".weight", {o.out, channels, o.kernel, o.kernel});
  if (training_) {
    const Tensor z = mode_ == MemoryMode::kStore ? activation(norm, x.x.shape, device.layout(Use::kStack)) : Tensor{};
    tape_.add(make_norm_convolution(name, std::move(made), x, p, w, out, z, gradient(x.x), gradient(out.x)));
  } else {
    const StorageId rstd = tape_.storage(norm + " rstd", channels * sizeof(float));
    tape_.add(make_norm_convolution_inference(name, std::move(made), x.x, p, w, out.x, rstd));
  }
  return true;
}

Tensor Builder::max_pool(const Tensor& x, int kernel, int stride, int padding) {
  const auto pooled = [&](std::int64_t size) { return (size + 2 * padding - kernel) / stride + 1; };
  const Shape shape{x.shape.n, x.shape.c, pooled(x.shape.h), pooled(x.shape.w)};
  const std::string name = unique("max pool");
  const Tensor y = activation(name, shape, x.layout);
  const StorageId choice = training_ ? tape_.storage(name + " choice", Device::choice_bytes(shape)) : -1;
  tape_.add(make_max_pool(name, kernel, stride, padding, x, y, choice, gradient(x), gradient(y)));
  return y;
}

Tensor Builder::average_pool(const Tensor& x, int kernel) {
  const std::string name = unique("average pool");
  const Tensor y = activation(name, {x.shape.n, x.shape.c, x.shape.h / kernel, x.shape.w / kernel}, x.layout);
  if (training_ && mode_ != MemoryMode::kStore) {
    tape_.drop_after_forward(y.storage);
  }
  tape_.add(make_average_pool(name, kernel, x, y, gradient(x), gradient(y)));
  return y;
}

StorageId Builder::global_average_pool(const Tensor& x) {
  const std::int64_t elements = x.shape.n * x.shape.c;
  const StorageId y = tape_.storage("embedding", elements * sizeof(float), DType::kFloat32);
  tape_.add(make_global_average_pool("global average pool", x, y, gradient(x), vector_gradient(y, elements)));
  return y;
}

StorageId Builder::linear(const std::string& name, StorageId x, std::int64_t n, std::int64_t k, std::int64_t l) {
  const Weight w = weight(name + ".weight", {l, k}), b = weight(name + ".bias", {l});
  const StorageId y = tape_.storage("logits", n * l * sizeof(float), DType::kFloat32);
  tape_.add(make_linear(name, n, k, l, x, w, b, y, vector_gradient(x, n * k), vector_gradient(y, n * l)));
  return y;
}

// Gradients of plain vectors: the tape knows them as tensors of one row.
StorageId Builder::vector_gradient(StorageId x, std::int64_t elements) {
  const Shape shape{1, elements, 1, 1};
  return training_ ? tape_.gradient(Tensor{x, shape, shape}).storage : -1;
}

Weight Builder::weight(const std::string& name, std::vector<std::int64_t> shape) {
  const int index = parameter(name, std::move(shape), Parameters::Kind::kWeight);
  return {&memory_, parameters_.entry(index).offset, gradients_};
}

std::int64_t Builder::running(const std::string& name, std::int64_t channels) {
  return parameters_.entry(parameter(name, {channels}, Parameters::Kind::kRunning)).offset;
}

int Builder::parameter(const std::string& name, std::vector<std::int64_t> shape, Parameters::Kind kind) {
  const int found = parameters_.find(name);
  if (found < 0) {
    return parameters_.add(name, std::move(shape), kind);
  }
  check(parameters_.entry(found).shape == shape, "parameter '{}' is built twice, with different shapes", name);
  return found;
}

}  // namespace densetree::nn
