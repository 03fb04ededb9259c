// The emulation itself: that it runs what a GPU would run, in several orders, and that it sees the mistakes that it is
// there to see.
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <bit>
#include <cub/block/block_reduce.cuh>
#include <cub/device/device_radix_sort.cuh>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "kernels/core/error.h"
#include "kernels/cuda/launch.h"
#include "tests/error_of.h"

namespace densetree::emulation {
namespace {

using cuda::Grid;
using cuda::launch;

constexpr Order kOrders[] = {Order::kAscending, Order::kDescending, Order::kShuffled};

class EmulationTest : public testing::Test {
 protected:
  EmulationTest() { cudaStreamCreateWithFlags(&stream_.handle, cudaStreamNonBlocking); }
  ~EmulationTest() override {
    cudaStreamDestroy(stream_.handle);
    cudaGetLastError();
    set_order(Order::kChanging);
  }
  void synchronize() { cuda::check_cuda(cudaStreamSynchronize(stream_.handle), "waiting", 0); }

  // The three orders' results of kernel(int* results) on so many blocks and threads.
  std::vector<std::vector<int>> results_of(void (*kernel)(int*), const Grid& grid, int count) {
    std::vector<std::vector<int>> all;
    for (const Order order : kOrders) {
      set_order(order);
      std::vector<int>& results = all.emplace_back(count, -1);
      launch(stream_, "test", kernel, grid, results.data());
      synchronize();
    }
    return all;
  }

