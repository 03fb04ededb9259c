// The CUDA device: one stream, on which every operation is queued, and one for uploads beside it; kernels of our own
// over the shared functors, cuDNN and cuBLASLt for convolutions. kernels/device.h documents every operation. Each file
// beside this one holds the operations of one subject. All activations are interleaved (NHWC), fp32 or bf16; the
// network's input has room for 8 channels (network_input.h).
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
  // Throws Error when this build carries no code for the GPU. index must be below cuda_device_count().
  // stream: the caller's, or null.
  explicit CudaDevice(int index, cudaStream_t stream = nullptr);
  ~CudaDevice() override;
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  DeviceInfo info() const override;
  Layout layout(Use use) const override;
  std::string why_not(Precision precision) const override;

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

  std::unique_ptr<Convolution> make_convolution(const ConvolutionShape& shape) override;
  std::unique_ptr<NormConvolution> make_norm_convolution(const ConvolutionShape& shape, ChannelSlice x, ChannelSlice y,
                                                         std::string* why_not) override;
  bool prefers_fused() const override { return false; }  // 1.3 to 1.5 times the time on an H200, docs/gpu.md
  std::size_t reduction_bytes(std::int64_t c) const override;

  void images_to_input(const std::uint8_t* images, std::int64_t source, const ImageTransform* transforms,
                       const InputNormalization& normalization, const View& y) override;
  void copy_view(const View& x, const View& y) override;
  void channel_statistics(const View& x, float eps, const Statistics& statistics, void* workspace) override;
  void copy_with_statistics(const View& x, const View& y, float eps, const Statistics& statistics,
                            void* workspace) override;
  void update_running(const Statistics& batch, std::int64_t channels, std::int64_t count, float momentum,
                      float* running_mean, float* running_variance) override;
  void reciprocal_std(const float* variance, std::int64_t channels, float eps, float* rstd) override;
  void affine_relu(const View& x, const Affine& affine, bool relu, const View& y) override;
  void affine_relu_backward(const View& dy, const View& x, const Affine& affine, bool relu, GradMode mode,
                            const View& s, const GradientSums& sums, float* dgamma, float* dbeta,
                            void* workspace) override;
  void normalize_backward(const View& s, const View& x, const Statistics& statistics, const GradientSums& sums,
                          GradMode mode, const View& dx) override;

  void max_pool(const View& x, int kernel, int stride, int padding, const View& y, std::uint8_t* choice) override;
  void max_pool_backward(const View& dy, const std::uint8_t* choice, int kernel, int stride, int padding,
                         const View& dx) override;
  void average_pool(const View& x, int kernel, const View& y) override;
  void average_pool_backward(const View& dy, int kernel, const View& dx) override;
  void global_average_pool(const View& x, float* y) override;
  void global_average_pool_backward(const float* dy, const View& dx) override;

  void linear(const float* x, const float* w, const float* b, std::int64_t n, std::int64_t k, std::int64_t l,
              float* y) override;
  void linear_backward(const float* x, const float* w, const float* dy, std::int64_t n, std::int64_t k, std::int64_t l,
                       float* dx, float* dw, float* db) override;
  void loss(LossKind kind, const float* z, const float* y, const float* positive_weights, std::int64_t n,
            std::int64_t l, double* loss, float* dz) override;
  void l2_norm(const float* g, std::int64_t n, double* norm, void* workspace) override;
  void adam(const AdamScalars* scalars, const double* norm, std::int64_t n, const float* g, float* m, float* v,
            float* w) override;
  std::unique_ptr<TreeOperations> make_tree_operations() override;

  // γ·x̂ + β = scale·x + shift: float[channels] each.
  void fold(const Affine& affine, std::int64_t channels, float* scale, float* shift);

 private:
  const std::shared_ptr<cuda::ConvolutionContext>& convolutions();
  void check_call(cudaError_t status, const char* operation) const;  // throws Error
  void activate(const char* operation) const;                        // makes this device the thread's current one

  bool owns_stream_;
  cuda::Stream stream_;
  cuda::Stream uploads_;                                    // beside it: host memory to staging memory
  std::shared_ptr<cuda::ConvolutionContext> convolutions_;  // made with the first convolution
};

}  // namespace densetree
