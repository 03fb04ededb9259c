#include "tests/cuda_emulation/grid.h"

#include <fmt/format.h>
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace densetree::emulation {
namespace {

constexpr std::size_t kStackBytes = 64 << 10;

void work_forever();

// Where a stack goes on. Between stacks that have been entered, setjmp and longjmp switch: swapcontext would ask the
// kernel for the signal mask each time, which takes longer than most threads of a grid. AddressSanitizer says once that
// it ignores such a jump; that is right, for no frame is left for good.
struct Place {
  jmp_buf jump;
  ucontext_t* entry = nullptr;  // of a stack that has yet to be entered
};

void switch_stacks(Place& from, Place& to) {
  if (_setjmp(from.jump) == 0) {
    if (const ucontext_t* entry = std::exchange(to.entry, nullptr)) {
      setcontext(entry);
    }
    _longjmp(to.jump, 1);
  }
}

// A stack on which threads run, one after another unless one waits at a barrier.
struct Fiber {
  Fiber() : stack(new std::byte[kStackBytes]), place{.jump = {}, .entry = &context} {
    getcontext(&context);
    context.uc_stack.ss_sp = stack.get();
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, work_forever, 0);
  }

  std::unique_ptr<std::byte[]> stack;
  ucontext_t context;
  Place place;
  dim3 thread;                   // of the thread that waits
  std::source_location barrier;  // where it waits
};

dim3 index_in(const dim3& size, unsigned i) {
  return {i % size.x, i / size.x % size.y, i / size.x / size.y};
}

// The block that runs, and the fibers that its threads run on.
class Runner {
 public:
  void set_order(Order order) { order_ = order; }

  std::string run(const dim3& blocks, const dim3& threads, const std::function<void()>& body) {
    gridDim = blocks, blockDim = threads;
    body_ = &body;
    failure_.clear();
    const Order order = order_ == Order::kChanging ? Order{static_cast<int>(generator_() % 3)} : order_;
    threads_ = arranged(threads.count(), order);
    for (const unsigned block : arranged(blocks.count(), order)) {
      blockIdx = index_in(blocks, block);
      started_ = 0;
      switch_to(host_, *idle_fiber());
    }
    return failure_;
  }

  // What each fiber does: run threads until all have been started, then leave the others to go on.
  void work() {
    for (;;) {
      while (started_ < threads_.size()) {
        threadIdx = index_in(blockDim, threads_[started_++]);
        (*body_)();
      }
      Fiber* const mine = current_;
      Fiber* const next = next_fiber();
      idle_.push_back(mine);
      if (next) {
        switch_to(mine->place, *next);
      } else {
        switch_stacks(mine->place, host_);
      }
    }
  }

  void wait(const std::source_location& barrier) {
    Fiber* const mine = current_;
    mine->thread = threadIdx, mine->barrier = barrier;
    waiting_.push_back(mine);
    if (Fiber* const next = next_fiber(); next != mine) {
      switch_to(mine->place, *next);
    }
    threadIdx = mine->thread;
  }

  void fail(const std::string& what) {
    if (failure_.empty()) {
      failure_ = fmt::format("{} (block ({}, {}, {}), thread ({}, {}, {}))", what, blockIdx.x, blockIdx.y, blockIdx.z,
                             threadIdx.x, threadIdx.y, threadIdx.z);
    }
  }

 private:
  std::vector<unsigned> arranged(unsigned count, Order order) {
    std::vector<unsigned> indices(count);
    std::iota(indices.begin(), indices.end(), 0u);
    if (order == Order::kDescending) {
      std::reverse(indices.begin(), indices.end());
    } else if (order == Order::kShuffled) {
      std::shuffle(indices.begin(), indices.end(), generator_);
    }
    return indices;
  }

  Fiber* idle_fiber() {
    if (idle_.empty()) {
      return &fibers_.emplace_back();
    }
    Fiber* const fiber = idle_.back();
    idle_.pop_back();
    return fiber;
  }

  // Who goes on: threads that have not started, then those past the barrier, then, when all wait, those waiting.
  // Null when the block is done.
  Fiber* next_fiber() {
    if (started_ < threads_.size()) {
      return idle_fiber();
    }
    if (ready_.empty()) {
      open_barrier();
    }
    if (ready_.empty()) {
      return nullptr;
    }
    Fiber* const fiber = ready_.front();
    ready_.pop_front();
    return fiber;
  }

  void open_barrier() {
    std::swap(ready_, waiting_);
    for (const Fiber* fiber : ready_) {
      const std::source_location &a = ready_.front()->barrier, &b = fiber->barrier;
      if (a.line() != b.line() || a.column() != b.column() || std::string(a.file_name()) != b.file_name()) {
        fail(fmt::format("threads of a block wait at different barriers, {}:{} and {}:{}", a.file_name(), a.line(),
                         b.file_name(), b.line()));
      }
    }
  }

  void switch_to(Place& from, Fiber& to) {
    current_ = &to;
    switch_stacks(from, to.place);
  }

  Order order_ = Order::kChanging;
  std::mt19937 generator_;
  std::string failure_;
  const std::function<void()>* body_ = nullptr;
  std::vector<unsigned> threads_;  // of a block, in the order they start
  std::size_t started_ = 0;
  std::deque<Fiber> fibers_;
  std::vector<Fiber*> idle_;
  std::deque<Fiber*> waiting_, ready_;
  Fiber* current_ = nullptr;
  Place host_;
};

Runner& runner() {
  static Runner only;
  return only;
}

void work_forever() {
  runner().work();
}

}  // namespace

void set_order(Order order) {
  runner().set_order(order);
}

bool possible(const dim3& blocks, const dim3& threads) {
  const auto within = [](unsigned value, unsigned most) { return value >= 1 && value <= most; };
  return within(blocks.x, INT32_MAX) && within(blocks.y, 65535) && within(blocks.z, 65535) && within(threads.x, 1024) &&
         within(threads.y, 1024) && within(threads.z, 64) && within(threads.count(), 1024);
}

std::string run_grid(const dim3& blocks, const dim3& threads, const std::function<void()>& body) {
  return runner().run(blocks, threads, body);
}

void fail_grid(const std::string& what) {
  runner().fail(what);
}

}  // namespace densetree::emulation

void __syncthreads(std::source_location place) {
  densetree::emulation::runner().wait(place);
}