  cuda::Stream stream_;
};

// ---- Grids ---------------------------------------------------------------------------------------------------------

__global__ void count_visits(int* visits) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  ++visits[block * blockDim.x * blockDim.y * blockDim.z + thread];
}

TEST_F(EmulationTest, EveryThreadRunsOnce) {
  const Grid grid{dim3(3, 2, 4), dim3(5, 3, 2)};
  for (const std::vector<int>& visits : results_of(count_visits, grid, 24 * 30)) {
    EXPECT_EQ(visits, std::vector<int>(24 * 30, 0));  // from −1
  }
}

__global__ void note_turn(int* turns) {
  static int turn = 0;
  turns[blockIdx.x * blockDim.x + threadIdx.x] = turn++ % 12;
}

TEST_F(EmulationTest, OrdersDiffer) {
  const std::vector<std::vector<int>> turns = results_of(note_turn, Grid{dim3(3), dim3(4)}, 12);
  std::vector<int> ascending(12);
  std::iota(ascending.begin(), ascending.end(), 0);
  EXPECT_EQ(turns[0], ascending);
  EXPECT_EQ(turns[1], std::vector<int>(ascending.rbegin(), ascending.rend()));
  EXPECT_NE(turns[2], turns[0]);
  EXPECT_TRUE(std::is_permutation(turns[2].begin(), turns[2].end(), ascending.begin()));
}

TEST_F(EmulationTest, LeftAloneTheOrderChanges) {
  std::map<std::vector<int>, int> seen;
  for (int run = 0; run < 20; ++run) {
    std::vector<int> turns(12);
    launch(stream_, "test", note_turn, Grid{dim3(3), dim3(4)}, turns.data());
    synchronize();
    ++seen[turns];
  }
  EXPECT_GT(seen.size(), 3u);
}

TEST_F(EmulationTest, GridsThatNoGpuTakesAreRefused) {
  int result = 0;
  for (const Grid& grid : {Grid{dim3(0), dim3(32)}, Grid{dim3(1), dim3(0)}, Grid{dim3(1, 65536), dim3(32)},
                           Grid{dim3(1), dim3(1025)}, Grid{dim3(1), dim3(32, 33)}, Grid{dim3(1), dim3(1, 1, 65)}}) {
    const std::string error = error_of([&] { launch(stream_, "an operation", count_visits, grid, &result); });
    EXPECT_NE(error.find("an operation"), std::string::npos) << error;
    EXPECT_NE(error.find("cudaErrorInvalidConfiguration"), std::string::npos) << error;
  }
  synchronize();
  EXPECT_EQ(result, 0);
}

// ---- Barriers and shared memory ------------------------------------------------------------------------------------

constexpr int kBlock = 64;

// Each block rotates its numbers by one place, as often as it has threads, ending where it began.
__global__ void rotate(int* results) {
  __shared__ int shared[kBlock];
  const int me = threadIdx.x, next = (me + 1) % kBlock;
  shared[me] = me + static_cast<int>(blockIdx.x) * kBlock;
  for (int i = 0; i < kBlock; ++i) {
    __syncthreads();
    const int taken = shared[next];
    __syncthreads();
    shared[me] = taken;
  }
  results[blockIdx.x * kBlock + me] = shared[me];
}

TEST_F(EmulationTest, BarriersOrderSharedMemory) {
  std::vector<int> expected(3 * kBlock);
  std::iota(expected.begin(), expected.end(), 0);
  for (const std::vector<int>& results : results_of(rotate, Grid{dim3(3), dim3(kBlock)}, 3 * kBlock)) {
    EXPECT_EQ(results, expected);
  }
}

__global__ void rotate_without_barrier(int* results) {
  __shared__ int shared[kBlock];
  const int me = threadIdx.x;
  shared[me] = me;
  results[me] = shared[(me + 1) % kBlock];
  __syncthreads();
  shared[me] = -2;  // what the next launch finds
}

TEST_F(EmulationTest, AMissingBarrierShows) {
  const auto results = results_of(rotate_without_barrier, Grid{dim3(1), dim3(kBlock)}, kBlock);
  EXPECT_NE(results[0], results[1]);
  EXPECT_NE(results[0], results[2]);
}

__global__ void wait_in_half(int*) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

TEST_F(EmulationTest, DifferentBarriersAreAnError) {
  launch(stream_, "test", wait_in_half, Grid{dim3(1), dim3(kBlock)}, nullptr);
  const std::string error = error_of([&] { synchronize(); });
  EXPECT_NE(error.find("different barriers"), std::string::npos) << error;
  EXPECT_NE(error.find("emulation_test.cc"), std::string::npos) << error;
  EXPECT_NO_THROW(synchronize());  // told once
}

__global__ void half_ends_early(int* results) {
  __shared__ int shared[kBlock];
  if (threadIdx.x >= kBlock / 2) {
    return;
  }
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  __syncthreads();
  results[threadIdx.x] = shared[kBlock / 2 - 1 - threadIdx.x];
}

TEST_F(EmulationTest, ThreadsThatEndedHoldUpNobody) {
  for (const std::vector<int>& results : results_of(half_ends_early, Grid{dim3(1), dim3(kBlock)}, kBlock / 2)) {
    for (int i = 0; i < kBlock / 2; ++i) {
      EXPECT_EQ(results[i], kBlock / 2 - 1 - i);
    }
  }
}

// Draws tickets from results[0], and counts below who has which.
__global__ void draw_tickets(int* results) {
  const int ticket = atomicAdd(&results[0], 1) + 1;
  ++results[1 + ticket];
}

TEST_F(EmulationTest, AtomicsAddAndGiveWhatWasThere) {
  const int threads = 5 * kBlock;
  std::vector<int> expected(1 + threads, 0);  // from −1
  expected[0] = threads - 1;
  for (const std::vector<int>& results : results_of(draw_tickets, Grid{dim3(5), dim3(kBlock)}, 1 + threads)) {
    EXPECT_EQ(results, expected);
  }
}

// ---- CUB -----------------------------------------------------------------------------------------------------------

template <bool kBarrier>
__global__ void reduce_twice(int* results) {
  using Reduce = cub::BlockReduce<int, kBlock>;
  __shared__ typename Reduce::TempStorage temporary;
  const int first = Reduce(temporary).Sum(static_cast<int>(threadIdx.x));
  if (kBarrier) {
    __syncthreads();
  }
  const int second = Reduce(temporary).Sum(1000);
  results[2 * threadIdx.x] = first, results[2 * threadIdx.x + 1] = second;
}

TEST_F(EmulationTest, TheFirstThreadAloneGetsABlocksSum) {
  for (const std::vector<int>& results : results_of(reduce_twice<true>, Grid{dim3(1), dim3(kBlock)}, 2 * kBlock)) {
    EXPECT_EQ(results[0], kBlock * (kBlock - 1) / 2);
    EXPECT_EQ(results[1], 1000 * kBlock);
    EXPECT_EQ(std::vector<int>(results.begin() + 2, results.end()), std::vector<int>(2 * kBlock - 2, -1));
  }
}

TEST_F(EmulationTest, StorageUsedAgainWithoutABarrierShows) {
  int wrong = 0;
  for (const std::vector<int>& results : results_of(reduce_twice<false>, Grid{dim3(1), dim3(kBlock)}, 2 * kBlock)) {
    wrong += results[0] != kBlock * (kBlock - 1) / 2;
  }
  EXPECT_GT(wrong, 0);
}

TEST_F(EmulationTest, ABlockOfAnotherSizeIsAnError) {
  std::vector<int> results(2 * kBlock);
  launch(stream_, "test", reduce_twice<true>, Grid{dim3(1), dim3(kBlock / 2)}, results.data());
  EXPECT_NE(error_of([&] { synchronize(); }).find("BlockReduce"), std::string::npos);
}

TEST_F(EmulationTest, SortsOnTheStreamInTheStorageItAskedFor) {
  std::vector<double> keys{3, -1, std::numeric_limits<double>::infinity(), 0.5, -7, 3}, sorted(keys.size());
  std::vector<double> expected = keys;
  std::sort(expected.begin(), expected.end());
  const int count = static_cast<int>(keys.size());
  std::size_t bytes = 0;
  EXPECT_EQ(cub::DeviceRadixSort::SortKeys(nullptr, bytes, keys.data(), sorted.data(), count), cudaSuccess);
  std::vector<std::byte> temporary(bytes);
  std::size_t too_few = bytes - 1;
  EXPECT_NE(cub::DeviceRadixSort::SortKeys(temporary.data(), too_few, keys.data(), sorted.data(), count), cudaSuccess);
  EXPECT_EQ(
      cub::DeviceRadixSort::SortKeys(temporary.data(), bytes, keys.data(), sorted.data(), count, 0, 64, stream_.handle),
      cudaSuccess);
  EXPECT_EQ(sorted, std::vector<double>(keys.size()));
  cudaGetLastError();  // of the refusal
  synchronize();
  EXPECT_EQ(sorted, expected);
}

// ---- Streams, pinned memory, events, graphs ------------------------------------------------------------------------

__global__ void increment(int* value) {
  ++*value;
}

class EmulatedStreamTest : public EmulationTest {
 protected:
  EmulatedStreamTest() {
    cudaStreamCreateWithFlags(&other_, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&event_, cudaEventDisableTiming);
    cudaMallocHost(reinterpret_cast<void**>(&pinned_), sizeof(int));
  }
  ~EmulatedStreamTest() override {
    cudaStreamDestroy(other_);
    cudaEventDestroy(event_);
    cudaFreeHost(pinned_);
  }
  void queue_increment(int* value) { launch(stream_, "test", increment, Grid{dim3(1), dim3(1)}, value); }

