// A device that passes every call on to another one, counts its memory, and may pretend to have less memory, or to be
// one that captures: it then notes the operations that captured work runs and replays those without the work, as a CUDA
// graph would. What waits in captured work is an error.
#pragma once

#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/device_decorator.h"

namespace densetree::test {

class CountingDevice final : public DeviceDecorator {
 public:
  using DeviceDecorator::DeviceDecorator;

  int allocations = 0, releases = 0;            // calls so far
  int captured = 0;                             // of capture()
  std::size_t last_bytes = 0;                   // of the last allocation
  std::optional<std::size_t> free_memory = {};  // what info() says is free; none: the truth
  bool captures = false;                        // whether captured work is noted and replayed without it

  DeviceInfo info() const override {
    DeviceInfo info = inner_.info();
    info.free_memory = free_memory.value_or(info.free_memory);
    return info;
  }
  void* allocate(std::size_t bytes) override {
    ++allocations;
    last_bytes = bytes;
    return inner_.allocate(bytes);
  }
  void release(void* memory) noexcept override {
    ++releases;
    inner_.release(memory);
  }
  void upload(void* to, const void* from, std::size_t bytes) override {
    check(calls_ == nullptr, "captured work uploads");
    inner_.upload(to, from, bytes);
  }
  void download(void* to, const void* from, std::size_t bytes) override {
    check(calls_ == nullptr, "captured work downloads");
    inner_.download(to, from, bytes);
  }
  void synchronize() override {
    check(calls_ == nullptr, "captured work synchronizes");
    inner_.synchronize();
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    pass([=, this] { inner_.copy(to, from, bytes); });
  }
  void fill(void* memory, std::uint8_t value, std::size_t bytes) override {
    pass([=, this] { inner_.fill(memory, value, bytes); });
  }
  std::unique_ptr<Replay> capture(std::function<void()> work) override {
    ++captured;
    return captures ? std::make_unique<NotedReplay>(*this, std::move(work)) : inner_.capture(std::move(work));
  }

 private:
  std::unique_ptr<Kernel> make_kernel(const Operation& operation, std::vector<Refusal>* refusals) override {
    auto kernel = inner_.prepare(operation, refusals);
    return kernel && captures ? std::make_unique<NotedKernel>(*this, std::move(kernel)) : std::move(kernel);
  }

  // Passes captured work's calls on: the first run makes them all, the second notes them too.
  class NotedReplay final : public Replay {
   public:
    NotedReplay(CountingDevice& device, std::function<void()> work) : device_(device), work_(std::move(work)) {}
    void run() override {
      if (runs_++ == 0) {
        return work_();
      }
      if (runs_ == 2) {
        device_.calls_ = &calls_;
        work_();
        device_.calls_ = nullptr;
      }
      for (const auto& call : calls_) {
        call();
      }
    }

   private:
    CountingDevice& device_;
    std::function<void()> work_;
    std::vector<std::function<void()>> calls_;
    int runs_ = 0;
  };

  class NotedKernel final : public KernelDecorator {
   public:
    NotedKernel(CountingDevice& device, std::unique_ptr<Kernel> inner)
        : KernelDecorator(std::move(inner)), device_(device) {}
    void run(const Operation& operation, void* workspace) override {
      device_.pass([=, this] { inner_->run(operation, workspace); });
    }

   private:
    CountingDevice& device_;
  };

  void pass(const std::function<void()>& call) {
    if (calls_ != nullptr) {
      calls_->push_back(call);
    } else {
      call();
    }
  }

  std::vector<std::function<void()>>* calls_ = nullptr;  // where captured work is noted
};

}  // namespace densetree::test
