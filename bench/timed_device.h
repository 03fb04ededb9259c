// A device that times another one: every operation and transfer, by kind. The profile of a training step, without a
// hook in anything that is measured.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "bench/profile.h"
#include "kernels/device_decorator.h"

namespace densetree::bench {

class TimedDevice final : public DeviceDecorator {
 public:
  explicit TimedDevice(std::unique_ptr<Device> device)
      : DeviceDecorator(*device), device_(std::move(device)), profiler_(device_->make_stopwatch()) {}

  // See Profiler.
  const Profile& profile() { return profiler_.profile(); }
  double recomputing_seconds() { return profiler_.recomputing_seconds(); }
  void reset() { profiler_.reset(); }
  void measure(const std::string& kind, double bytes, double flops, const std::function<void()>& body) {
    profiler_.measure(kind, bytes, flops, body);
  }

  void upload(void* to_device, const void* from_host, std::size_t bytes) override;
  void download(void* to_host, const void* from_device, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void fill(void* memory, std::uint8_t value, std::size_t bytes) override;
  std::unique_ptr<StagedUpload> make_staged_upload(std::size_t bytes, void* memory) override;
  // Calls the work in every run: the operations of a graph cannot be timed one by one.
  std::unique_ptr<Replay> capture(std::function<void()> work) override { return make_direct_replay(std::move(work)); }
  void push_range(const char* name) override {
    DeviceDecorator::push_range(name);
    profiler_.begin_range(name);
  }
  void pop_range() override {
    profiler_.end_range();
    DeviceDecorator::pop_range();
  }

 private:
  std::unique_ptr<Kernel> make_kernel(const Operation& operation, std::vector<Refusal>* refusals) override;

  std::unique_ptr<Device> device_;
  Profiler profiler_;  // goes before the device whose clock it reads
};

}  // namespace densetree::bench
