// The CUDA device: one stream, on which every operation is queued, and one for uploads beside it; kernels of our own
// over the shared functors (operations.h), cuDNN and cuBLASLt for convolutions (convolutions.h). All activations are
// interleaved (NHWC), fp32 or bf16; the network's input has room for 8 channels (network_input.h).
#pragma once

#include <memory>

#include "kernels/cuda/stream.h"
#include "kernels/device.h"

namespace densetree {
namespace cuda {
class ConvolutionContext;  // convolutions.h
}

class CudaDevice final : public Device {
 public:
  // Throws Error when this build carries no code for the GPU. index must be below CudaFunctions::device_count().
  // stream: the caller's, or null.
  explicit CudaDevice(int index, cudaStream_t stream = nullptr);
  ~CudaDevice() override;
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  DeviceInfo info() const override;
  Layout layout(Use use) const override;
  std::string why_not(Precision precision) const override;

  void* stream() const override { return stream_.handle; }
  std::string misplaced(const void* memory, Place place) const override;

  void* allocate(std::size_t bytes) override;
  void release(void* memory) noexcept override;
  void upload(void* to_device, const void* from_host, std::size_t bytes) override;
  void download(void* to_host, const void* from_device, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void fill(void* memory, std::uint8_t value, std::size_t bytes) override;
  void synchronize() override;

  std::size_t staging_bytes(std::size_t bytes) const override { return bytes; }
  std::unique_ptr<StagedUpload> make_staged_upload(std::size_t bytes, void* memory) override;
  std::unique_ptr<Readback> make_readback(std::size_t bytes) override;
  std::unique_ptr<Stopwatch> make_stopwatch() override;
  std::unique_ptr<Replay> capture(std::function<void()> work) override;
  void push_range(const char* name) override;
  void pop_range() override;

  bool prefers_fused() const override { return false; }  // 1.3 to 1.5 times the time on an H200, docs/gpu.md
  std::unique_ptr<TreeOperations> make_tree_operations() override;

 private:
  std::unique_ptr<Kernel> make_kernel(const Operation& operation, std::vector<Refusal>* refusals) override;
  void check_call(cudaError_t status, const char* operation) const;  // throws Error
  void activate(const char* operation) const;                        // makes this device the thread's current one

  bool owns_stream_;
  cuda::Stream stream_;
  cuda::Stream uploads_;  // beside it: host memory to staging memory
  std::unique_ptr<cuda::ConvolutionContext> convolutions_;
};

}  // namespace densetree
