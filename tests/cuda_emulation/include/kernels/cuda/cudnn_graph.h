// Takes the place of kernels/cuda/cudnn_graph.h: cuDNN's handle, and convolutions as plain loops that add up in fp64.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>

#include "kernels/device.h"

enum cudnnStatus_t { CUDNN_STATUS_SUCCESS };

struct cudnnContext {
  cudaStream_t stream = nullptr;
};
using cudnnHandle_t = cudnnContext*;

inline cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  *handle = new cudnnContext;
  return CUDNN_STATUS_SUCCESS;
}
inline cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  delete handle;
  return CUDNN_STATUS_SUCCESS;
}
inline cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

namespace densetree::cuda {

inline void check_cudnn(cudnnStatus_t, const std::string&) {}

struct Descriptor {};
inline Descriptor describe_device(cudnnHandle_t) {
  return {};
}

enum class Pass : std::uint8_t { kForward, kBackwardData, kBackwardWeights };

class ConvolutionPlan {
 public:
  ConvolutionPlan(const Descriptor& device, const ConvolutionShape& shape, Pass pass);

  std::size_t workspace_bytes() const;
  void run(cudnnHandle_t handle, const void* x, const void* w, const void* y, void* workspace) const;

 private:
  ConvolutionShape shape_;
  Pass pass_;
};

}  // namespace densetree::cuda
