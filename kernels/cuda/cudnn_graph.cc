#include "kernels/cuda/cudnn_graph.h"

#include <algorithm>
#include <array>
#include <set>

#include "kernels/core/error.h"
#include "kernels/cuda/network_input.h"

namespace densetree::cuda {

static_assert(CUDNN_VERSION >= 90800, "planning for a device description needs cuDNN 9.8");

namespace {

constexpr std::int64_t kInputId = 'x', kWeightsId = 'w', kOutputId = 'y';
constexpr std::int64_t kScaleId = 's', kShiftId = 'b', kScaledId = 1, kShiftedId = 2, kActivatedId = 3;
constexpr std::size_t kLargeWorkspace = std::size_t{256} << 20;  // engines that rearrange their operands take more
constexpr std::int64_t kAlignment = 16;  // bytes: what Device::allocate and the planner keep for every buffer

// An (N, C, H, W) tensor in memory, NHWC, `of` channels in a pixel; or one that exists within a kernel alone.
enum class Kept : std::uint8_t { kInMemory, kVirtually };
Descriptor tensor(std::int64_t id, const Shape& shape, std::int64_t of, cudnnDataType_t type,
                  Kept kept = Kept::kInMemory) {
  const std::array<std::int64_t, 4> sizes{shape.n, shape.c, shape.h, shape.w};
  const std::array<std::int64_t, 4> strides{shape.pixels() * of, 1, shape.w * of, of};
  const bool is_virtual = kept == Kept::kVirtually;
  Descriptor descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  descriptor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  descriptor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, sizes);
  descriptor.set(CUDNN_ATTR_TENSOR_STRIDES, strides);
  descriptor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
  descriptor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, kAlignment);
  descriptor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
  descriptor.finalize();
  return descriptor;
}

cudnnDataType_t type_of(const ConvolutionShape& shape) {
  return shape.precision == Precision::kBFloat16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}
Descriptor weights(const ConvolutionShape& shape) {
  return tensor(kWeightsId, {shape.out_channels, shape.input.c, shape.kernel, shape.kernel}, shape.input.c,
                type_of(shape));
}

Descriptor convolution(const ConvolutionShape& shape) {
  const std::array<std::int64_t, 2> padding{shape.padding, shape.padding}, stride{shape.stride, shape.stride};
  const std::array<std::int64_t, 2> dilation{1, 1};
  const cudnnDataType_t type = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  Descriptor descriptor(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  descriptor.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2});
  descriptor.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  descriptor.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  descriptor.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, padding);
  descriptor.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, padding);
  descriptor.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, stride);
  descriptor.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, dilation);
  descriptor.finalize();
  return descriptor;
}

// cuDNN's names for one pass: of the operation and of its attributes.
struct PassNames {
  cudnnBackendDescriptorType_t operation;
  cudnnBackendAttributeName_t convolution, x, w, y, alpha, beta;
};

PassNames names_for(Pass pass) {
  switch (pass) {
    case Pass::kForward:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    case Pass::kBackwardData:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case Pass::kBackwardWeights:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
  }
  fail("unknown pass {}", static_cast<int>(pass));
}

Descriptor pass_operation(const ConvolutionShape& shape, Pass pass, const Descriptor& x, const Descriptor& w,
                          const Descriptor& y) {
  const Descriptor settings = convolution(shape);
  const PassNames names = names_for(pass);
  Descriptor operation(names.operation);
  operation.set(names.convolution, settings);
  operation.set(names.x, x);
  operation.set(names.w, w);
  operation.set(names.y, y);
  operation.set(names.alpha, 1.0f);
  operation.set(names.beta, 0.0f);
  operation.finalize();
  return operation;
}

// y = f(x), or f(x, b) with b broadcast over what it lacks; in fp32.
Descriptor pointwise(cudnnPointwiseMode_t mode, const Descriptor& x, const Descriptor* b, const Descriptor& y) {
  const cudnnDataType_t type = CUDNN_DATA_FLOAT;
  Descriptor function(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  function.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  function.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &type);
  function.finalize();
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, function);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  if (b != nullptr) {
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
  }
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  operation.finalize();
  return operation;
}

Descriptor graph_of(const Target& target, std::span<const cudnnBackendDescriptor_t> operations) {
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, operations.size(), operations.data());
  target.set_on_graph(graph);
  graph.finalize();
  return graph;
}

// The graph of one convolution.
Descriptor graph_of(const Target& target, const ConvolutionShape& shape, Pass pass) {
  const Descriptor x = tensor(kInputId, shape.input, pitch_of(shape), type_of(shape)), w = weights(shape);
  const Descriptor y = tensor(kOutputId, shape.output(), shape.out_channels, type_of(shape));
  const Descriptor operation = pass_operation(shape, pass, x, w, y);
  return graph_of(target, std::array{operation.get()});
}

