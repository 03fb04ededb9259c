// Convolutions of the CUDA device, each pass by itself, and what their kernels share: the vendor libraries' handles on
// the device. A 1×1 convolution with stride 1 on interleaved pixels is a matrix product; the others are cuDNN's.
#pragma once

#include <cublasLt.h>
#include <cudnn.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/fused_plans.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/tuner.h"
#include "kernels/device.h"

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

inline std::size_t bytes_of(std::int64_t elements, DType type) {
  return static_cast<std::size_t>(elements) * size_of(type);
}

struct ConvolutionPass {
  ConvolutionShape shape;
  Pass pass;

  ConvolutionPass(const ConvolutionShape& s, Pass p) : shape(s), pass(p) {}
  ConvolutionPass(const op::Convolution& o) : ConvolutionPass(o.shape, Pass::kForward) {}
  ConvolutionPass(const op::ConvolutionDataGradient& o) : ConvolutionPass(o.shape, Pass::kBackwardData) {}
  ConvolutionPass(const op::ConvolutionWeightGradient& o) : ConvolutionPass(o.shape, Pass::kBackwardWeights) {}
};

// A pass that checks how its memory is aligned, and makes its device the current one. The workspace begins with the
// weights as the library sees them, where those are not the caller's; the library's own scratch follows.
class PassKernel : public Kernel {
 public:
  void run(const Operation& operation, void* workspace) final;

 protected:
  // packed_weights: bytes of weights in the workspace.
  PassKernel(ConvolutionContext& context, const ConvolutionPass& pass, std::size_t packed_weights)
      : context_(context), pass_(pass), packed_bytes_(rounded_up(packed_weights, 256)) {}

  // x, w, y: input, weights and output of the convolution or their gradients, as the pass has it.
  virtual void run_pass(void* x, float* w, void* y, void* workspace) = 0;

  ConvolutionContext& context() const { return context_; }
  const ConvolutionShape& shape() const { return pass_.shape; }
  Pass pass() const { return pass_.pass; }
  std::size_t packed_bytes() const { return packed_bytes_; }
  void* scratch(void* workspace) const { return static_cast<char*>(workspace) + packed_bytes_; }

 private:
  ConvolutionContext& context_;
  ConvolutionPass pass_;
  std::size_t packed_bytes_;
};

// 1×1, stride 1, no padding, and not of the network's input, whose pixels are padded.
bool is_product(const ConvolutionShape& shape);
// With x (N·H·W, C), y (N·H·W, O) and w (O, C): y = x·wᵀ, dx = dy·w, dw = dyᵀ·x. dw is fp32 in every precision.
GemmShape product_of(const ConvolutionShape& shape, Pass pass);

// Implementations: null where they do not take it, and the reason in *why_not.
std::unique_ptr<Kernel> make_product(ConvolutionContext& context, const ConvolutionPass& pass, std::string* why_not);
std::unique_ptr<Kernel> make_spatial(ConvolutionContext& context, const ConvolutionPass& pass, std::string* why_not);
std::unique_ptr<Kernel> make_fused(ConvolutionContext& context, const op::NormConvolution& o, std::string* why_not);
std::unique_ptr<Kernel> make_fused_gradient(ConvolutionContext& context, const op::NormConvolutionGradient& o,
                                            std::string* why_not);

using Refusals = std::vector<Refusal>;
// The kernel of the first implementation that takes it. Null where none does.
std::unique_ptr<Kernel> prepare(ConvolutionContext& context, const Operation& operation, Refusals* refusals);

}  // namespace densetree::cuda
