#include "kernels/cuda/cudnn_graph.h"

#include <algorithm>
#include <array>

#include "kernels/core/error.h"

namespace densetree::cuda {

static_assert(CUDNN_VERSION >= 90800, "planning for a device description needs cuDNN 9.8");

namespace {

constexpr std::int64_t kInputId = 'x', kWeightsId = 'w', kOutputId = 'y';
constexpr std::int64_t kAlignment = 16;  // bytes: what Device::allocate and the planner keep for every buffer

// NHWC strides of an (N, C, H, W) tensor.
Descriptor tensor(std::int64_t id, const Shape& shape, cudnnDataType_t type) {
  const std::array<std::int64_t, 4> sizes{shape.n, shape.c, shape.h, shape.w};
  const std::array<std::int64_t, 4> strides{shape.elements() / shape.n, 1, shape.w * shape.c, shape.c};
  Descriptor descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  descriptor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  descriptor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, sizes);
  descriptor.set(CUDNN_ATTR_TENSOR_STRIDES, strides);
  descriptor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
  descriptor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, kAlignment);
  descriptor.finalize();
  return descriptor;
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

// The graph of one convolution.
Descriptor graph_of(const Target& target, const ConvolutionShape& shape, Pass pass) {
  const cudnnDataType_t type = shape.precision == Precision::kBFloat16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  const Descriptor x = tensor(kInputId, shape.input, type);
  const Descriptor w = tensor(kWeightsId, {shape.out_channels, shape.input.c, shape.kernel, shape.kernel}, type);
  const Descriptor y = tensor(kOutputId, shape.output(), type);
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
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
  target.set_on_graph(graph);
  graph.finalize();
  return graph;
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

}  // namespace

void check_cudnn(cudnnStatus_t status, const std::string& what) {
  if (status != CUDNN_STATUS_SUCCESS) {
    std::array<char, 512> detail{};
    cudnnGetLastErrorString(detail.data(), detail.size());
    fail("{}: cuDNN says {}{}{}", what, cudnnGetErrorString(status), detail[0] != '\0' ? ": " : "", detail.data());
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

ConvolutionPlan::ConvolutionPlan(Descriptor plan, std::string name, std::string what)
    : plan_(std::move(plan)),
      workspace_bytes_(static_cast<std::size_t>(plan_.integer(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE))),
      name_(std::move(name)),
      what_(std::move(what)) {}

std::vector<ConvolutionPlan> plans_for(const Target& target, const ConvolutionShape& shape, Pass pass,
                                       std::size_t limit) {
  const std::string what =
      fmt::format("{}, {}, {}", shape.describe(), name_of(pass), densetree::name_of(shape.precision));
  const Descriptor graph = graph_of(target, shape, pass);
  std::vector<ConvolutionPlan> plans;
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (const Descriptor& configuration : proposals(target, graph, mode)) {
      if (plans.size() >= limit) {
        return plans;
      }
      const Descriptor engine = engine_of(configuration);
      if (!keeps_rules(engine, shape.precision)) {
        continue;
      }
      std::string name = name_of(configuration, engine);
      const bool known = std::any_of(plans.begin(), plans.end(), [&](const auto& plan) { return plan.name() == name; });
      Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
      target.set_on_plan(plan);
      if (!known && plan.try_finalize()) {
        plans.push_back(ConvolutionPlan(std::move(plan), std::move(name), what));
      }
    }
  }
  check(!plans.empty(), "{}: cuDNN {} has no deterministic engine for it on this GPU", what, cudnnGetVersion());
  return plans;
}

void ConvolutionPlan::run(cudnnHandle_t handle, const void* x, const void* w, const void* y, void* workspace) const {
  const std::array<std::int64_t, 3> ids{kInputId, kWeightsId, kOutputId};
  const std::array<const void*, 3> pointers{x, w, y};
  Descriptor arguments(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  arguments.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids);
  arguments.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers.size(), pointers.data());
  arguments.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  arguments.finalize();
  check_cudnn(cudnnBackendExecute(handle, plan_.get(), arguments.get()), what_);
}

}  // namespace densetree::cuda
