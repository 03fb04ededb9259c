// CUDA as far as it is known without its plugin: how that is found, and the driver's idea of a current device.
#pragma once

#include <string>

#include "kernels/cuda/functions.h"

namespace densetree {

// What the CUDA plugin offers, loaded by the first call. Null where there is no plugin, no driver, or not what the
// plugin needs, with the reason in *why_not.
const CudaFunctions* cuda_functions(std::string* why_not);

// The calling thread's current CUDA context; null where it has none, or where nobody in this process has loaded the
// driver, which takes 50 µs to find out.
void* current_cuda_context() noexcept;
void set_current_cuda_context(void* context) noexcept;

}  // namespace densetree
