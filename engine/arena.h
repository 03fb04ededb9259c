// One device allocation, made once and divided by plans.
#pragma once

#include <cstddef>

#include "kernels/core/error.h"
#include "kernels/device.h"

namespace densetree {

class Arena {
 public:
  // Zero-filled, so that its pages exist before the first step. Throws Error when the device has not enough.
  Arena(Device& device, std::size_t bytes) : device_(&device), bytes_(bytes), memory_(device.allocate(bytes)) {
    device.fill(memory_, 0, bytes);
  }
  ~Arena() { device_->release(memory_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  std::size_t bytes() const { return bytes_; }
  std::byte* at(std::size_t offset) const {
    check(offset <= bytes_, "arena: offset {} is beyond its {} bytes", offset, bytes_);
    return static_cast<std::byte*>(memory_) + offset;
  }

 private:
  Device* device_;
  std::size_t bytes_;
  void* memory_;
};

}  // namespace densetree
