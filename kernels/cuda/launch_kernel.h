// Queues one kernel: the only lines of the project that are CUDA's syntax rather than C++'s. They stand alone so that
// tests/cuda_emulation can have an ordinary function in their place and run the kernels without a GPU.
#pragma once

#include <cuda_runtime.h>

#include <type_traits>

namespace densetree::cuda {

// A refused launch shows in cudaGetLastError().
template <class... Parameters>
void launch_kernel(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, cudaStream_t stream,
                   std::type_identity_t<Parameters>... arguments) {
  kernel<<<blocks, threads, 0, stream>>>(arguments...);
}

}  // namespace densetree::cuda
