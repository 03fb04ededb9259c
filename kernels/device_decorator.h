// A device that passes everything on to another one: the base of devices that look at what goes through them. Those
// that look at operations override make_kernel(), and wrap the kernels that come out of it.
#pragma once

#include "kernels/device.h"
#include "kernels/tree_operations.h"

namespace densetree {

class DeviceDecorator : public Device {
 public:
  explicit DeviceDecorator(Device& inner) : inner_(inner) {}

  DeviceInfo info() const override { return inner_.info(); }
  Layout layout(Use use) const override { return inner_.layout(use); }
  std::string why_not(Precision precision) const override { return inner_.why_not(precision); }
  bool prefers_fused() const override { return inner_.prefers_fused(); }

  void* stream() const override { return inner_.stream(); }
  std::string misplaced(const void* memory, Place place) const override { return inner_.misplaced(memory, place); }

  void* allocate(std::size_t bytes) override { return inner_.allocate(bytes); }
  void release(void* memory) noexcept override { inner_.release(memory); }
  void upload(void* to, const void* from, std::size_t bytes) override { inner_.upload(to, from, bytes); }
  void download(void* to, const void* from, std::size_t bytes) override { inner_.download(to, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { inner_.copy(to, from, bytes); }
  void fill(void* memory, std::uint8_t value, std::size_t bytes) override { inner_.fill(memory, value, bytes); }
  void synchronize() override { inner_.synchronize(); }

  std::size_t staging_bytes(std::size_t bytes) const override { return inner_.staging_bytes(bytes); }
  std::unique_ptr<StagedUpload> make_staged_upload(std::size_t bytes, void* memory) override {
    return inner_.make_staged_upload(bytes, memory);
  }
  std::unique_ptr<Readback> make_readback(std::size_t bytes) override { return inner_.make_readback(bytes); }
  std::unique_ptr<Stopwatch> make_stopwatch() override { return inner_.make_stopwatch(); }
  std::unique_ptr<Replay> capture(std::function<void()> work) override { return inner_.capture(std::move(work)); }
  void push_range(const char* name) override { inner_.push_range(name); }
  void pop_range() override { inner_.pop_range(); }

  std::unique_ptr<TreeOperations> make_tree_operations() override { return inner_.make_tree_operations(); }

 protected:
  std::unique_ptr<Kernel> make_kernel(const Operation& operation, std::vector<Refusal>* refusals) override {
    return inner_.prepare(operation, refusals);
  }

  Device& inner_;
};

// A kernel that passes everything on to another one.
class KernelDecorator : public Kernel {
 public:
  explicit KernelDecorator(std::unique_ptr<Kernel> inner) : inner_(std::move(inner)) {}
  std::string implementation() const override { return inner_->implementation(); }
  std::size_t workspace_bytes() const override { return inner_->workspace_bytes(); }

 protected:
  std::unique_ptr<Kernel> inner_;
};

}  // namespace densetree