// Of scale, shift, ReLU and a convolution.
Descriptor graph_of(const Target& target, const ConvolutionShape& shape, ChannelSlice x_slice, ChannelSlice y_slice) {
  const Shape& input = shape.input;
  const auto inside = [&](std::int64_t id, cudnnDataType_t type) {
    return tensor(id, input, input.c, type, Kept::kVirtually);
  };
  const Shape channels{1, input.c, 1, 1};
  const Descriptor x = tensor(kInputId, input, x_slice.of, type_of(shape)), w = weights(shape);
  const Descriptor scale = tensor(kScaleId, channels, input.c, CUDNN_DATA_FLOAT),
                   shift = tensor(kShiftId, channels, input.c, CUDNN_DATA_FLOAT);
  const Descriptor scaled = inside(kScaledId, CUDNN_DATA_FLOAT), shifted = inside(kShiftedId, CUDNN_DATA_FLOAT),
                   activated = inside(kActivatedId, type_of(shape));
  const Descriptor y = tensor(kOutputId, shape.output(), y_slice.of, type_of(shape));
  const Descriptor multiply = pointwise(CUDNN_POINTWISE_MUL, x, &scale, scaled),
                   add = pointwise(CUDNN_POINTWISE_ADD, scaled, &shift, shifted),
                   relu = pointwise(CUDNN_POINTWISE_RELU_FWD, shifted, nullptr, activated),
                   convolve = pass_operation(shape, Pass::kForward, activated, w, y);
  return graph_of(target, std::array{multiply.get(), add.get(), relu.get(), convolve.get()});
}

// Engine configurations in the order the heuristics expect them to be fast. Empty where they know none.
std::vector<Descriptor> proposals(const Target& target, const Descriptor& graph, cudnnBackendHeurMode_t mode) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  target.set_on_heuristics(heuristics);
  if (!heuristics.try_finalize()) {
    return {};
  }
  std::int64_t count = 0;
  check_cudnn(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                       0, &count, nullptr),
              "counting engines");
  std::vector<Descriptor> results;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (std::int64_t i = 0; i < count; ++i) {
    raw.push_back(results.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
  }
  check_cudnn(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                       count, &count, raw.data()),
              "listing engines");
  results.erase(results.begin() + count, results.end());
  return results;
}

// The engine of a configuration.
Descriptor engine_of(const Descriptor& configuration) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.get();
  std::int64_t count = 0;
  check_cudnn(cudnnBackendGetAttribute(configuration.get(), CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                       1, &count, &raw),
              "asking a configuration for its engine");
  return engine;
}

// Tensor cores multiply fp32 data as TF32, and bf16 data as it is.
bool is_allowed(cudnnBackendNumericalNote_t note, Precision precision) {
  switch (note) {
    case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
      return precision != Precision::kFloat32;
    case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
    case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
    case CUDNN_NUMERICAL_NOTE_FFT:
    case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
    case CUDNN_NUMERICAL_NOTE_WINOGRAD:
    case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
    case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
    case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13:
      return false;
    default:
      return true;
  }
}

bool keeps_rules(const Descriptor& engine, Precision precision) {
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  std::int64_t count = 0;
  check_cudnn(cudnnBackendGetAttribute(engine.get(), CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                       notes.size(), &count, notes.data()),
              "asking an engine for its numerics");
  return std::all_of(notes.begin(), notes.begin() + count,
                     [&](cudnnBackendNumericalNote_t note) { return is_allowed(note, precision); });
}

// "engine 40, 2=3 12=0": what tells one proposal from another.
std::string name_of(const Descriptor& configuration, const Descriptor& engine) {
  std::string name = fmt::format("engine {},", engine.integer(CUDNN_ATTR_ENGINE_GLOBAL_INDEX));
  std::array<cudnnBackendDescriptor_t, CUDNN_KNOB_TYPE_COUNTS> raw{};
  std::vector<Descriptor> choices;
  choices.reserve(raw.size());
  for (cudnnBackendDescriptor_t& choice : raw) {
    choice = choices.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR).get();
  }
  std::int64_t count = 0;
  check_cudnn(cudnnBackendGetAttribute(configuration.get(), CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                       CUDNN_TYPE_BACKEND_DESCRIPTOR, raw.size(), &count, raw.data()),
              "asking a configuration for its knobs");
  for (const Descriptor& choice : std::span(choices).first(std::min(choices.size(), static_cast<std::size_t>(count)))) {
    cudnnBackendKnobType_t knob{};
    std::int64_t one = 0;
    check_cudnn(
        cudnnBackendGetAttribute(choice.get(), CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &one, &knob),
        "asking a knob for its kind");
    name += fmt::format(" {}={}", static_cast<int>(knob), choice.integer(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE));
  }
  return name;
}

