// Transfers that nobody waits for: uploads on a stream of their own, and numbers read after the queue has moved on.
// Both go through pinned memory, which the GPU reads and writes by itself.
#include <cuda_runtime_api.h>

#include <array>
#include <cstring>

#include "kernels/cuda/check.h"
#include "kernels/cuda/cuda_operations.h"

namespace densetree {
namespace {

using cuda::check_cuda;
using cuda::Stream;

// A place in a stream.
class Event {
 public:
  explicit Event(int device) : device_(device) {
    check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "creating an event", device);
  }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(const Stream& stream) {
    check_cuda(cudaEventRecord(event_, stream.handle), "recording an event", device_);
  }
  // The host, or what is queued on a stream from now on, waits for the place; where none was recorded, for nothing.
  void wait() { check_cuda(cudaEventSynchronize(event_), "waiting for queued work", device_); }
  void hold(const Stream& stream) {
    check_cuda(cudaStreamWaitEvent(stream.handle, event_, 0), "ordering two streams", device_);
  }

 private:
  int device_;
  cudaEvent_t event_ = nullptr;
};

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
  explicit CudaReadback(const Stream& stream)
      : stream_(stream),
        memory_(stream.device, kKept * sizeof(double)),
        there_{Event(stream.device), Event(stream.device)} {}
  ~CudaReadback() override {
    cudaSetDevice(stream_.device);
    cudaStreamSynchronize(stream_.handle);
  }
  CudaReadback(const CudaReadback&) = delete;
  CudaReadback& operator=(const CudaReadback&) = delete;

 private:
  double* slot_at(int slot) const { return static_cast<double*>(memory_.get()) + slot; }
  void copy(const double* from, int slot) override {
    check_cuda(cudaSetDevice(stream_.device), "readback", stream_.device);
    check_cuda(cudaMemcpyAsync(slot_at(slot), from, sizeof(double), cudaMemcpyDeviceToHost, stream_.handle), "readback",
               stream_.device);
    there_[slot].record(stream_);
  }
  double wait(int slot) override {
    there_[slot].wait();
    return *slot_at(slot);
  }

  Stream stream_;
  Pinned memory_;
  std::array<Event, kKept> there_;
};

}  // namespace

std::unique_ptr<StagedUpload> CudaDevice::make_staged_upload(std::size_t bytes, void* memory) {
  activate("make_staged_upload");
  return std::make_unique<CudaUpload>(stream_, uploads_, bytes, memory);
}

std::unique_ptr<Readback> CudaDevice::make_readback() {
  activate("make_readback");
  return std::make_unique<CudaReadback>(stream_);
}

}  // namespace densetree
