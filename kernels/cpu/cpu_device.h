// The CPU device: OpenMP loops over the shared functors, and oneDNN for convolutions.
// kernels/device.h documents every operation.
#pragma once

#include "kernels/device.h"

namespace densetree {

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int threads);  // 0: all cores
  int threads() const { return threads_; }

  DeviceInfo info() const override;
  Layout layout(Use use) const override;
  std::string why_not(Precision precision) const override;

  void* allocate(std::size_t bytes) override;
  void release(void* memory) noexcept override;
  void upload(void* to_device, const void* from_host, std::size_t bytes) override;
  void download(void* to_host, const void* from_device, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void fill(void* memory, std::uint8_t value, std::size_t bytes) override;
  void synchronize() override {}
  std::size_t staging_bytes(std::size_t) const override { return 0; }
  std::unique_ptr<StagedUpload> make_staged_upload(std::size_t bytes, void* memory) override;
  std::unique_ptr<Readback> make_readback(std::size_t bytes) override;
  std::unique_ptr<Stopwatch> make_stopwatch() override;
  std::unique_ptr<Replay> capture(std::function<void()> work) override;

  std::unique_ptr<Convolution> make_convolution(const ConvolutionShape& shape) override;
  std::unique_ptr<NormConvolution> make_norm_convolution(const ConvolutionShape& shape, ChannelSlice x, ChannelSlice y,
                                                         std::string* why_not) override;
  bool prefers_fused() const override { return true; }
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

 private:
  void check_precision(const ConvolutionShape& shape) const;  // throws Error

  int threads_;
  std::int64_t lanes_;  // channels in a block of this processor's layouts: 16 with AVX-512, else 8
};

// A oneDNN convolution for this processor (kernels/cpu/convolution.cc).
std::unique_ptr<Convolution> make_onednn_convolution(const ConvolutionShape& shape, Layout input, Layout output,
                                                     int threads);

// The same in bf16 for processors that multiply fp32 alone (kernels/cpu/widened_convolution.cc).
std::unique_ptr<Convolution> make_widened_convolution(CpuDevice& device, const ConvolutionShape& shape);

// Batch norm, ReLU and convolution in one (kernels/cpu/norm_convolution.cc), or null where the shape has no such form,
// and the reason in *why_not. `pairs`: bf16 is multiplied in pairs, which is fast where the processor has an
// instruction for it, and else widened.
std::unique_ptr<NormConvolution> make_cpu_norm_convolution(const ConvolutionShape& shape, Layout layout,
                                                           std::int64_t lanes, int threads, bool pairs,
                                                           std::string* why_not);

// For training: the same convolution from planar input to channels in blocks of `lanes`, its forward pass with less
// rounding error (kernels/cpu/first_convolution.cc).
std::unique_ptr<Convolution> make_first_convolution(const ConvolutionShape& shape, std::unique_ptr<Convolution> vendor,
                                                    std::int64_t lanes, int threads);

}  // namespace densetree
