// Tensors (N, K, 1, 1) in planar fp32, which are matrices [N][K]: what the classifier works on.
#pragma once

#include <string_view>

#include "kernels/core/error.h"
#include "kernels/core/view.h"

namespace densetree::cpu {

// The numbers of such a tensor. Throws Error where it is anything else.
inline float* matrix(std::string_view operation, const View& view, std::int64_t n, std::int64_t k) {
  check(view.shape() == Shape{n, k} && view.layout == Layout::kPlanar && view.whole && view.dtype == DType::kFloat32,
        "{}: an operand is ({}, {}, {}, {}) {} {}{} instead of ({}, {}, 1, 1) fp32 planar", operation, view.n, view.c,
        view.h, view.w, name_of(view.dtype), name_of(view.layout), view.whole ? "" : ", a slice", n, k);
  return view.as<float>();
}

}  // namespace densetree::cpu
