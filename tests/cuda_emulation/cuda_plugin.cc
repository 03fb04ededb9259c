// Takes the place of kernels/cuda_plugin.cc: the emulated device is part of the program, and its current context is
// known by the number of the current device.
#include "kernels/cuda_plugin.h"

#include <cuda_runtime_api.h>

namespace densetree {

const CudaFunctions* cuda_functions(std::string*) {
  return &kCudaFunctions;
}

void* current_cuda_context() noexcept {
  return reinterpret_cast<void*>(static_cast<std::intptr_t>(emulation::current_device + 1));
}

void set_current_cuda_context(void* context) noexcept {
  cudaSetDevice(static_cast<int>(reinterpret_cast<std::intptr_t>(context)) - 1);
}

}  // namespace densetree