  cudaStream_t other_ = nullptr;
  cudaEvent_t event_ = nullptr;
  int* pinned_ = nullptr;
};

TEST_F(EmulatedStreamTest, WorkIsHeldBackUntilSomebodyWaits) {
  int value = 0;
  queue_increment(&value);
  queue_increment(&value);
  EXPECT_EQ(value, 0);
  synchronize();
  EXPECT_EQ(value, 2);
}

TEST_F(EmulatedStreamTest, OrdinaryMemoryIsReadAtOnceAndPinnedMemoryWhenItsTurnComes) {
  int from = 1, a = 0, b = 0;
  *pinned_ = 1;
  cudaMemcpyAsync(&a, &from, sizeof(int), cudaMemcpyHostToDevice, stream_.handle);
  cudaMemcpyAsync(&b, pinned_, sizeof(int), cudaMemcpyHostToDevice, stream_.handle);
  from = *pinned_ = 2;
  EXPECT_EQ(a + b, 0);
  synchronize();
  EXPECT_EQ(a, 1);
  EXPECT_EQ(b, 2);
}

TEST_F(EmulatedStreamTest, OrdinaryMemoryIsWrittenAtOnceAndPinnedMemoryWhenItsTurnComes) {
  int value = 5, to = 0;
  *pinned_ = 0;
  cudaMemcpyAsync(pinned_, &value, sizeof(int), cudaMemcpyDeviceToHost, stream_.handle);
  EXPECT_EQ(*pinned_, 0);
  cudaMemcpyAsync(&to, &value, sizeof(int), cudaMemcpyDeviceToHost, stream_.handle);
  EXPECT_EQ(to, 5);
  EXPECT_EQ(*pinned_, 5);
}

TEST_F(EmulatedStreamTest, EventsHoldAStreamAndTheHostUntilTheirPlace) {
  int value = 0, seen = 0;
  EXPECT_EQ(cudaEventSynchronize(event_), cudaSuccess);  // nothing recorded, nothing to wait for
  queue_increment(&value);
  cudaEventRecord(event_, stream_.handle);
  queue_increment(&value);
  cudaStreamWaitEvent(other_, event_, 0);
  cudaMemcpyAsync(&seen, &value, sizeof(int), cudaMemcpyDeviceToDevice, other_);
  cudaStreamSynchronize(other_);
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(value, 1);
  cudaEventRecord(event_, stream_.handle);
  EXPECT_EQ(value, 1);
  cudaEventSynchronize(event_);
  EXPECT_EQ(value, 2);
}

TEST_F(EmulatedStreamTest, StreamsThatNothingOrdersAreNot) {
  int value = 0, seen = -1;
  queue_increment(&value);
  cudaMemcpyAsync(&seen, &value, sizeof(int), cudaMemcpyDeviceToDevice, other_);
  cudaStreamSynchronize(other_);
  EXPECT_EQ(seen, 0);
  synchronize();  // before `value` goes
}

TEST_F(EmulatedStreamTest, ACaptureRunsNothingAndItsGraphAllOfIt) {
  int value = 0;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  cudaStreamBeginCapture(stream_.handle, cudaStreamCaptureModeThreadLocal);
  queue_increment(&value);
  queue_increment(&value);
  ASSERT_EQ(cudaStreamEndCapture(stream_.handle, &graph), cudaSuccess);
  synchronize();
  EXPECT_EQ(value, 0);
  cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  cudaGraphLaunch(executable, stream_.handle);
  cudaGraphLaunch(executable, stream_.handle);
  EXPECT_EQ(value, 0);
  cudaGraphExecDestroy(executable);
  synchronize();
  EXPECT_EQ(value, 4);
}

TEST_F(EmulatedStreamTest, WaitingAllocatingAndReadingHostMemoryBreakACapture) {
  int value = 0;
  void* memory = nullptr;
  const std::vector<std::function<cudaError_t()>> forbidden{
      [&] { return cudaStreamSynchronize(stream_.handle); },
      [&] { return cudaEventSynchronize(event_); },
      [&] { return cudaMalloc(&memory, 1); },
      [&] { return cudaMemcpyAsync(&value, &value, sizeof(int), cudaMemcpyHostToDevice, stream_.handle); },
      [&] { return cudaStreamBeginCapture(stream_.handle, cudaStreamCaptureModeThreadLocal); },
  };
  for (const auto& call : forbidden) {
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamBeginCapture(stream_.handle, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    queue_increment(&value);
    EXPECT_NE(call(), cudaSuccess);
    EXPECT_NE(cudaStreamEndCapture(stream_.handle, &graph), cudaSuccess);
    EXPECT_EQ(graph, nullptr);
    cudaGetLastError();
  }
  synchronize();
  EXPECT_EQ(value, 0);
}

// A stream forked from a capture by an event and joined again by another: its work is in the graph, ordered where
// events order it and nowhere else.
class EmulatedForkTest : public EmulatedStreamTest {
 protected:
  EmulatedForkTest() { cudaEventCreateWithFlags(&joined_, cudaEventDisableTiming); }
  ~EmulatedForkTest() override { cudaEventDestroy(joined_); }

  void begin() { EXPECT_EQ(cudaStreamBeginCapture(stream_.handle, cudaStreamCaptureModeThreadLocal), cudaSuccess); }
  void fork() {
    EXPECT_EQ(cudaEventRecord(event_, stream_.handle), cudaSuccess);
    EXPECT_EQ(cudaStreamWaitEvent(other_, event_, 0), cudaSuccess);
  }
  void join() {
    EXPECT_EQ(cudaEventRecord(joined_, other_), cudaSuccess);
    EXPECT_EQ(cudaStreamWaitEvent(stream_.handle, joined_, 0), cudaSuccess);
  }
  void copy(int* to, const int* from, cudaStream_t stream) {
    cudaMemcpyAsync(to, from, sizeof(int), cudaMemcpyDeviceToDevice, stream);
  }
  // Ends the capture and runs the graph so many times: what result_ is after each.
  std::vector<int> results_of_runs(int times) {
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream_.handle, &graph), cudaSuccess);
    if (!graph) {
      return {};
    }
    cudaGraphExec_t executable = nullptr;
    cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    std::vector<int> seen;
    for (int i = 0; i < times; ++i) {
      cudaGraphLaunch(executable, stream_.handle);
      synchronize();
      seen.push_back(result_);
    }
    cudaGraphExecDestroy(executable);
    return seen;
  }
  void expect_refused(cudaError_t why) {
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream_.handle, &graph), why);
    EXPECT_EQ(graph, nullptr);
    cudaGetLastError();
  }

  cudaEvent_t joined_ = nullptr;
  int value_ = 0, copied_ = 0, result_ = 0;
};

