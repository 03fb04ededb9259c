// Stands in for cuDNN's handle. What kernels/cuda/cudnn_graph.h makes of the rest has a stand-in of its own.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

enum cudnnStatus_t { CUDNN_STATUS_SUCCESS };

struct cudnnContext {
  cudaStream_t stream = nullptr;
};
using cudnnHandle_t = cudnnContext*;

inline std::size_t cudnnGetVersion() {
  return 0;
}
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
