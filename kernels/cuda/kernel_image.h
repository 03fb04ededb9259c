// Whether this build's kernels can run on the current device.
#pragma once

#include <cuda_runtime_api.h>

namespace densetree::cuda {

// cudaSuccess, or why not: cudaErrorNoKernelImageForDevice where the build has no code for the GPU's architecture.
cudaError_t find_kernel_image();

}  // namespace densetree::cuda
