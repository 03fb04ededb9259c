// Checks of CUDA calls and of the views that operations are given. They throw Error naming the operation, the device
// or the shapes. Written without fmt in sight, whose compile-time format strings nvcc's front end does not evaluate.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "kernels/core/view.h"

namespace densetree::cuda {

// "<operation> on cuda:<device>: CUDA says …" unless status is cudaSuccess.
void check_cuda(cudaError_t status, std::string_view operation, int device);

// "<operation>: <rule>; got (16, 64, 56, 56), …" unless ok. `rule` says what would be right.
void require(bool ok, std::string_view operation, const char* rule, std::initializer_list<View> views = {});

}  // namespace densetree::cuda
