// The two kinds of convolution of the CUDA device, and what they share: the vendor libraries' handles on the device,
// and checks of operands. A 1×1 convolution with stride 1 on interleaved pixels is a matrix product; the others are
// cuDNN's.
#pragma once

#include <cublasLt.h>
#include <cudnn.h>

#include <memory>
#include <string>

#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/fused_plans.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/tuner.h"
#include "kernels/device.h"

namespace densetree {
class CudaDevice;
}
namespace densetree::cuda {

// Handles on one device, made when they are first asked for, and the choice between algorithms.
class ConvolutionContext {
 public:
  explicit ConvolutionContext(const Stream& stream) : stream_(stream), tuner_(stream), fused_plans_(stream.device) {}

  const Stream& stream() const { return stream_; }
  Tuner& tuner() { return tuner_; }
  cudnnHandle_t cudnn();               // works on the stream
  cublasLtHandle_t cublas();           // is told the stream with every product
  std::size_t gemm_workspace() const;  // bytes
  void activate() const;               // makes the device the thread's current one; throws Error
  FusedPlans& fused_plans() { return fused_plans_; }

 private:
  struct Destroy {
    void operator()(cudnnHandle_t handle) const { cudnnDestroy(handle); }
    void operator()(cublasLtHandle_t handle) const { cublasLtDestroy(handle); }
  };
  Stream stream_;
  Tuner tuner_;
  std::unique_ptr<cudnnContext, Destroy> cudnn_;
  std::unique_ptr<cublasLtContext, Destroy> cublas_;
  FusedPlans fused_plans_;  // goes before the handles it uses
};

// What the libraries see of activations, their gradients, and weights.
inline DType type_of(const ConvolutionShape& shape) {
  return shape.precision == Precision::kBFloat16 ? DType::kBFloat16 : DType::kFloat32;
}
inline std::size_t bytes_of(std::int64_t elements, DType type) {
  return static_cast<std::size_t>(elements) * size_of(type);
}

// A convolution that checks what it is given, and makes its device the current one. The workspace begins with the
// weights as the library sees them, where those are not the caller's; the library's own scratch follows.
class CheckedConvolution : public Convolution {
 public:
  void forward(const View& x, const float* w, const View& y, void* workspace) final;
  void backward_data(const View& dy, const float* w, const View& dx, void* workspace) final;
  void backward_weights(const View& x, const View& dy, float* dw, void* workspace) final;

 protected:
  // packed_weights: bytes of weights in the workspace.
  CheckedConvolution(std::shared_ptr<ConvolutionContext> context, const ConvolutionShape& shape,
                     std::size_t packed_weights);

  virtual void run_forward(const void* x, const float* w, void* y, void* workspace) = 0;
  virtual void run_backward_data(const void* dy, const float* w, void* dx, void* workspace) = 0;
  virtual void run_backward_weights(const void* x, const void* dy, float* dw, void* workspace) = 0;

  ConvolutionContext& context() const { return *context_; }
  const ConvolutionShape& shape() const { return shape_; }
  std::size_t packed_bytes() const { return packed_bytes_; }
  void* scratch(void* workspace) const { return static_cast<char*>(workspace) + packed_bytes_; }

 private:
  void check_operands(const View& x, const float* w, const View& y, const void* workspace) const;
  void check_backward(const View& x, const float* w, const View& y, const void* workspace) const;

  std::shared_ptr<ConvolutionContext> context_;
  ConvolutionShape shape_;
  std::size_t packed_bytes_;
};

// 1×1, stride 1, no padding, and not of the network's input, whose pixels are padded.
bool is_product(const ConvolutionShape& shape);
// With x (N·H·W, C), y (N·H·W, O) and w (O, C): y = x·wᵀ, dx = dy·w, dw = dyᵀ·x. dw is fp32 in every precision.
GemmShape product_of(const ConvolutionShape& shape, Pass pass);

std::unique_ptr<Convolution> make_product_convolution(std::shared_ptr<ConvolutionContext> context,
                                                      const ConvolutionShape& shape);
std::unique_ptr<Convolution> make_spatial_convolution(std::shared_ptr<ConvolutionContext> context,
                                                      const ConvolutionShape& shape);
// Null where cuDNN has no fused kernel for the shape and precision, and the reason in *why_not.
std::unique_ptr<NormConvolution> make_fused_norm_convolution(CudaDevice& device,
                                                             std::shared_ptr<ConvolutionContext> context,
                                                             const ConvolutionShape& shape, ChannelSlice x,
                                                             ChannelSlice y, std::string* why_not);

}  // namespace densetree::cuda
