// Convolutions on CUDA: three cuDNN plans made when the convolution is, and weights brought into their order.
#include <algorithm>
#include <optional>

#include "kernels/core/error.h"
#include "kernels/cuda/cuda_operations.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/weights.h"

namespace densetree {
namespace cuda {

// cuDNN's handle for one device's stream, shared by its convolutions, and the device's description to plan for.
class CudnnContext {
 public:
  explicit CudnnContext(const Stream& stream)
      : stream_(stream), handle_(create()), properties_(describe_device(get())) {
    check_cudnn(cudnnSetStream(get(), stream.handle), "giving cuDNN the stream");
  }

  cudnnHandle_t get() const { return handle_.get(); }
  const Stream& stream() const { return stream_; }
  const Descriptor& properties() const { return properties_; }

 private:
  struct Destroy {
    void operator()(cudnnHandle_t handle) const { cudnnDestroy(handle); }
  };
  static cudnnHandle_t create() {
    cudnnHandle_t handle = nullptr;
    check_cudnn(cudnnCreate(&handle), "starting cuDNN");
    return handle;
  }

  Stream stream_;
  std::unique_ptr<cudnnContext, Destroy> handle_;
  Descriptor properties_;
};

namespace {

std::size_t aligned(std::size_t bytes) {
  return (bytes + 255) / 256 * 256;
}

class CudnnConvolution final : public Convolution {
 public:
  CudnnConvolution(std::shared_ptr<CudnnContext> context, const ConvolutionShape& shape)
      : context_(std::move(context)), shape_(shape), forward_(context_->properties(), shape, Pass::kForward) {
    if (shape.training) {
      data_.emplace(context_->properties(), shape, Pass::kBackwardData);
      weights_.emplace(context_->properties(), shape, Pass::kBackwardWeights);
    }
  }

  std::size_t workspace_bytes() const override {
    std::size_t hungriest = forward_.workspace_bytes();
    if (shape_.training) {
      hungriest = std::max({hungriest, data_->workspace_bytes(), weights_->workspace_bytes()});
    }
    return packed_bytes() + hungriest;
  }

  void forward(const View& x, const float* w, const View& y, void* workspace) override {
    check_views(x, y);
    interleave_weights(context_->stream(), shape_, w, packed(workspace));
    forward_.run(context_->get(), x.data, packed(workspace), y.data, scratch(workspace));
  }

  void backward_data(const View& dy, const float* w, const View& dx, void* workspace) override {
    check_training();
    check_views(dx, dy);
    interleave_weights(context_->stream(), shape_, w, packed(workspace));
    data_->run(context_->get(), dx.data, packed(workspace), dy.data, scratch(workspace));
  }

  void backward_weights(const View& x, const View& dy, float* dw, void* workspace) override {
    check_training();
    check_views(x, dy);
    weights_->run(context_->get(), x.data, packed(workspace), dy.data, scratch(workspace));
    deinterleave_weights(context_->stream(), shape_, packed(workspace), dw);
  }

 private:
  // The workspace holds the interleaved weights, then cuDNN's own scratch.
  std::size_t packed_bytes() const { return aligned(static_cast<std::size_t>(shape_.weights()) * sizeof(float)); }
  static float* packed(void* workspace) { return static_cast<float*>(workspace); }
  void* scratch(void* workspace) const { return static_cast<char*>(workspace) + packed_bytes(); }

  void check_training() const {
    check(shape_.training, "{}: prepared for inference, backward is not there", shape_.describe());
  }

  void check_views(const View& x, const View& y) const {
    const auto fits = [](const View& view, const Shape& shape) {
      return view.shape() == shape && view.layout == Layout::kInterleaved && view.whole &&
             view.dtype == DType::kFloat32 && reinterpret_cast<std::uintptr_t>(view.data) % 16 == 0;
    };
    const auto text = [](const View& view) {
      return fmt::format("({}, {}, {}, {}) {} {}{} at {}", view.n, view.c, view.h, view.w, name_of(view.dtype),
                         name_of(view.layout), view.whole ? "" : ", a slice", view.data);
    };
    check(fits(x, shape_.input) && fits(y, shape_.output()),
          "{} on cuda:{}: takes whole interleaved fp32 tensors on 16-byte boundaries; got {} and {}", shape_.describe(),
          context_->stream().device, text(x), text(y));
  }

  std::shared_ptr<CudnnContext> context_;
  ConvolutionShape shape_;
  ConvolutionPlan forward_;
  std::optional<ConvolutionPlan> data_, weights_;
};

}  // namespace
}  // namespace cuda

std::unique_ptr<Convolution> CudaDevice::make_convolution(const ConvolutionShape& shape) {
  activate("make_convolution");
  check(shape.kernel >= 1 && shape.stride >= 1 && shape.padding >= 0,
        "{}: kernel and stride are at least 1, padding at least 0", shape.describe());
  const Shape out = shape.output();
  check(shape.input.elements() > 0 && shape.out_channels > 0 && out.h > 0 && out.w > 0, "{}: the output is empty",
        shape.describe());
  if (!cudnn_) {
    cudnn_ = std::make_shared<cuda::CudnnContext>(stream_);
  }
  return std::make_unique<cuda::CudnnConvolution>(cudnn_, shape);
}

}  // namespace densetree