std::string last_error() {
  std::array<char, 512> detail{};
  cudnnGetLastErrorString(detail.data(), detail.size());
  return detail.data();
}

// In messages.
std::string norm_convolution_text(const ConvolutionShape& shape) {
  return fmt::format("batch norm, ReLU and {}, {}", shape, densetree::name_of(shape.precision));
}

// The first plans that keep the rules, `limit` of them at most, and what cuDNN said last where it refused one. One that
// takes more than kLargeWorkspace is passed over: of those only the smallest is taken, where there is nothing else.
template <class Plan>
std::vector<Plan> plans_of(const Target& target, const Descriptor& graph, Precision precision, const std::string& what,
                           std::size_t limit, std::string* refusal) {
  std::vector<Plan> plans;
  std::optional<Plan> smallest;  // of the large ones
  std::set<std::string> seen;
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (const Descriptor& configuration : proposals(target, graph, mode)) {
      if (plans.size() >= limit) {
        return plans;
      }
      const Descriptor engine = engine_of(configuration);
      if (!keeps_rules(engine, precision)) {
        continue;
      }
      const std::string name = name_of(configuration, engine);
      if (!seen.insert(name).second) {
        continue;
      }
      Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
      target.set_on_plan(plan);
      if (!plan.try_finalize()) {
        *refusal = last_error();
        continue;
      }
      Plan made(std::move(plan), name, what);
      if (made.workspace_bytes() <= kLargeWorkspace) {
        plans.push_back(std::move(made));
      } else if (!smallest || made.workspace_bytes() < smallest->workspace_bytes()) {
        smallest = std::move(made);
      }
    }
  }
  if (plans.empty() && smallest) {
    plans.push_back(std::move(*smallest));
  }
  return plans;
}

}  // namespace

void check_cudnn(cudnnStatus_t status, const std::string& what) {
  if (status != CUDNN_STATUS_SUCCESS) {
    const std::string detail = last_error();
    fail("{}: cuDNN says {}{}{}", what, cudnnGetErrorString(status), detail.empty() ? "" : ": ", detail);
  }
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  cudnnBackendDescriptor_t raw = nullptr;
  check_cudnn(cudnnBackendCreateDescriptor(type, &raw), "creating a cuDNN descriptor");
  descriptor_.reset(raw);
}

void Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::size_t count,
                     const void* values) {
  check_cudnn(cudnnBackendSetAttribute(get(), name, type, static_cast<std::int64_t>(count), values),
              fmt::format("setting cuDNN attribute {}", static_cast<int>(name)));
}

void Descriptor::set(cudnnBackendAttributeName_t name, std::int64_t value) {
  set(name, CUDNN_TYPE_INT64, 1, &value);
}

void Descriptor::set(cudnnBackendAttributeName_t name, std::span<const std::int64_t> values) {
  set(name, CUDNN_TYPE_INT64, values.size(), values.data());
}

void Descriptor::set(cudnnBackendAttributeName_t name, float value) {
  set(name, CUDNN_TYPE_FLOAT, 1, &value);
}

void Descriptor::set(cudnnBackendAttributeName_t name, const Descriptor& value) {
  cudnnBackendDescriptor_t raw = value.get();
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
}

void Descriptor::finalize() {
  check_cudnn(cudnnBackendFinalize(get()), "finalising a cuDNN descriptor");
}

bool Descriptor::try_finalize() noexcept {
  return cudnnBackendFinalize(get()) == CUDNN_STATUS_SUCCESS;
}

std::int64_t Descriptor::integer(cudnnBackendAttributeName_t name) const {
  std::int64_t value = 0, count = 0;
  check_cudnn(cudnnBackendGetAttribute(get(), name, CUDNN_TYPE_INT64, 1, &count, &value),
              fmt::format("reading cuDNN attribute {}", static_cast<int>(name)));
  return value;
}

Target::Target(const std::string& json) : properties_(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR) {
  properties_->set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, json.size(), json.data());
  properties_->finalize();
}

void Target::set_on_graph(Descriptor& graph) const {
  if (!properties_) {
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle_);
  }
}

// Through a handle, the heuristics have it from the graph.
void Target::set_on_heuristics(Descriptor& heuristics) const {
  if (properties_) {
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *properties_);
  }
}