TEST_F(EmulatedForkTest, WorkBetweenForkAndJoinIsInOrder) {
  begin();
  queue_increment(&value_);
  fork();
  copy(&copied_, &value_, other_);
  join();
  queue_increment(&value_);
  copy(&result_, &copied_, stream_.handle);
  EXPECT_EQ(results_of_runs(4), (std::vector<int>{1, 3, 5, 7}));
}

TEST_F(EmulatedForkTest, WhatNoEventOrdersRunsEitherWay) {
  begin();
  fork();
  copy(&result_, &value_, other_);
  queue_increment(&value_);  // beside the copy
  join();
  EXPECT_EQ(results_of_runs(4), (std::vector<int>{0, 2, 2, 4}));
}

TEST_F(EmulatedForkTest, AStreamLeftUnjoinedBreaksTheCapture) {
  begin();
  fork();
  queue_increment(&value_);
  copy(&copied_, &value_, other_);
  expect_refused(cudaErrorStreamCaptureUnjoined);
}

TEST_F(EmulatedForkTest, AJoinBeforeTheLastOfItsWorkIsNone) {
  begin();
  fork();
  copy(&copied_, &value_, other_);
  join();
  copy(&result_, &copied_, other_);
  expect_refused(cudaErrorStreamCaptureUnjoined);
}

