// Operands of operations: what lies where.
//
// An operation is made before there is memory. Until then an operand says which storage it lies in and how far from its
// beginning; binding sets `data`. Whoever has memory already, as tests do, makes operands of views and pointers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/host_device.h"
#include "kernels/core/view.h"

namespace densetree {

using StorageId = int;  // of a tape (engine/tape.h); -1: none

// How an operation uses an operand.
enum class Access : std::uint8_t {
  kRead,
  kWrite,  // overwrites all of it
  kAdd,    // reads and writes
};

// How a gradient arrives: the first writer overwrites, later ones add.
enum class GradMode : std::uint8_t { kOverwrite, kAccumulate };
inline Access access_of(GradMode mode) {
  return mode == GradMode::kOverwrite ? Access::kWrite : Access::kAdd;
}

// An activation, or a slice of its channels.
struct Tensor : View {
  StorageId storage = -1;
  std::size_t start = 0;  // bytes from the beginning of the storage

  Tensor() = default;
  Tensor(const View& view) : View(view) {}

  bool present() const { return data != nullptr || storage >= 0; }
  std::size_t bytes() const { return static_cast<std::size_t>(shape().elements()) * size_of(dtype); }
  // Where its first channel is among those of the storage.
  std::int64_t first_channel() const;
  // The channels [begin, begin + count). Throws Error when they are not all in it.
  Tensor slice(std::int64_t begin, std::int64_t count) const;
};

template <class T>
struct Array {
  T* data = nullptr;
  std::int64_t count = 0;  // elements
  StorageId storage = -1;
  std::size_t start = 0;  // bytes

  Array() = default;
  Array(T* pointer, std::int64_t elements) : data(pointer), count(elements) {}

  bool present() const { return data != nullptr || storage >= 0; }
  std::size_t bytes() const { return static_cast<std::size_t>(count) * sizeof(T); }
  // The elements [begin, begin + length).
  Array slice(std::int64_t begin, std::int64_t length) const {
    Array part = *this;
    part.count = length;
    part.start += static_cast<std::size_t>(begin) * sizeof(T);
    part.data = data == nullptr ? nullptr : data + begin;
    return part;
  }
  DT_HD T& operator[](std::int64_t i) const { return data[i]; }
};

// The memory of an array.
template <class T>
Array<std::byte> bytes_of(const Array<T>& array) {
  Array<std::byte> bytes(reinterpret_cast<std::byte*>(array.data), static_cast<std::int64_t>(array.bytes()));
  bytes.storage = array.storage;
  bytes.start = array.start;
  return bytes;
}

}  // namespace densetree
