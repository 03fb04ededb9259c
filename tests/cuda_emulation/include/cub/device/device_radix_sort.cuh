// Stands in for CUB's sort of keys over the whole device.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "cuda_runtime_api.h"

namespace cub {

struct DeviceRadixSort {
  // Without temporary storage: only says how much is needed. All of that is written, so it has to be there.
  template <class Key, class Count>
  static cudaError_t SortKeys(void* temporary, std::size_t& bytes, const Key* in, Key* out, Count count,
                              int begin_bit = 0, int end_bit = sizeof(Key) * 8, cudaStream_t stream = nullptr) {
    const std::size_t needed = 1000 + static_cast<std::size_t>(count) * sizeof(Key) / 4;
    if (!temporary) {
      bytes = needed;
      return cudaSuccess;
    }
    if (bytes < needed || begin_bit != 0 || end_bit != sizeof(Key) * 8) {  // sorting by some bits is not emulated
      return densetree::emulation::refuse(cudaErrorInvalidValue);
    }
    densetree::emulation::enqueue(stream, [=] {
      std::memset(temporary, 0xFF, needed);
      std::copy(in, in + count, out);
      std::sort(out, out + count);
    });
    return cudaSuccess;
  }
};

}  // namespace cub
