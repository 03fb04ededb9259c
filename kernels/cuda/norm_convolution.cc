// Batch norm, ReLU and a convolution in one. Forward is one kernel that cuDNN compiles: x is read once, in its slice of
// a stack, and what is multiplied never lies in memory. Backward makes it again, in the workspace, for the gradient of
// the weights; ∂L/∂z then takes its place there.
#include <algorithm>

#include "kernels/core/error.h"
#include "kernels/core/pieces.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/weights.h"

namespace densetree::cuda {
namespace {

constexpr std::size_t kBoundary = 256;  // bytes, of everything in the workspace

// The first element of a slice.
void* start_of(const View& view) {
  return static_cast<std::byte*>(view.data) + static_cast<std::size_t>(view.first) * size_of(view.dtype);
}

class NormKernel : public Kernel {
 protected:
  NormKernel(ConvolutionContext& context, const ConvolutionShape& shape) : context_(context), shape_(shape) {}

  ConvolutionContext& context() const { return context_; }
  const Stream& stream() const { return context_.stream(); }
  const ConvolutionShape& shape() const { return shape_; }
  DType type() const { return element_type(shape_.precision); }

 private:
  ConvolutionContext& context_;
  ConvolutionShape shape_;
};

class ForwardKernel final : public NormKernel {
 public:
  ForwardKernel(ConvolutionContext& shared, const op::NormConvolution& o,
                std::shared_ptr<const NormConvolutionPlan> plan)
      : NormKernel(shared, o.shape), plan_(std::move(plan)) {}

  std::string implementation() const override {
    return fmt::format("cuDNN {}, compiled: {}", cudnnGetVersion(), plan_->name());
  }
  std::size_t workspace_bytes() const override { return memory(nullptr).bytes; }

  void run(const Operation& operation, void* workspace) override {
    const auto& o = std::get<op::NormConvolution>(operation);
    context().activate();
    const Memory m = memory(workspace);
    fold(stream(), o.affine, shape().input.c, m.scale, m.shift);
    interleave_weights(stream(), shape(), o.w.data, type(), shape().input.c, m.weights);
    plan_->run(context().cudnn(), start_of(o.x), m.scale, m.shift, m.weights, start_of(o.y), m.scratch);
    if (o.z.present()) {
      compute(stream(), op::AffineRelu{o.x, o.affine, o.z}, nullptr);
    }
    if (o.statistics.present()) {
      compute(stream(), op::ChannelStatistics{o.y, o.eps, o.statistics, {}}, m.reduction);
    }
  }

 private:
  struct Memory {
    void *weights, *scratch, *reduction;
    float *scale, *shift;
    std::size_t bytes;
  };
  Memory memory(void* workspace) const {
    Pieces p(workspace, kBoundary);
    Memory m{};
    m.weights = p.take_bytes(bytes_of(shape().weights(), type()));
    m.scale = p.take<float>(shape().input.c);
    m.shift = p.take<float>(shape().input.c);
    m.scratch = p.take_bytes(plan_->workspace_bytes());
    m.reduction = p.take_bytes(reduction_bytes(shape().out_channels));
    m.bytes = p.bytes();
    return m;
  }

  std::shared_ptr<const NormConvolutionPlan> plan_;
};

class GradientKernel final : public NormKernel {
 public:
  GradientKernel(ConvolutionContext& shared, const ConvolutionShape& shape, std::unique_ptr<Kernel> data,
                 std::unique_ptr<Kernel> weights)
      : NormKernel(shared, shape), data_(std::move(data)), weights_(std::move(weights)) {}

  std::string implementation() const override {
    return fmt::format("{} and {}", data_->implementation(), weights_->implementation());
  }
  std::size_t workspace_bytes() const override { return memory(nullptr).bytes; }

  void run(const Operation& operation, void* workspace) override {
    const auto& o = std::get<op::NormConvolutionGradient>(operation);
    context().activate();
    const Memory m = memory(workspace);
    const Tensor inside = make_view(m.z, shape().input, Layout::kInterleaved, type());
    const Tensor gradient = make_view(m.dy, shape().output(), Layout::kInterleaved, type());
    compute(stream(), op::Copy{o.dy, gradient}, nullptr);  // the libraries take whole tensors
    if (!o.z.present()) {
      compute(stream(), op::AffineRelu{o.x, o.affine, inside}, nullptr);
    }
    const Tensor& z = o.z.present() ? o.z : inside;
    weights_->run(op::ConvolutionWeightGradient{shape(), z, gradient, o.dw}, m.scratch);
    data_->run(op::ConvolutionDataGradient{shape(), gradient, o.w, inside}, m.scratch);
    compute(stream(), op::AffineReluGradient{inside, o.x, o.affine, o.mode, o.s, o.sums, o.dgamma, o.dbeta},
            m.reduction);
  }

 private:
  struct Memory {
    void *z, *dy, *scratch, *reduction;  // z: then its gradient
    std::size_t bytes;
  };
  Memory memory(void* workspace) const {
    Pieces p(workspace, kBoundary);
    Memory m{};
    m.z = p.take_bytes(bytes_of(shape().input.elements(), type()));
    m.dy = p.take_bytes(bytes_of(shape().output().elements(), type()));
    m.scratch = p.take_bytes(std::max(data_->workspace_bytes(), weights_->workspace_bytes()));
    m.reduction = p.take_bytes(reduction_bytes(shape().input.c));
    m.bytes = p.bytes();
    return m;
  }

  std::unique_ptr<Kernel> data_, weights_;
};

}  // namespace

std::unique_ptr<Kernel> make_fused(ConvolutionContext& context, const op::NormConvolution& o, std::string* why_not) {
  auto plan = context.fused_plans().find(context.cudnn(), o.shape, slice_of(o.x), slice_of(o.y), why_not);
  return plan ? std::make_unique<ForwardKernel>(context, o, std::move(plan)) : nullptr;
}

// Takes every shape that its parts take.
std::unique_ptr<Kernel> make_fused_gradient(ConvolutionContext& context, const op::NormConvolutionGradient& o,
                                            std::string* why_not) {
  Refusals refusals;
  auto data = prepare(context, op::ConvolutionDataGradient{o.shape, o.dy, o.w, o.x}, &refusals);
  auto weights = prepare(context, op::ConvolutionWeightGradient{o.shape, o.x, o.dy, o.dw}, &refusals);
  if (!data || !weights) {
    *why_not = refusals.back().reason;
    return nullptr;
  }
  return std::make_unique<GradientKernel>(context, o.shape, std::move(data), std::move(weights));
}

}  // namespace densetree::cuda
