// Takes the place of kernels/cuda/launch_kernel.h: the kernel is queued to run as an ordinary function, once per
// thread.
#pragma once

#include <cuda_runtime.h>

#include <type_traits>

namespace densetree::cuda {

template <class... Parameters>
void launch_kernel(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, cudaStream_t stream,
                   std::type_identity_t<Parameters>... arguments) {
  if (!emulation::possible(blocks, threads)) {
    emulation::refuse(cudaErrorInvalidConfiguration);
    return;
  }
  emulation::enqueue(stream, [=] {
    std::string failure = emulation::run_grid(blocks, threads, [&] { kernel(arguments...); });
    if (!failure.empty()) {
      emulation::launch_failure = std::move(failure);
      emulation::refuse(cudaErrorLaunchFailure);
    }
  });
}

}  // namespace densetree::cuda
