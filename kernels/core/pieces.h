// A workspace that is handed out piece by piece.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/integer.h"

namespace densetree {

// Pieces lie one after the other, each on a boundary. Without memory it counts what they take together.
class Pieces {
 public:
  explicit Pieces(void* base, std::size_t boundary = 64) : base_(static_cast<std::byte*>(base)), boundary_(boundary) {}

  template <class T>
  T* take(std::int64_t count) {
    return static_cast<T*>(take_bytes(static_cast<std::size_t>(count) * sizeof(T)));
  }
  void* take_bytes(std::size_t bytes) {
    const std::size_t offset = bytes_;
    bytes_ += rounded_up(bytes, boundary_);
    return base_ == nullptr ? nullptr : base_ + offset;
  }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* base_;
  std::size_t boundary_, bytes_ = 0;
};

}  // namespace densetree
