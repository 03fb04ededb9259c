// Stands in for CUDA's language: its keywords, and the functions that kernels call without a header of their own.
#pragma once

#include <cmath>
#include <concepts>
#include <type_traits>

#include "cuda_runtime_api.h"
#include "tests/cuda_emulation/grid.h"

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __shared__ static  // blocks run one after another

using std::isnan;

template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  return b < a ? b : a;
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  return a < b ? b : a;
}

// Integers alone: floating-point sums would depend on the order of threads.
template <std::integral T>
T atomicAdd(T* to, std::type_identity_t<T> value) {
  return std::exchange(*to, static_cast<T>(*to + value));
}
