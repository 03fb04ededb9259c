// Convolutions as cuDNN graphs. A graph of one operation is described, cuDNN's heuristics propose engines for it, and
// the first proposal that keeps our rules and finalises becomes the plan.
//
// This speaks cuDNN's backend interface (cudnn_backend.h, part of cuDNN itself), so no further dependency is needed.
// Everything is planned for a description of a GPU, never for a handle: the description of the GPU at hand, or one
// read from JSON, so a machine without a GPU can show that plans exist for others.
#pragma once

#include <cudnn.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

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

// A GPU to plan for: the one a handle was made on, or one described as in CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION.
Descriptor describe_device(cudnnHandle_t handle);
Descriptor describe_device(const std::string& json);

enum class Pass : std::uint8_t { kForward, kBackwardData, kBackwardWeights };
const char* name_of(Pass pass);

// One pass of one convolution, ready to run. fp32 throughout: engines that round inputs to TF32, that reduce in less
// than fp32, that go through FFT or Winograd transforms, or whose results vary from run to run are never taken.
// Activations are whole NHWC tensors, weights (K, R, S, C).
class ConvolutionPlan {
 public:
  // Throws Error when no engine serves the shape on this device.
  ConvolutionPlan(const Descriptor& device, const ConvolutionShape& shape, Pass pass);

  std::size_t workspace_bytes() const { return workspace_bytes_; }
  std::int64_t engine() const { return engine_; }  // cuDNN's global index of it
  // x, w, y: input, weights and output of the convolution or their gradients, as the pass has it.
  void run(cudnnHandle_t handle, const void* x, const void* w, const void* y, void* workspace) const;

 private:
  Descriptor plan_;
  std::size_t workspace_bytes_ = 0;
  std::int64_t engine_ = -1;
  std::string what_;
};

}  // namespace densetree::cuda
