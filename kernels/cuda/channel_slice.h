// Where the channels of a view lie in their storage: from `first` on, of that many.
#pragma once

#include <cstdint>

#include "kernels/core/operand.h"

namespace densetree::cuda {

struct ChannelSlice {
  std::int64_t first = 0, of = 0;
  bool operator==(const ChannelSlice&) const = default;
};

// Of an interleaved tensor.
inline ChannelSlice slice_of(const Tensor& t) {
  return {t.first_channel(), t.pixel_stride};
}

}  // namespace densetree::cuda
