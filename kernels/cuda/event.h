// A CUDA event that is destroyed with its object.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/check.h"
#include "kernels/cuda/stream.h"

namespace densetree::cuda {

enum class Timing : bool { kOff, kOn };

class Event {
 public:
  explicit Event(int device, Timing timing = Timing::kOff) : device_(device) {
    check_cuda(cudaEventCreateWithFlags(&event_, timing == Timing::kOn ? cudaEventDefault : cudaEventDisableTiming),
               "creating an event", device);
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
  // Both were recorded, with timing on. Waits for this one, the later.
  double seconds_since(const Event& begin) {
    float milliseconds = 0;
    wait();
    check_cuda(cudaEventElapsedTime(&milliseconds, begin.event_, event_), "reading the time between events", device_);
    return milliseconds / 1e3;
  }

 private:
  int device_;
  cudaEvent_t event_ = nullptr;
};

}  // namespace densetree::cuda
