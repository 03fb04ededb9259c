// Convolutions through cuDNN: a plan for each pass, made when the convolution is, and weights brought into their order.
#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/network_input.h"
#include "kernels/cuda/weights.h"

namespace densetree::cuda {
namespace {

class SpatialConvolution final : public CheckedConvolution {
 public:
  SpatialConvolution(std::shared_ptr<ConvolutionContext> shared, const ConvolutionShape& shape)
      : CheckedConvolution(std::move(shared), shape, bytes_of(library_shape(shape).weights(), type_of(shape))),
        library_(library_shape(shape)),
        forward_(make(Pass::kForward)) {
    if (shape.training) {
      weights_.emplace(make(Pass::kBackwardWeights));
    }
    // Nobody asks for the gradient of an image, and its plans take hundreds of MiB.
    if (shape.training && shape.input_use != Use::kInput) {
      data_.emplace(make(Pass::kBackwardData));
    }
  }

  Implementation implementation() const override {
    const auto name = [](const std::optional<ConvolutionPlan>& plan) { return plan ? plan->name() : "none"; };
    const std::string library = fmt::format("cuDNN {}: ", cudnnGetVersion());
    return {library + forward_.name(),
            shape().training ? fmt::format("{}{} and {}", library, name(data_), name(weights_)) : ""};
  }
  std::size_t workspace_bytes() const override {
    const auto bytes = [](const std::optional<ConvolutionPlan>& plan) { return plan ? plan->workspace_bytes() : 0; };
    return packed_bytes() + std::max({forward_.workspace_bytes(), bytes(data_), bytes(weights_)});
  }

 private:
  void run_forward(const void* x, const float* w, void* y, void* workspace) override {
    interleave(w, workspace);
    forward_.run(context().cudnn(), x, workspace, y, scratch(workspace));
  }
  void run_backward_data(const void* dy, const float* w, void* dx, void* workspace) override {
    check(data_.has_value(), "{}: the gradient of the network's input is not prepared", shape());
    interleave(w, workspace);
    data_->run(context().cudnn(), dx, workspace, dy, scratch(workspace));
  }
  void run_backward_weights(const void* x, const void* dy, float* dw, void* workspace) override {
    weights_->run(context().cudnn(), x, workspace, dy, scratch(workspace));
    deinterleave_weights(context().stream(), shape(), type_of(shape()), library_.input.c, workspace, dw);
  }
  void interleave(const float* w, void* workspace) const {
    interleave_weights(context().stream(), shape(), w, type_of(shape()), library_.input.c, workspace);
  }

  ConvolutionPlan make(Pass pass) const;

  ConvolutionShape library_;  // as cuDNN sees it
  ConvolutionPlan forward_;
  std::optional<ConvolutionPlan> data_, weights_;
};

ConvolutionPlan SpatialConvolution::make(Pass pass) const {
  Tuner& tuner = context().tuner();
  cudnnHandle_t handle = context().cudnn();
  std::vector<ConvolutionPlan> plans = plans_for(Target(handle), library_, pass, tuner.limit());
  std::vector<std::string> names;
  std::size_t hungriest = 0;
  for (const ConvolutionPlan& plan : plans) {
    names.push_back(plan.name());
    hungriest = std::max(hungriest, plan.workspace_bytes());
  }
  const DType type = type_of(shape());
  const Shape& input = shape().input;
  const std::array sizes{bytes_of(input.n * input.pixels() * pitch_of(shape()), type),
                         bytes_of(library_.weights(), type), bytes_of(shape().output().elements(), type), hungriest};
  const auto run = [&](std::size_t index, std::span<void* const> buffers) {
    plans[index].run(handle, buffers[0], buffers[1], buffers[2], buffers[3]);
  };
  return std::move(
      plans[tuner.choose(fmt::format("cuDNN {}", cudnnGetVersion()), shape(), name_of(pass), names, sizes, run)]);
}

}  // namespace

std::unique_ptr<Convolution> make_spatial_convolution(std::shared_ptr<ConvolutionContext> context,
                                                      const ConvolutionShape& shape) {
  check(shape.input.c <= pitch_of(shape), "{}: the network's input has up to {} channels", shape, kInputPitch);
  return std::make_unique<SpatialConvolution>(std::move(context), shape);
}

}  // namespace densetree::cuda
