#include "kernels/core/operand.h"

namespace densetree {

std::int64_t Tensor::first_channel() const {
  const auto elements = static_cast<std::int64_t>(start / size_of(dtype));
  return (block_stride == 0 ? 0 : elements / block_stride * block) + first;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t count) const {
  Tensor part(View::slice(begin, count));
  part.storage = storage;
  part.start = start + static_cast<std::size_t>((first + begin) / block * block_stride) * size_of(dtype);
  return part;
}

}  // namespace densetree
