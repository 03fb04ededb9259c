// What an operation is counted as, and for how much.
#pragma once

#include <string>

#include "kernels/operations.h"

namespace densetree::bench {

// "convolution data gradient 3x3", "affine relu gradient +="
std::string kind_of(const Operation& operation);
// Of its operands, once where they are read or written and twice where they are added to, so that bytes/s can be held
// against a copy's.
double bytes_of(const Operation& operation);
// Floating-point operations, of convolutions only: two for a multiply-add.
double flops_of(const Operation& operation);

}  // namespace densetree::bench
