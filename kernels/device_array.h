// An array in a device's memory, released at the end of its scope.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "kernels/device.h"

namespace densetree {

template <class T>
class DeviceArray {
 public:
  DeviceArray(Device& device, std::size_t count)
      : device_(&device), count_(count), data_(static_cast<T*>(device.allocate(count * sizeof(T)))) {}
  DeviceArray(Device& device, std::span<const T> values) : DeviceArray(device, values.size()) {
    device.upload(data_, values.data(), values.size_bytes());
  }
  ~DeviceArray() {
    if (data_) {
      device_->release(data_);
    }
  }
  DeviceArray(DeviceArray&& other) noexcept
      : device_(other.device_), count_(other.count_), data_(std::exchange(other.data_, nullptr)) {}
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  std::size_t size() const { return count_; }
  void read(std::span<T> to) const { device_->download(to.data(), data_, to.size_bytes()); }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    read(values);
    return values;
  }

 private:
  Device* device_;
  std::size_t count_;
  T* data_;
};

}  // namespace densetree
