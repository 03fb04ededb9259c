// Convolutions through oneDNN. Written against its 2.x and 3.x C++ interface, which differ only in how a primitive
// descriptor is made; nothing outside this file sees oneDNN.
//
// Activations are handed over in place. Slabs ([C/16][N·HW][16]) are to oneDNN an nChw16c tensor of one image that is
// N·H high, which is all a 1×1 convolution needs to know. Weights are kept in torch's order by everybody else, and
// reordered on the way in and out: 28 MB a pass for DenseNet-121, about 1 % of a training step.
#include <omp.h>

#include <array>
#include <dnnl.hpp>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/pieces.h"
#include "kernels/cpu/convolutions.h"

namespace densetree::cpu {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

memory::desc activation_desc(const Shape& shape, Layout layout, memory::data_type type) {
  const memory::dims dims{shape.n, shape.c, shape.h, shape.w}, folded{1, shape.c, shape.n * shape.h, shape.w};
  switch (layout) {
    case Layout::kPlanar:
      return {dims, type, Tag::nchw};
    case Layout::kBlocked8:
      return {dims, type, Tag::nChw8c};
    case Layout::kBlocked16:
      return {dims, type, Tag::nChw16c};
    case Layout::kSlabs8:
      return {folded, type, Tag::nChw8c};
    case Layout::kSlabs16:
      return {folded, type, Tag::nChw16c};
    case Layout::kInterleaved:
      return {dims, type, Tag::nhwc};
  }
  fail("unknown layout {}", static_cast<int>(layout));
}

bool is_slabs(Layout layout) {
  return layout == Layout::kSlabs8 || layout == Layout::kSlabs16;
}

// oneDNN takes its number of threads from OpenMP's setting for the calling thread. That is the host program's, so it is
// changed only while oneDNN is called.
class OpenMpThreads {
 public:
  explicit OpenMpThreads(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~OpenMpThreads() { omp_set_num_threads(before_); }
  OpenMpThreads(const OpenMpThreads&) = delete;
  OpenMpThreads& operator=(const OpenMpThreads&) = delete;

 private:
  int before_;
};

// A primitive and what it is called with. In C's interface, because the one of C++ allocates in every call.
struct Call {
  dnnl::primitive primitive;
  std::vector<dnnl_exec_arg_t> arguments;

  void execute(const dnnl::stream& stream) const {
    const auto count = static_cast<int>(arguments.size());
    dnnl::error::wrap_c_api(dnnl_primitive_execute(primitive.get(), stream.get(), count, arguments.data()),
                            "a primitive cannot be executed");
    dnnl::error::wrap_c_api(dnnl_stream_wait(stream.get()), "a primitive does not end");
  }
};

// A convolution as oneDNN describes it. Of the weights it chooses the order itself.
struct Description {
  static constexpr auto kAlgorithm = dnnl::algorithm::convolution_direct;
  memory::desc x, y, w, dw, plain;  // plain: weights in torch's order
  memory::dims stride, padding;
  dnnl::primitive_attr attributes;

  Description(const Team& team, const ConvolutionShape& s) : stride{s.stride, s.stride}, padding{s.padding, s.padding} {
    const auto type = s.precision == Precision::kBFloat16 ? memory::data_type::bf16 : memory::data_type::f32;
    const memory::dims kernel{s.out_channels, s.input.c, s.kernel, s.kernel};
    x = activation_desc(s.input, team.layout(s.input_use), type);
    y = activation_desc(s.output(), team.layout(s.output_use), type);
    w = {kernel, type, Tag::any};
    dw = {kernel, memory::data_type::f32, Tag::any};
    plain = {kernel, memory::data_type::f32, Tag::oihw};
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  }

  dnnl::convolution_forward::primitive_desc forward(bool training) const {
    const auto kind = training ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
#if DNNL_VERSION_MAJOR >= 3
    return {cpu_engine(), kind, kAlgorithm, x, w, y, stride, padding, padding, attributes};
#else
    return {{kind, kAlgorithm, x, w, y, stride, padding, padding}, attributes, cpu_engine()};
#endif
  }
  // Of a gradient, from the weights or to them.
  template <class Primitive>
  typename Primitive::primitive_desc backward(const memory::desc& weights) const {
#if DNNL_VERSION_MAJOR >= 3
    return {cpu_engine(), kAlgorithm, x, weights, y, stride, padding, padding, forward(true), attributes};
#else
    return {{kAlgorithm, x, weights, y, stride, padding, padding}, attributes, cpu_engine(), forward(true)};
#endif
  }
};

// Op is the pass.
template <class Op>
class OneDnnConvolution final : public Kernel {
 public:
  OneDnnConvolution(const Team& team, const ConvolutionShape& shape)
      : team_(team), shape_(shape), stream_(cpu_engine()) {
    const bool slabs = is_slabs(team.layout(shape.input_use));
    check(slabs == is_slabs(team.layout(shape.output_use)) &&
              (!slabs || (shape.kernel == 1 && shape.stride == 1 && shape.padding == 0)),
          "{}: only 1x1 convolutions with stride 1 work on stacks, from stack to stack", shape);
    const OpenMpThreads setting(team.threads);
    try {
      build(Description(team, shape));
    } catch (const dnnl::error& e) {
      fail("{}: oneDNN cannot prepare it: {}", shape, e.what());
    }
  }