void Target::set_on_plan(Descriptor& plan) const {
  if (properties_) {
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *properties_);
  } else {
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle_);
  }
}

const char* name_of(Pass pass) {
  switch (pass) {
    case Pass::kForward:
      return "forward";
    case Pass::kBackwardData:
      return "backward data";
    case Pass::kBackwardWeights:
      return "backward weights";
  }
  fail("unknown pass {}", static_cast<int>(pass));
}

GraphPlan::GraphPlan(Descriptor plan, std::string name, std::string what)
    : plan_(std::move(plan)),
      workspace_bytes_(static_cast<std::size_t>(plan_.integer(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE))),
      name_(std::move(name)),
      what_(std::move(what)) {}

StoredPlan GraphPlan::store() const {
  std::int64_t bytes = 0;
  const auto read = [&](char* to) {
    check_cudnn(cudnnBackendGetAttribute(plan_.get(), CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                         bytes, &bytes, to),
                what_ + ", storing its plan");
  };
  read(nullptr);
  StoredPlan stored{name_, std::string(static_cast<std::size_t>(bytes), '\0')};
  read(stored.json.data());
  return stored;
}

void GraphPlan::execute(cudnnHandle_t handle, std::span<const std::int64_t> ids, std::span<const void* const> pointers,
                        void* workspace) const {
  Descriptor arguments(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  arguments.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids);
  arguments.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers.size(), pointers.data());
  arguments.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  arguments.finalize();
  check_cudnn(cudnnBackendExecute(handle, plan_.get(), arguments.get()), what_);
}

std::vector<ConvolutionPlan> plans_for(const Target& target, const ConvolutionShape& shape, Pass pass,
                                       std::size_t limit) {
  const std::string what = fmt::format("{}, {}, {}", shape, name_of(pass), densetree::name_of(shape.precision));
  std::string refusal;
  auto plans = plans_of<ConvolutionPlan>(target, graph_of(target, shape, pass), shape.precision, what, limit, &refusal);
  check(!plans.empty(), "{}: cuDNN {} has no deterministic engine for it on this GPU{}{}", what, cudnnGetVersion(),
        refusal.empty() ? "" : "; it said last: ", refusal);
  return plans;
}

void ConvolutionPlan::run(cudnnHandle_t handle, const void* x, const void* w, const void* y, void* workspace) const {
  execute(handle, std::array{kInputId, kWeightsId, kOutputId}, std::array{x, w, y}, workspace);
}

std::vector<NormConvolutionPlan> norm_convolution_plans_for(const Target& target, const ConvolutionShape& shape,
                                                            ChannelSlice x, ChannelSlice y, std::size_t limit,
                                                            std::string* why_not) {
  const std::string what = norm_convolution_text(shape);
  if (shape.precision == Precision::kFloat32) {
    *why_not = fmt::format("{}: cuDNN's fused kernels would round to TF32", what);
    return {};
  }
  const auto on_boundary = [&](std::int64_t channels) {
    return channels * (shape.precision == Precision::kBFloat16 ? 2 : 4) % kAlignment == 0;
  };
  for (const std::int64_t channels : {shape.input.c, shape.out_channels, x.first, x.of, y.first, y.of}) {
    if (!on_boundary(channels)) {
      *why_not = fmt::format("{}: {} channels do not end on a {}-byte boundary", what, channels, kAlignment);
      return {};
    }
  }
  std::string refusal;
  auto plans =
      plans_of<NormConvolutionPlan>(target, graph_of(target, shape, x, y), shape.precision, what, limit, &refusal);
  if (plans.empty()) {
    *why_not = fmt::format("{}: cuDNN {} has no engine for it on this GPU; it said last: {}", what, cudnnGetVersion(),
                           refusal);
  }
  return plans;
}

NormConvolutionPlan load_norm_convolution_plan(const Target& target, const ConvolutionShape& shape,
                                               const StoredPlan& stored) {
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  target.set_on_plan(plan);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, stored.json.size(), stored.json.data());
  const std::string what = norm_convolution_text(shape);
  if (!plan.try_finalize()) {
    fail("loading the plan of {}: cuDNN says {}", what, last_error());
  }
  return {std::move(plan), stored.name, what};
}

void NormConvolutionPlan::run(cudnnHandle_t handle, const void* x, const float* scale, const float* shift,
                              const void* w, void* y, void* workspace) const {
  execute(handle, std::array{kInputId, kScaleId, kShiftId, kWeightsId, kOutputId},
          std::array<const void*, 5>{x, scale, shift, w, y}, workspace);
}

}  // namespace densetree::cuda
