// What an operation may be asked of every device: the rules that its operands keep.
#pragma once

#include "kernels/device.h"

namespace densetree {

// Throws Error, naming the operation, the operand and what would be right, unless shapes, element types and counts of
// the operands fit together and the device computes in the operation's precision. Nothing needs to have memory yet.
void check_operands(const Device& device, const Operation& operation);

}  // namespace densetree
