// A bf16 convolution for processors that multiply fp32 alone: operands are widened in the workspace, weights rounded as
// bf16 would hold them, and the result is rounded. The vendor library's own way without the instructions takes four
// times as long.
#include <algorithm>

#include "kernels/core/bfloat16.h"
#include "kernels/core/error.h"
#include "kernels/core/pieces.h"
#include "kernels/cpu/cpu_device.h"

namespace densetree {
namespace {

class WidenedConvolution final : public Convolution {
 public:
  WidenedConvolution(CpuDevice& device, const ConvolutionShape& shape)
      : device_(device),
        shape_(shape),
        wide_(make_onednn_convolution(wide_shape(shape), device.layout(shape.input_use),
                                      device.layout(shape.output_use), device.threads())) {}

  Implementation implementation() const override {
    const Implementation wide = wide_->implementation();
    return {"in fp32, " + wide.forward, wide.backward};
  }
  std::size_t workspace_bytes() const override { return memory(nullptr).bytes; }

  void forward(const View& x, const float* w, const View& y, void* workspace) override {
    const Memory m = memory(workspace);
    check_views(x, y);
    device_.copy_view(x, m.x);
    wide_->forward(m.x, rounded(w, m.w), m.y, m.rest);
    device_.copy_view(m.y, y);
  }
  void backward_data(const View& dy, const float* w, const View& dx, void* workspace) override {
    const Memory m = memory(workspace);
    check_views(dx, dy);
    device_.copy_view(dy, m.y);
    wide_->backward_data(m.y, rounded(w, m.w), m.x, m.rest);
    device_.copy_view(m.x, dx);
  }
  void backward_weights(const View& x, const View& dy, float* dw, void* workspace) override {
    const Memory m = memory(workspace);
    check_views(x, dy);
    device_.copy_view(x, m.x);
    device_.copy_view(dy, m.y);
    wide_->backward_weights(m.x, m.y, dw, m.rest);
  }

 private:
  struct Memory {
    View x, y;  // fp32
    float* w;
    void* rest;
    std::size_t bytes;
  };

  static ConvolutionShape wide_shape(ConvolutionShape shape) {
    shape.precision = Precision::kFloat32;
    return shape;
  }
  Memory memory(void* workspace) const {
    const Layout of_x = device_.layout(shape_.input_use), of_y = device_.layout(shape_.output_use);
    Pieces p(workspace);
    Memory m{};
    m.x = make_view(p.take<float>(storage_elements(shape_.input, of_x)), shape_.input, of_x);
    m.y = make_view(p.take<float>(storage_elements(shape_.output(), of_y)), shape_.output(), of_y);
    m.w = p.take<float>(shape_.weights());
    m.rest = p.take_bytes(wide_->workspace_bytes());
    m.bytes = p.bytes();
    return m;
  }
  const float* rounded(const float* w, float* to) const {
    std::transform(w, w + shape_.weights(), to, [](float value) { return to_float(rounded_to<BFloat16>(value)); });
    return to;
  }
  void check_views(const View& x, const View& y) const {
    for (const auto& [view, shape] : {std::pair(&x, shape_.input), std::pair(&y, shape_.output())}) {
      check(view->shape() == shape && view->dtype == DType::kBFloat16,
            "{} in bf16: an operand is ({}, {}, {}, {}) {} instead of ({}, {}, {}, {}) bf16", shape_, view->n, view->c,
            view->h, view->w, name_of(view->dtype), shape.n, shape.c, shape.h, shape.w);
    }
  }

  CpuDevice& device_;
  ConvolutionShape shape_;
  std::unique_ptr<Convolution> wide_;
};

}  // namespace

std::unique_ptr<Convolution> make_widened_convolution(CpuDevice& device, const ConvolutionShape& shape) {
  return std::make_unique<WidenedConvolution>(device, shape);
}

}  // namespace densetree
