#include "nn/builder.h"

#include "kernels/core/error.h"

namespace densetree::nn {

const char* storage_of(Parameters::Kind kind) {
  switch (kind) {
    case Parameters::Kind::kWeight:
      return kWeights;
    case Parameters::Kind::kRunningMean:
      return kRunningMean;
    case Parameters::Kind::kRunningVariance:
      return kRunningVariance;
  }
  fail("unknown kind of parameter {}", static_cast<int>(kind));
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

Feature Feature::slice(std::int64_t begin, std::int64_t count) const {
  Feature part{x.slice(begin, count), {}};
  if (statistics.present()) {
    part.statistics = {statistics.mean.slice(begin, count), statistics.variance.slice(begin, count),
                       statistics.rstd.slice(begin, count)};
  }
  return part;
}

// ---- Stack

Stack::Stack(Builder& builder, const std::string& name, const Tensor& first, std::int64_t channels)
    : builder_(&builder), name_(name) {
  const Layout layout = builder.tape_.device().layout(Use::kStack);
  all_ = builder.feature(builder.activation(name, {first.n, channels, first.h, first.w}, layout, Role::kFeature));
  append(first);
}

void Stack::append(const Tensor& x) {
  const Feature place = all_.slice(filled_, x.c);
  const std::string name = fmt::format("{}[{}]", name_, filled_);
  if (builder_->keeps_statistics()) {
    builder_->tape_.add(
        name, op::ChannelStatistics{.x = x, .eps = kBatchNormEps, .statistics = place.statistics, .y = place.x});
  } else {
    builder_->tape_.add(name, op::Copy{.x = x, .y = place.x});
  }
  filled_ += x.c;
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

Builder::Builder(Tape& tape, Parameters& parameters, BuildOptions options)
    : tape_(tape), parameters_(parameters), options_(std::move(options)), memory_(options_.memory) {}

void Builder::enter_block(std::size_t block) {
  memory_ = options_.block_memory.empty() ? options_.memory : options_.block_memory.at(block - 1);
}

Tensor Builder::activation(const std::string& name, const Shape& shape, Layout layout, Role role) {
  const Tensor x = tape_.tensor(name, shape, layout, element_type(options_.precision));
  if (options_.training && !keeps(memory_, role)) {
    tape_.drop_after_forward(x.storage);
  }
  return x;
}

ConvolutionShape Builder::convolution_shape(const Tensor& x, const ConvolutionOptions& o) const {
  const bool input = input_ < 0 || x.storage == input_;
  const bool stack = o.kernel == 1 && o.stride == 1 && o.padding == 0;
  return {.input = x.shape(),
          .out_channels = o.out,
          .kernel = o.kernel,
          .stride = o.stride,
          .padding = o.padding,
          .input_use = input   ? Use::kInput
                       : stack ? Use::kStack
                               : Use::kSpatial,
          .output_use = stack && !input ? Use::kStack : Use::kSpatial,
          .training = options_.training,
          .precision = options_.precision};
}

Tensor Builder::convolution(const std::string& name, const Tensor& x, const ConvolutionOptions& o) {
  const ConvolutionShape shape = convolution_shape(x, o);
  if (shape.input_use == Use::kInput) {
    input_ = x.storage;
  }
  const Tensor y = activation(name, shape.output(), tape_.device().layout(shape.output_use), o.role);
  const Array<float> w = weight(name + ".weight", {o.out, x.c, o.kernel, o.kernel});
  tape_.add(name, op::Convolution{.shape = shape, .x = x, .w = w, .y = y});
  return y;
}

Feature Builder::feature(const Tensor& x) {
  return {x, keeps_statistics() ? tape_.statistics(unique("statistics"), x.c) : op::Statistics()};
}

Feature Builder::normalize(const Tensor& x) {
  const Feature result = feature(x);
  if (keeps_statistics()) {
    tape_.add(unique("normalize"),
              op::ChannelStatistics{.x = x, .eps = kBatchNormEps, .statistics = result.statistics});
  }
  return result;
}

op::Affine Builder::affine(const std::string& norm, const Feature& f) {
  const Array<float> gamma = weight(norm + ".weight", {f.x.c}), beta = weight(norm + ".bias", {f.x.c});
  const Array<float> mean = running(norm + ".running_mean", f.x.c, Kind::kRunningMean);
  const Parameters::Entry& variance = parameter(norm + ".running_var", {f.x.c}, Kind::kRunningVariance);
  if (options_.training) {
    return {f.statistics.mean, f.statistics.rstd, gamma, beta};
  }
  return {mean, tape_.external<float>(kRunningRstd, variance.offset, variance.elements), gamma, beta};
}

void Builder::update_running(const std::string& norm, const Feature& f) {
  if (options_.training) {
    tape_.add(norm, op::UpdateRunning{.batch = f.statistics,
                                      .count = f.x.count(),
                                      .momentum = kBatchNormMomentum,
                                      .mean = running(norm + ".running_mean", f.x.c, Kind::kRunningMean),
                                      .variance = running(norm + ".running_var", f.x.c, Kind::kRunningVariance)});
  }
}

Tensor Builder::norm_relu(const std::string& name, const Feature& f, Use use) {
  Feature x = f;
  if (options_.training && options_.batch_norm == BatchNorm::kPlain) {
    x.statistics = tape_.statistics(name + " statistics", x.x.c);
    tape_.add(name, op::ChannelStatistics{.x = x.x, .eps = kBatchNormEps, .statistics = x.statistics});
  }
  ++(options_.batch_norm == BatchNorm::kPlain ? counts_.plain : counts_.factored);
  const Tensor y = activation(name, x.x.shape(), tape_.device().layout(use), Role::kNormalized);
  tape_.add(name, op::AffineRelu{.x = x.x, .affine = affine(name, x), .y = y});
  update_running(name, x);
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
  const Device& device = tape_.device();
  const BatchNorm way = options_.batch_norm;
  if (way != BatchNorm::kFused && (way != BatchNorm::kAuto || !device.prefers_fused())) {
    return false;
  }
  ConvolutionShape shape = convolution_shape(x.x, o);
  shape.input_use = shape.output_use = Use::kStack;
  const Layout layout = device.layout(Use::kStack);
  op::NormConvolution fused{.shape = shape,
                            .x = x.x,
                            .affine = affine(norm, x),
                            .w = weight(name + ".weight", {o.out, x.x.c, o.kernel, o.kernel}),
                            .y = out.x,
                            .eps = kBatchNormEps,
                            .statistics = out.statistics};
  if (!out.x.present()) {
    const Feature made = feature(activation(name, shape.output(), layout, o.role));
    fused.y = made.x;
    fused.statistics = made.statistics;
  }
  if (options_.training && keeps(memory_, Role::kNormalized)) {
    fused.z = activation(norm, x.x.shape(), layout, Role::kNormalized);
  }
  std::string why_not;
  if (!tape_.try_add(name, fused, &why_not)) {
    return refuse(name, why_not);
  }
  out = {fused.y, fused.statistics};
  ++counts_.fused;
  update_running(norm, x);
  return true;
}

bool Builder::refuse(const std::string& name, const std::string& why_not) {
  if (options_.batch_norm != BatchNorm::kAuto) {
    fail("batch norm fused: {} has no fused form on {}: {}; auto fuses where it can", name, tape_.device().info().name,
         why_not);
  }
  if (++counts_.refused == 1) {
    counts_.refusal = fmt::format("{}: {}", name, why_not);
  }
  return false;
}

Tensor Builder::max_pool(const Tensor& x, const op::Window& window) {
  const Shape shape = window.output(x.shape());
  const std::string name = unique("max pool");
  const Tensor y = activation(name, shape, x.layout, Role::kFeature);
  Array<std::uint8_t> argmax;
  if (options_.training) {
    argmax = tape_.array<std::uint8_t>(name + " argmax", op::argmax_bytes(shape));
  }
  tape_.add(name, op::MaxPool{.window = window, .x = x, .y = y, .argmax = argmax});
  return y;
}

Tensor Builder::average_pool(const Tensor& x, int kernel) {
  const std::string name = unique("average pool");
  const Tensor y = activation(name, {x.n, x.c, x.h / kernel, x.w / kernel}, x.layout, Role::kPooled);
  tape_.add(name, op::AveragePool{.kernel = kernel, .x = x, .y = y});
  return y;
}

Tensor Builder::add(const Tensor& a, const Tensor& b) {
  const std::string name = unique("add");
  const Tensor y = activation(name, a.shape(), a.layout, Role::kFeature);
  tape_.add(name, op::Copy{.x = a, .y = y});
  tape_.add(name, op::Add{.x = b, .y = y});
  return y;
}

Tensor Builder::global_average_pool(const Tensor& x) {
  const Tensor y = tape_.tensor("embedding", {x.n, x.c, 1, 1}, Layout::kPlanar);
  tape_.add("global average pool", op::GlobalAveragePool{.x = x, .y = y});
  return y;
}

Tensor Builder::linear(const std::string& name, const Tensor& x, std::int64_t labels) {
  const Array<float> w = weight(name + ".weight", {labels, x.c}), b = weight(name + ".bias", {labels});
  const Tensor y = tape_.tensor("logits", {x.n, labels, 1, 1}, Layout::kPlanar);
  tape_.add(name, op::Linear{.x = x, .w = w, .b = b, .y = y});
  return y;
}

Array<float> Builder::weight(const std::string& name, std::vector<std::int64_t> shape) {
  const Parameters::Entry& entry = parameter(name, std::move(shape), Kind::kWeight);
  return tape_.external<float>(kWeights, entry.offset, entry.elements);
}

Array<float> Builder::running(const std::string& name, std::int64_t channels, Kind kind) {
  const Parameters::Entry& entry = parameter(name, {channels}, kind);
  return tape_.external<float>(storage_of(kind), entry.offset, entry.elements);
}

const Parameters::Entry& Builder::parameter(const std::string& name, std::vector<std::int64_t> shape, Kind kind) {
  const int found = parameters_.find(name);
  if (found < 0) {
    return parameters_.entry(parameters_.add(name, std::move(shape), kind));
  }
  check(parameters_.entry(found).shape == shape, "parameter '{}' is built twice, with different shapes", name);
  return parameters_.entry(found);
}

}  // namespace densetree::nn
