// The queue of one device.
#pragma once

#include <cuda_runtime_api.h>

namespace densetree::cuda {

struct Stream {
  int device = 0;
  int multiprocessors = 1;
  cudaStream_t handle = nullptr;
};

}  // namespace densetree::cuda
