// One block of device memory, divided by plans: allocated once, or lent by the caller.
#pragma once

#include <cstddef>

#include "kernels/core/error.h"
#include "kernels/device.h"

namespace densetree {

class Arena {
 public:
  // Zero-filled, so that its pages exist before the first step. Throws Error when the device has not enough. `lent` is
  // so many bytes of the caller's that outlive the arena, or null.
  Arena(Device& device, std::size_t bytes, void* lent = nullptr)
      : device_(&device),
        bytes_(bytes),
        owned_(lent ? nullptr : device.allocate(bytes)),
        memory_(lent ? lent : owned_) {
    device.fill(memory_, 0, bytes);
  }
  ~Arena() {
    if (owned_) {
      device_->release(owned_);
    }
  }
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
  void *owned_, *memory_;
};

}  // namespace densetree
