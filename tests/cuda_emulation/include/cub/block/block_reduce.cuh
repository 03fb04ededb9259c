// Stands in for CUB's block-wide sum, and for its contract: all threads of the block call it, the first alone gets the
// sum, and the storage may be used again only behind a barrier.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

#include "cuda_runtime.h"

namespace cub {

template <class T, int kThreads>
class BlockReduce {
 public:
  struct TempStorage {
    alignas(T) std::byte bytes[kThreads * sizeof(T)];
  };

  explicit BlockReduce(TempStorage& storage) : storage_(storage) {}

  T Sum(T mine) {
    if (blockDim.x != kThreads || blockDim.count() != kThreads) {
      densetree::emulation::fail_grid("BlockReduce is made for another number of threads than the block has");
      return undefined();
    }
    std::memcpy(storage_.bytes + threadIdx.x * sizeof(T), &mine, sizeof(T));
    __syncthreads();
    return threadIdx.x == 0 ? sum_of_all() : undefined();
  }

 private:
  T at(int thread) const {
    std::array<std::byte, sizeof(T)> bytes;
    std::memcpy(bytes.data(), storage_.bytes + thread * sizeof(T), sizeof(T));
    return std::bit_cast<T>(bytes);
  }
  T sum_of_all() const {
    T sum = at(0);
    for (int thread = 1; thread < kThreads; ++thread) {
      sum = sum + at(thread);
    }
    return sum;
  }
  static T undefined() {
    std::array<std::byte, sizeof(T)> bytes;
    bytes.fill(std::byte{0xFF});
    return std::bit_cast<T>(bytes);
  }

  TempStorage& storage_;
};

}  // namespace cub