  std::string implementation() const override {
    const dnnl_version_t* version = dnnl_version();
    return fmt::format("oneDNN {}.{}.{}: {}", version->major, version->minor, version->patch, name_);
  }
  std::size_t workspace_bytes() const override {
    Pieces p(nullptr);
    p.take_bytes(packed_bytes_);
    p.take_bytes(scratch_bytes_);
    return p.bytes();
  }

  void run(const Operation& operation, void* workspace) override {
    const op::Places places = std::get<Op>(operation).places();
    Pieces p(workspace);
    void* packed = p.take_bytes(packed_bytes_);
    x_.set_data_handle(places.x.data);
    y_.set_data_handle(places.y.data);
    plain_.set_data_handle(places.w.data);
    packed_.set_data_handle(packed_bytes_ > 0 ? packed : places.w.data);
    scratch_.set_data_handle(p.take_bytes(scratch_bytes_));
    const OpenMpThreads setting(team_.threads);
    if (packed_bytes_ > 0 && !kWritesWeights) {
      reorder_.execute(stream_);
    }
    compute_.execute(stream_);
    if (packed_bytes_ > 0 && kWritesWeights) {
      reorder_.execute(stream_);
    }
  }

 private:
  static constexpr bool kWritesWeights = std::is_same_v<Op, op::ConvolutionWeightGradient>;

  void build(const Description& d) {
    if constexpr (std::is_same_v<Op, op::Convolution>) {
      const auto pass = d.forward(shape_.training);
      finish<dnnl::convolution_forward>(d, pass, pass.weights_desc(), {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST});
    } else if constexpr (kWritesWeights) {
      const auto pass = d.backward<dnnl::convolution_backward_weights>(d.dw);
      finish<dnnl::convolution_backward_weights>(d, pass, pass.diff_weights_desc(),
                                                 {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST});
    } else {
      const auto pass = d.backward<dnnl::convolution_backward_data>(d.w);
      finish<dnnl::convolution_backward_data>(d, pass, pass.weights_desc(),
                                              {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST});
    }
  }

  // The primitive and its memory objects. `roles`: what x, weights and y are to it.
  template <class Primitive>
  void finish(const Description& d, const typename Primitive::primitive_desc& pass, const memory::desc& packed,
              const std::array<int, 3>& roles) {
    const auto make = [](const memory::desc& desc) { return memory(desc, cpu_engine(), DNNL_MEMORY_NONE); };
    name_ = pass.impl_info_str();
    scratch_bytes_ = pass.scratchpad_desc().get_size();
    packed_bytes_ = packed != d.plain ? packed.get_size() : 0;
    x_ = make(d.x), y_ = make(d.y), packed_ = make(packed), plain_ = make(d.plain);
    scratch_ = make(pass.scratchpad_desc());
    compute_ = {
        Primitive(pass),
        {{roles[0], x_.get()}, {roles[1], packed_.get()}, {roles[2], y_.get()}, {DNNL_ARG_SCRATCHPAD, scratch_.get()}}};
    if (packed_bytes_ > 0) {
      const memory &from = kWritesWeights ? packed_ : plain_, &to = kWritesWeights ? plain_ : packed_;
      reorder_ = {dnnl::reorder(from, to), {{DNNL_ARG_FROM, from.get()}, {DNNL_ARG_TO, to.get()}}};
    }
  }

  Team team_;
  ConvolutionShape shape_;
  dnnl::stream stream_;
  Call compute_, reorder_;  // reorder_: of the weights, where oneDNN wants them in an order of its own
  memory x_, y_, packed_, plain_, scratch_;
  std::size_t packed_bytes_ = 0, scratch_bytes_ = 0;
  std::string name_;  // oneDNN's own: "jit_1x1:avx512_core"
};

}  // namespace

template <class Op>
std::unique_ptr<Kernel> make_onednn_convolution(const Team& team, const Op& o) {
  return std::make_unique<OneDnnConvolution<Op>>(team, o.shape);
}
template std::unique_ptr<Kernel> make_onednn_convolution(const Team&, const op::Convolution&);
template std::unique_ptr<Kernel> make_onednn_convolution(const Team&, const op::ConvolutionWeightGradient&);
template std::unique_ptr<Kernel> make_onednn_convolution(const Team&, const op::ConvolutionDataGradient&);

}  // namespace densetree::cpu