TEST_F(EmulatedForkTest, EventsOfOtherTimesBreakTheCapture) {
  EXPECT_EQ(cudaEventRecord(joined_, other_), cudaSuccess);
  begin();
  EXPECT_EQ(cudaStreamWaitEvent(stream_.handle, joined_, 0), cudaErrorStreamCaptureIsolation);
  expect_refused(cudaErrorStreamCaptureInvalidated);
  begin();
  EXPECT_EQ(cudaEventRecord(event_, stream_.handle), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(event_), cudaErrorCapturedEvent);
  expect_refused(cudaErrorStreamCaptureInvalidated);
  begin();
  EXPECT_EQ(cudaStreamWaitEvent(other_, event_, 0), cudaErrorCapturedEvent);  // of the capture before
  expect_refused(cudaErrorStreamCaptureInvalidated);
}

// ---- bf16 ----------------------------------------------------------------------------------------------------------

// The nearest multiple of bf16's step at |value|, by remainders; ties go to the even multiple.
double nearest_bf16(double value) {
  int exponent = 0;
  std::frexp(value, &exponent);
  const double step = std::ldexp(1.0, std::max(exponent - 8, -133));
  return value - std::remainder(value, step);
}

TEST(EmulatedBf16, RoundsToNearestEven) {
  std::mt19937 engine(1);
  for (int i = 0; i < 1000000; ++i) {
    auto word = static_cast<std::uint32_t>(engine());
    word = i % 3 == 0 ? (word & 0xFFFF0000u) | 0x8000u : word;  // many ties
    const auto value = std::bit_cast<float>(word);
    const float rounded = __bfloat162float(__float2bfloat16_rn(value));
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(rounded)) << std::hex << word;
    } else if (const double expected = nearest_bf16(value); std::abs(expected) < 0x1p128) {
      ASSERT_EQ(rounded, expected) << std::hex << word;
    } else {
      ASSERT_TRUE(std::isinf(rounded) && std::signbit(rounded) == std::signbit(value)) << std::hex << word;
    }
  }
}

TEST(EmulatedBf16, KeepsWhatItHolds) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto value = std::bit_cast<float>(bits << 16);
    if (!std::isnan(value)) {
      ASSERT_EQ(__nv_bfloat16(value).bits, bits);
    }
  }
}

}  // namespace
}  // namespace densetree::emulation
