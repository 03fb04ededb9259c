// Integer arithmetic that is easy to get wrong by one.
#pragma once

#include "kernels/core/host_device.h"

namespace densetree {

// ⌈a / b⌉ and the next multiple of b, for a >= 0 and b > 0.
template <class A, class B>
DT_HD constexpr A quotient_up(A a, B b) {
  return (a + static_cast<A>(b) - 1) / static_cast<A>(b);
}
template <class A, class B>
DT_HD constexpr A rounded_up(A a, B b) {
  return quotient_up(a, b) * static_cast<A>(b);
}

}  // namespace densetree
