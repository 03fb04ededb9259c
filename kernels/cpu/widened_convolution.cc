// A bf16 convolution for processors that multiply fp32 alone: operands are widened in the workspace, weights rounded as
// bf16 would hold them, and the result is rounded. The vendor library's own way without the instructions takes four
// times as long.
#include <algorithm>

#include "kernels/core/bfloat16.h"
#include "kernels/core/pieces.h"
#include "kernels/cpu/convolutions.h"

namespace densetree::cpu {
namespace {

// Op is the pass.
template <class Op>
class WidenedConvolution final : public Kernel {
 public:
  WidenedConvolution(const Team& team, const Op& o) : team_(team), shape_(o.shape) {
    Op wide = o;
    wide.shape.precision = Precision::kFloat32;
    wide_ = make_onednn_convolution(team, wide);
  }

  std::string implementation() const override { return "in fp32, " + wide_->implementation(); }
  std::size_t workspace_bytes() const override { return memory(nullptr).bytes; }

  void run(const Operation& operation, void* workspace) override {
    const Op& o = std::get<Op>(operation);
    run(o, memory(workspace));
  }

 private:
  struct Memory {
    Tensor x, y;  // fp32
    Array<float> w;
    void* rest;
    std::size_t bytes;
  };

  void run(const op::Convolution& o, const Memory& m) {
    copy(o.x, m.x);
    round(o.w, m.w);
    wide_->run(op::Convolution{o.shape, m.x, m.w, m.y}, m.rest);
    copy(m.y, o.y);
  }
  void run(const op::ConvolutionWeightGradient& o, const Memory& m) {
    copy(o.x, m.x);
    copy(o.dy, m.y);
    wide_->run(op::ConvolutionWeightGradient{o.shape, m.x, m.y, o.dw}, m.rest);
  }
  void run(const op::ConvolutionDataGradient& o, const Memory& m) {
    copy(o.dy, m.y);
    round(o.w, m.w);
    wide_->run(op::ConvolutionDataGradient{o.shape, m.y, m.w, m.x}, m.rest);
    copy(m.x, o.dx);
  }

  Memory memory(void* workspace) const {
    const Layout of_x = team_.layout(shape_.input_use), of_y = team_.layout(shape_.output_use);
    const std::int64_t weights = std::is_same_v<Op, op::ConvolutionWeightGradient> ? 0 : shape_.weights();
    Pieces p(workspace);
    Memory m{};
    m.x = make_view(p.take<float>(storage_elements(shape_.input, of_x)), shape_.input, of_x);
    m.y = make_view(p.take<float>(storage_elements(shape_.output(), of_y)), shape_.output(), of_y);
    m.w = {p.take<float>(weights), weights};
    m.rest = p.take_bytes(wide_->workspace_bytes());
    m.bytes = p.bytes();
    return m;
  }
  void copy(const Tensor& x, const Tensor& y) const { compute(team_, op::Copy{x, y}, nullptr); }
  static void round(const Array<float>& w, const Array<float>& to) {
    std::transform(w.data, w.data + to.count, to.data,
                   [](float value) { return to_float(rounded_to<BFloat16>(value)); });
  }

  Team team_;
  ConvolutionShape shape_;
  std::unique_ptr<Kernel> wide_;
};

}  // namespace

template <class Op>
std::unique_ptr<Kernel> make_widened_convolution(const Team& team, const Op& o) {
  return std::make_unique<WidenedConvolution<Op>>(team, o);
}
template std::unique_ptr<Kernel> make_widened_convolution(const Team&, const op::Convolution&);
template std::unique_ptr<Kernel> make_widened_convolution(const Team&, const op::ConvolutionWeightGradient&);
template std::unique_ptr<Kernel> make_widened_convolution(const Team&, const op::ConvolutionDataGradient&);

}  // namespace densetree::cpu
