// Convolutions through cuDNN: a plan for the pass, made when it is prepared, and weights brought into their order.
#include <algorithm>
#include <array>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/network_input.h"
#include "kernels/cuda/weights.h"

namespace densetree::cuda {
namespace {

ConvolutionPlan plan_for(ConvolutionContext& context, const ConvolutionPass& p) {
  const ConvolutionShape library = library_shape(p.shape);
  Tuner& tuner = context.tuner();
  cudnnHandle_t handle = context.cudnn();
  std::vector<ConvolutionPlan> plans = plans_for(Target(handle), library, p.pass, tuner.limit());
  std::vector<std::string> names;
  std::size_t hungriest = 0;
  for (const ConvolutionPlan& plan : plans) {
    names.push_back(plan.name());
    hungriest = std::max(hungriest, plan.workspace_bytes());
  }
  const DType type = element_type(p.shape.precision);
  const Shape& input = p.shape.input;
  const std::array sizes{bytes_of(input.n * input.pixels() * pitch_of(p.shape), type),
                         bytes_of(library.weights(), type), bytes_of(p.shape.output().elements(), type), hungriest};
  const auto run = [&](std::size_t index, std::span<void* const> buffers) {
    plans[index].run(handle, buffers[0], buffers[1], buffers[2], buffers[3]);
  };
  return std::move(
      plans[tuner.choose(fmt::format("cuDNN {}", cudnnGetVersion()), p.shape, name_of(p.pass), names, sizes, run)]);
}

class SpatialKernel final : public PassKernel {
 public:
  SpatialKernel(ConvolutionContext& shared, const ConvolutionPass& pass)
      : PassKernel(shared, pass, bytes_of(library_shape(pass.shape).weights(), element_type(pass.shape.precision))),
        channels_(library_shape(pass.shape).input.c),
        plan_(plan_for(shared, pass)) {}

  std::string implementation() const override { return fmt::format("cuDNN {}: {}", cudnnGetVersion(), plan_.name()); }
  std::size_t workspace_bytes() const override { return packed_bytes() + plan_.workspace_bytes(); }

 private:
  void run_pass(void* x, float* w, void* y, void* workspace) override {
    const Stream& stream = context().stream();
    if (pass() != Pass::kBackwardWeights) {
      interleave_weights(stream, shape(), w, element_type(shape().precision), channels_, workspace);
    }
    plan_.run(context().cudnn(), x, workspace, y, scratch(workspace));
    if (pass() == Pass::kBackwardWeights) {
      deinterleave_weights(stream, shape(), element_type(shape().precision), channels_, workspace, w);
    }
  }

  std::int64_t channels_;  // of the input, as cuDNN sees it
  ConvolutionPlan plan_;
};

}  // namespace

std::unique_ptr<Kernel> make_spatial(ConvolutionContext& context, const ConvolutionPass& pass, std::string* why_not) {
  const ConvolutionShape& shape = pass.shape;
  check(shape.input.c <= pitch_of(shape), "{}: the network's input has up to {} channels", shape, kInputPitch);
  if (pass.pass == Pass::kBackwardData && shape.input_use == Use::kInput) {
    // Its plans would take hundreds of MiB.
    *why_not = "it would be the gradient of the network's input, for which nobody asks";
    return nullptr;
  }
  return std::make_unique<SpatialKernel>(context, pass);
}

}  // namespace densetree::cuda
