// What the benchmark programs share: their flags beside Google Benchmark's, what they print about the machine, and
// device memory full of random numbers. Zeros would flatter: caches, powers and denormals all see the difference.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace densetree::bench {

struct Settings {
  std::string device = "cpu";
  int threads = 0;  // 0: all cores

  void add_to(CLI::App& app);
  std::unique_ptr<Device> open() const;
};

// Parses Google Benchmark's flags, then `app`'s, then calls `body`; prints errors the way densetree does and returns
// the exit status.
int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& body);
// Runs what `body` registered, with device, processor and threads in the header of the report.
void run_registered(const DeviceInfo& info);

// Device memory, released at the end. Starts with random floats, uniform in [low, high).
class Buffer {
 public:
  Buffer(Device& device, std::size_t bytes, float low = -1, float high = 1);
  ~Buffer() { device_->release(memory_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  template <class T = float>
  T* as() const {
    return static_cast<T*>(memory_);
  }

 private:
  Device* device_;
  void* memory_;
};

// A whole tensor of fp32 or bf16 in the layout that the device gives this use, filled with random numbers.
struct RandomTensor {
  RandomTensor(Device& device, const Shape& shape, Use use, DType type = DType::kFloat32);
  Buffer buffer;
  View view;
};

}  // namespace densetree::bench
