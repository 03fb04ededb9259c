// Runs the threads of a grid of blocks one after another on one CPU thread, each until it ends or waits at
// __syncthreads(). A thread that waits keeps its stack (a fiber); when no thread of the block can go on, the barrier
// opens. Blocks run one after another, so memory shared by a block can be static memory: at a block's start it holds
// what the block before left in it.
//
// A GPU promises no order of threads or blocks, and this promises none either: each grid runs in another one, so tests
// that want the same bits from several runs want them from several orders. A test can also fix the order.
#pragma once

#include <functional>
#include <source_location>
#include <string>

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr unsigned count() const { return x * y * z; }
};

// Of the thread that runs.
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

// The place tells barriers apart: threads of a block that wait at different ones are a failure of the grid.
void __syncthreads(std::source_location place = std::source_location::current());

namespace densetree::emulation {

enum class Order {
  kAscending,
  kDescending,
  kShuffled,
  kChanging,  // one of these for each grid, drawn by a generator that starts alike in every process
};
void set_order(Order order);  // of grids run from here on; at first kChanging

// Whether a GPU would take a grid of this size.
bool possible(const dim3& blocks, const dim3& threads);

// Calls body once per thread. Returns what went wrong on the way, empty where nothing did.
std::string run_grid(const dim3& blocks, const dim3& threads, const std::function<void()>& body);

// For stand-ins of device functions: what the calling thread did wrong. The grid runs on; run_grid returns it.
void fail_grid(const std::string& what);

}  // namespace densetree::emulation
