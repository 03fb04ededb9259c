// One block of device memory, divided by plans: allocated once, or lent by the caller.
#pragma once

#include <cstddef>
#include <memory>

#include "kernels/core/error.h"
#include "kernels/device.h"

namespace densetree {

class Arena {
 public:
  // Zero-filled, so that its pages exist before the first step. Throws Error when the device has not enough. `lent` is
  // so many bytes of the caller's that outlive the arena, or null.
  Arena(Device& device, std::size_t bytes, void* lent = nullptr)
      : bytes_(bytes), memory_(lent ? lent : device.allocate(bytes), Return{&device, lent != nullptr}) {
    device.fill(memory_.get(), 0, bytes);
  }

  std::size_t bytes() const { return bytes_; }
  std::byte* at(std::size_t offset) const {
    check(offset <= bytes_, "arena: offset {} is beyond its {} bytes", offset, bytes_);
    return static_cast<std::byte*>(memory_.get()) + offset;
  }

 private:
  // To the device; or to whoever lent it, once no queued work uses it.
  struct Return {
    Device* device;
    bool is_lent;
    void operator()(void* memory) const noexcept {
      if (!is_lent) {
        device->release(memory);
        return;
      }
      try {
        device->synchronize();
      } catch (const Error&) {
        return;  // then nothing is under way any more
      }
    }
  };

  std::size_t bytes_;
  std::unique_ptr<void, Return> memory_;
};

}  // namespace densetree
