// Transfers that nobody waits for: uploads on a stream of their own, and results read after the queue has moved on.
// Both go through pinned memory, which the GPU reads and writes by itself. And times between points of the queue.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/event.h"

namespace densetree {
namespace {

using cuda::check_cuda;
using cuda::Event;
using cuda::Stream;

// Pinned host memory.
class Pinned {
 public:
  Pinned(int device, std::size_t bytes) {
    check_cuda(cudaMallocHost(&memory_, bytes), "allocating pinned host memory", device);
  }
  ~Pinned() { cudaFreeHost(memory_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

  void* get() const { return memory_; }

 private:
  void* memory_ = nullptr;
};

// host -> pinned memory, at once; pinned -> staging memory, on the uploads' stream, while earlier work computes;
// staging memory -> its place, on the stream of the work, when its turn comes. Pinned memory is there twice, so that
// the host fills one half while the other travels. Staging memory is there once: it is free again as soon as the last
// upload's turn has come, and before that the next one need not travel.
class CudaUpload final : public StagedUpload {
 public:
  CudaUpload(const Stream& work, const Stream& uploads, std::size_t bytes, void* staging)
      : StagedUpload(bytes),
        work_(work),
        uploads_(uploads),
        staging_(staging),
        halves_{Half(work.device, bytes), Half(work.device, bytes)},
        taken_(work.device) {
    taken_.record(work_);  // what was queued before may still use the staging memory
  }
  ~CudaUpload() override {
    cudaSetDevice(uploads_.device);
    cudaStreamSynchronize(uploads_.handle);
  }
  CudaUpload(const CudaUpload&) = delete;
  CudaUpload& operator=(const CudaUpload&) = delete;

 private:
  struct Half {
    Half(int device, std::size_t bytes) : memory(device, bytes), sent(device) {}
    Pinned memory;
    Event sent;
  };

  void copy(void* to, const void* from, std::size_t bytes) override {
    const char* const operation = "staged upload";
    check_cuda(cudaSetDevice(work_.device), operation, work_.device);
    Half& half = halves_[turn_];
    turn_ = 1 - turn_;
    half.sent.wait();
    std::memcpy(half.memory.get(), from, bytes);
    taken_.hold(uploads_);
    check_cuda(cudaMemcpyAsync(staging_, half.memory.get(), bytes, cudaMemcpyHostToDevice, uploads_.handle), operation,
               work_.device);
    half.sent.record(uploads_);
    half.sent.hold(work_);
    check_cuda(cudaMemcpyAsync(to, staging_, bytes, cudaMemcpyDeviceToDevice, work_.handle), operation, work_.device);
    taken_.record(work_);
  }

  Stream work_, uploads_;
  void* staging_;
  std::array<Half, 2> halves_;
  int turn_ = 0;
  Event taken_;  // the last upload has left the staging memory
};

class CudaReadback final : public Readback {
 public:
  CudaReadback(const Stream& stream, std::size_t bytes)
      : stream_(stream),
        bytes_(bytes),
        memory_(stream.device, kKept * bytes),
        there_{Event(stream.device), Event(stream.device)} {}
  ~CudaReadback() override {
    cudaSetDevice(stream_.device);
    cudaStreamSynchronize(stream_.handle);
  }
  CudaReadback(const CudaReadback&) = delete;
  CudaReadback& operator=(const CudaReadback&) = delete;

 private:
  std::byte* slot_at(int slot) const { return static_cast<std::byte*>(memory_.get()) + slot * bytes_; }
  void copy(const void* from, int slot) override {
    check_cuda(cudaSetDevice(stream_.device), "readback", stream_.device);
    check_cuda(cudaMemcpyAsync(slot_at(slot), from, bytes_, cudaMemcpyDeviceToHost, stream_.handle), "readback",
               stream_.device);
    there_[slot].record(stream_);
  }
  void wait(int slot, void* to) override {
    there_[slot].wait();
    std::memcpy(to, slot_at(slot), bytes_);
  }

  Stream stream_;
  std::size_t bytes_;
  Pinned memory_;
  std::array<Event, kKept> there_;
};

class CudaStopwatch final : public Stopwatch {
 public:
  explicit CudaStopwatch(const Stream& stream) : stream_(stream) {}

  std::size_t mark() override {
    check_cuda(cudaSetDevice(stream_.device), "stopwatch", stream_.device);
    if (marks_ == events_.size()) {
      events_.push_back(std::make_unique<Event>(stream_.device, cuda::Timing::kOn));
    }
    events_[marks_]->record(stream_);
    return marks_++;
  }
  double seconds_between(std::size_t from, std::size_t to) override {
    check(std::max(from, to) < marks_, "marks {} and {} of a stopwatch that has {}", from, to, marks_);
    events_[from]->wait();
    return events_[to]->seconds_since(*events_[from]);
  }
  void clear() override { marks_ = 0; }

 private:
  Stream stream_;
  std::vector<std::unique_ptr<Event>> events_;  // kept for the next marks
  std::size_t marks_ = 0;
};

}  // namespace

std::unique_ptr<StagedUpload> CudaDevice::make_staged_upload(std::size_t bytes, void* memory) {
  activate("make_staged_upload");
  return std::make_unique<CudaUpload>(stream_, uploads_, bytes, memory);
}

std::unique_ptr<Readback> CudaDevice::make_readback(std::size_t bytes) {
  activate("make_readback");
  return std::make_unique<CudaReadback>(stream_, bytes);
}

std::unique_ptr<Stopwatch> CudaDevice::make_stopwatch() {
  activate("make_stopwatch");
  return std::make_unique<CudaStopwatch>(stream_);
}

}  // namespace densetree
