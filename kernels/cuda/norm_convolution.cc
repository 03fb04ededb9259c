// Batch norm, ReLU and a convolution in one. Forward is one kernel that cuDNN compiles: x is read once, in its slice of
// a stack, and what is multiplied never lies in memory. Backward makes it again, in the workspace, for the gradient of
// the weights; ∂L/∂z then takes its place there.

#include <algorithm>

#include "kernels/core/error.h"
#include "kernels/core/pieces.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/cuda_operations.h"
#include "kernels/cuda/weights.h"

namespace densetree::cuda {
namespace {

constexpr std::size_t kBoundary = 256;  // bytes, of everything in the workspace

// The first element of a slice.
void* start_of(const View& view) {
  return static_cast<std::byte*>(view.data) + static_cast<std::size_t>(view.first) * size_of(view.dtype);
}

class CudaNormConvolution final : public NormConvolution {
 public:
  CudaNormConvolution(CudaDevice& device, std::shared_ptr<ConvolutionContext> context, const ConvolutionShape& shape,
                      ChannelSlice x, ChannelSlice y, std::shared_ptr<const NormConvolutionPlan> plan)
      : device_(device), context_(std::move(context)), shape_(shape), x_(x), y_(y), plan_(std::move(plan)) {
    if (shape.training) {
      backward_ = device.make_convolution(shape);
    }
  }

  Implementation implementation() const override {
    return {fmt::format("cuDNN {}, compiled: {}", cudnnGetVersion(), plan_->name()),
            backward_ ? backward_->implementation().backward : ""};
  }
  std::size_t workspace_bytes() const override {
    return std::max(forward_memory(nullptr).bytes, backward_ ? backward_memory(nullptr).bytes : 0);
  }

  void forward(const View& x, const Affine& affine, const float* w, const View& y, const Output& output,
               void* workspace) override {
    check_slice("input", x, shape_.input, x_);
    check_slice("output", y, shape_.output(), y_);
    check_kept(output.z);
    context_->activate();
    const ForwardMemory m = forward_memory(workspace);
    device_.fold(affine, shape_.input.c, m.scale, m.shift);
    interleave_weights(context_->stream(), shape_, w, type_of(shape_), shape_.input.c, m.weights);
    plan_->run(context_->cudnn(), start_of(x), m.scale, m.shift, m.weights, start_of(y), m.scratch);
    if (output.z.data != nullptr) {
      device_.affine_relu(x, affine, true, output.z);
    }
    if (output.statistics.mean != nullptr) {
      device_.channel_statistics(y, output.eps, output.statistics, m.reduction);
    }
  }

  void backward(const View& x, const Affine& affine, const float* w, const View& dy, const View& z, GradMode mode,
                const View& s, const Gradients& gradients, void* workspace) override {
    check(backward_ != nullptr, "{}: prepared for inference, backward is not there", shape_);
    check_shape("its input", x, shape_.input);
    check_shape("its output's gradient", dy, shape_.output());
    check_kept(z);
    context_->activate();
    const BackwardMemory m = backward_memory(workspace);
    const View inside = make_view(m.z, shape_.input, Layout::kInterleaved, type_of(shape_));
    const View gradient = make_view(m.dy, shape_.output(), Layout::kInterleaved, type_of(shape_));
    device_.copy_view(dy, gradient);  // the libraries take whole tensors
    if (z.data == nullptr) {
      device_.affine_relu(x, affine, true, inside);
    }
    backward_->backward_weights(z.data != nullptr ? z : inside, gradient, gradients.dw, m.scratch);
    backward_->backward_data(gradient, w, inside, m.scratch);
    device_.affine_relu_backward(inside, x, affine, true, mode, s, gradients.sums, gradients.dgamma, gradients.dbeta,
                                 m.reduction);
  }

 private:
  struct ForwardMemory {
    void *weights, *scratch, *reduction;
    float *scale, *shift;
    std::size_t bytes;
  };
  struct BackwardMemory {
    void *z, *dy, *scratch, *reduction;  // z: then its gradient
    std::size_t bytes;
  };

  ForwardMemory forward_memory(void* workspace) const {
    Pieces p(workspace, kBoundary);
    ForwardMemory m{};
    m.weights = p.take_bytes(bytes_of(shape_.weights(), type_of(shape_)));
    m.scale = p.take<float>(shape_.input.c);
    m.shift = p.take<float>(shape_.input.c);
    m.scratch = p.take_bytes(plan_->workspace_bytes());
    m.reduction = p.take_bytes(device_.reduction_bytes(shape_.out_channels));
    m.bytes = p.bytes();
    return m;
  }
  BackwardMemory backward_memory(void* workspace) const {
    Pieces p(workspace, kBoundary);
    BackwardMemory m{};
    m.z = p.take_bytes(bytes_of(shape_.input.elements(), type_of(shape_)));
    m.dy = p.take_bytes(bytes_of(shape_.output().elements(), type_of(shape_)));
    m.scratch = p.take_bytes(backward_->workspace_bytes());
    m.reduction = p.take_bytes(device_.reduction_bytes(shape_.input.c));
    m.bytes = p.bytes();
    return m;
  }

  void check_shape(const char* what, const View& view, const Shape& shape) const {
    check(view.shape() == shape && view.dtype == type_of(shape_), "{} after batch norm: {} is ({}, {}, {}, {}) {}",
          shape_, what, view.n, view.c, view.h, view.w, name_of(view.dtype));
  }
  void check_kept(const View& z) const {
    if (z.data != nullptr) {
      check_shape("what is kept of its input", z, shape_.input);
    }
  }
  void check_slice(const char* what, const View& view, const Shape& shape, ChannelSlice slice) const {
    check(view.shape() == shape && view.dtype == type_of(shape_) && view.layout == Layout::kInterleaved &&
              view.first == slice.first && view.pixel_stride == slice.of,
          "{} after batch norm: its {} is ({}, {}, {}, {}) {} {}, channels from {} on of {}; it was made for {} of {}",
          shape_, what, view.n, view.c, view.h, view.w, name_of(view.dtype), name_of(view.layout), view.first,
          view.pixel_stride, slice.first, slice.of);
  }

  CudaDevice& device_;
  std::shared_ptr<ConvolutionContext> context_;
  ConvolutionShape shape_;
  ChannelSlice x_, y_;
  std::shared_ptr<const NormConvolutionPlan> plan_;
  std::unique_ptr<Convolution> backward_;
};

}  // namespace

std::unique_ptr<NormConvolution> make_fused_norm_convolution(CudaDevice& device,
                                                             std::shared_ptr<ConvolutionContext> context,
                                                             const ConvolutionShape& shape, ChannelSlice x,
                                                             ChannelSlice y, std::string* why_not) {
  auto plan = context->fused_plans().find(context->cudnn(), shape, x, y, why_not);
  return plan ? std::make_unique<CudaNormConvolution>(device, std::move(context), shape, x, y, std::move(plan))
              : nullptr;
}

}  // namespace densetree::cuda
