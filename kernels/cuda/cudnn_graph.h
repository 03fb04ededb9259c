// Convolutions as cuDNN graphs. A graph of one operation, or of a convolution and what is applied on the way into it,
// is described, cuDNN's heuristics propose engines for it, and the first proposals that keep our rules and finalise
// become plans.
//
// This speaks cuDNN's backend interface, which is part of cuDNN itself, so no further dependency is needed.
// Plans to run are made through cuDNN's handle on the GPU at hand. Plans can also be made for a GPU that is only
// described, by JSON: a machine without a GPU can so show that they exist, and what workspace they need.
#pragma once

#include <cudnn.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/channel_slice.h"
#include "kernels/device.h"

namespace densetree::cuda {

// Throws Error "<what>: cuDNN says …" unless status is success.
void check_cudnn(cudnnStatus_t status, const std::string& what);

// One descriptor of cuDNN's backend interface: attributes are set, then it is finalised.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);

  void set(cudnnBackendAttributeName_t name, std::int64_t value);
  void set(cudnnBackendAttributeName_t name, std::span<const std::int64_t> values);
  void set(cudnnBackendAttributeName_t name, float value);
  void set(cudnnBackendAttributeName_t name, const Descriptor& value);
  // Anything else, with cuDNN's name of its type.
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::size_t count, const void* values);
  void finalize();               // throws Error
  bool try_finalize() noexcept;  // false where cuDNN cannot
  std::int64_t integer(cudnnBackendAttributeName_t name) const;
  cudnnBackendDescriptor_t get() const { return descriptor_.get(); }

 private:
  struct Destroy {
    void operator()(cudnnBackendDescriptor_t descriptor) const { cudnnBackendDestroyDescriptor(descriptor); }
  };
  std::unique_ptr<void, Destroy> descriptor_;
};

// The GPU to plan for.
class Target {
 public:
  explicit Target(cudnnHandle_t handle) : handle_(handle) {}  // at hand; the handle must outlive it
  explicit Target(const std::string& json);                   // as CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION has it

  void set_on_graph(Descriptor& graph) const;
  void set_on_heuristics(Descriptor& heuristics) const;
  void set_on_plan(Descriptor& plan) const;

 private:
  cudnnHandle_t handle_ = nullptr;
  std::optional<Descriptor> properties_;
};

enum class Pass : std::uint8_t { kForward, kBackwardData, kBackwardWeights };
const char* name_of(Pass pass);

// A plan as text, compiled code included, for the same GPU and cuDNN.
struct StoredPlan {
  std::string name, json;
};

// A graph with an engine, ready to run.
class GraphPlan {
 public:
  std::size_t workspace_bytes() const { return workspace_bytes_; }
  const std::string& name() const { return name_; }  // "engine 40, 2=3 12=0": cuDNN's index of it and its knobs
  StoredPlan store() const;

  // `what` names it in messages.
  GraphPlan(Descriptor plan, std::string name, std::string what);

 protected:
  // ids: of the graph's tensors, in the order of their pointers.
  void execute(cudnnHandle_t handle, std::span<const std::int64_t> ids, std::span<const void* const> pointers,
               void* workspace) const;

 private:
  Descriptor plan_;
  std::size_t workspace_bytes_ = 0;
  std::string name_, what_;
};

// One pass of one convolution. Activations are whole NHWC tensors; the network's input has pitch_of(shape) elements
// per pixel (network_input.h). Weights are (K, R, S, C). Sums are fp32 in every precision; all three operands
// are fp32, or bf16 with Precision::kBFloat16. (No engine of cuDNN 9.19 takes an fp32 gradient of weights beside bf16
// activations.)
class ConvolutionPlan : public GraphPlan {
 public:
  using GraphPlan::GraphPlan;
  // x, w, y: input, weights and output of the convolution or their gradients, as the pass has it.
  void run(cudnnHandle_t handle, const void* x, const void* w, const void* y, void* workspace) const;
};

// y = conv(max(0, scale·x + shift)) in one kernel, which cuDNN compiles for the shape. x and y begin at their first
// channel, which lies on a 16-byte boundary; scale and shift are float[C], weights (K, R, S, C). What is multiplied is
// rounded to the precision first.
class NormConvolutionPlan : public GraphPlan {
 public:
  using GraphPlan::GraphPlan;
  void run(cudnnHandle_t handle, const void* x, const float* scale, const float* shift, const void* w, void* y,
           void* workspace) const;
};

// The first plans that cuDNN expects to be fast and that do with 256 MiB of workspace: at least one, at most `limit`;
// where none does with so little, the one that needs least. Engines that reduce in less than fp32,
// that go through FFT or Winograd transforms, or whose results vary from run to run are never taken; nor, in fp32,
// those that round inputs to TF32. Throws Error when no engine serves the shape on this GPU.
std::vector<ConvolutionPlan> plans_for(const Target& target, const ConvolutionShape& shape, Pass pass,
                                       std::size_t limit);

// The same for batch norm, ReLU and a convolution, forward. Empty where no engine serves that on this GPU, with what
// cuDNN said last in *why_not; in fp32, which these engines do not compute in without rounding to TF32, too.
std::vector<NormConvolutionPlan> norm_convolution_plans_for(const Target& target, const ConvolutionShape& shape,
                                                            ChannelSlice x, ChannelSlice y, std::size_t limit,
                                                            std::string* why_not);
// One of them that was stored, without compiling it again. Throws Error where it does not fit this GPU or this cuDNN.
NormConvolutionPlan load_norm_convolution_plan(const Target& target, const ConvolutionShape& shape,
                                               const StoredPlan& stored);

}  // namespace densetree::cuda
