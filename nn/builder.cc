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
  if (b.training_) {
    b.tape_.add(make_normalize(name, b.tape_.device(), x, place, b.gradient(x), b.gradient(place.x)));
  } else {
    b.tape_.add(make_copy(name, x, place.x));
  }
  filled_ += x.shape.c;
}

Feature Stack::features() const {
  return all_.slice(0, filled_);
}

// ---- Builder

Builder::Builder(Tape& tape, Parameters& parameters, const ParameterMemory& memory, bool training, MemoryMode mode,
                 Precision precision)
    : tape_(tape), parameters_(parameters), memory_(memory), training_(training), mode_(mode), precision_(precision) {
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

Tensor Builder::convolution(const std::string& name, const Tensor& x, const ConvolutionOptions& o) {
  const bool input = input_ < 0;
  if (input) {
    input_ = x.storage;
  }
  const bool stack = o.kernel == 1 && o.stride == 1 && o.padding == 0;
  const ConvolutionShape shape{.input = x.shape,
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
  if (training_) {
    feature.statistics = tape_.storage(unique("statistics"), 3 * x.shape.c * sizeof(float));
    feature.sums = tape_.storage(unique("gradient sums"), 2 * x.shape.c * sizeof(double));
  }
  return feature;
}

Feature Builder::normalize(const Tensor& x) {
  const Feature result = feature(x);
  if (training_) {
    tape_.add(make_normalize(unique("normalize"), tape_.device(), x, result, gradient(x), gradient(x)));
  }
  return result;
}

Tensor Builder::norm_relu(const std::string& name, const Feature& f, Use use) {
  const std::int64_t channels = f.x.shape.c;
  NormParameters p;
  p.gamma = weight(name + ".weight", {channels});
  p.beta = weight(name + ".bias", {channels});
  p.running_mean = running(name + ".running_mean", channels);
  p.running_variance = running(name + ".running_var", channels);
  const Tensor y = activation(name, f.x.shape, tape_.device().layout(use));
  if (training_) {
    if (mode_ != MemoryMode::kStore) {
      tape_.drop_after_forward(y.storage);
    }
    tape_.add(make_norm_relu(name, tape_.device(), f, p, y, gradient(f.x), gradient(y)));
  } else {
    tape_.add(make_norm_relu_inference(name, f.x, p, y, tape_.storage(name + " rstd", channels * sizeof(float))));
  }
  return y;
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
  const StorageId y = tape_.storage("embedding", elements * sizeof(float));
  tape_.add(make_global_average_pool("global average pool", x, y, gradient(x), vector_gradient(y, elements)));
  return y;
}

StorageId Builder::linear(const std::string& name, StorageId x, std::int64_t n, std::int64_t k, std::int64_t l) {
  const Weight w = weight(name + ".weight", {l, k}), b = weight(name + ".bias", {l});
  const StorageId y = tape_.storage("logits", n * l * sizeof(float));
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
