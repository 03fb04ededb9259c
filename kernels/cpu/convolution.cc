// Convolutions through oneDNN. Written against its 2.x and 3.x C++ interface, which differ only in how a primitive
// descriptor is made; nothing outside this file sees oneDNN.
//
// Activations are handed over in place. Slabs ([C/16][N·HW][16]) are to oneDNN an nChw16c tensor of one image that is
// N·H high, which is all a 1×1 convolution needs to know. Weights are kept in torch's order by everybody else, and
// reordered on the way in and out: 28 MB a pass for DenseNet-121, about 1 % of a training step.
#include <omp.h>

#include <dnnl.hpp>

#include "kernels/core/error.h"
#include "kernels/cpu/cpu_device.h"

namespace densetree {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;

constexpr std::size_t kAlignment = 64;
std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

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

// One of the three computations with its memory objects, and the reorder of its weights where there is one.
struct Pass {
  Call compute, reorder;
  memory source, destination, packed, plain, scratch;
  std::size_t packed_bytes = 0, scratch_bytes = 0;
  std::string name;  // oneDNN's own: "jit_1x1:avx512_core"
};

class OneDnnConvolution final : public Convolution {
 public:
  OneDnnConvolution(const ConvolutionShape& shape, Layout input, Layout output, int threads)
      : shape_(shape),
        input_(input),
        output_(output),
        threads_(threads),
        type_(shape.precision == Precision::kBFloat16 ? DType::kBFloat16 : DType::kFloat32),
        stream_(cpu_engine()) {
    shape.validate();
    check(is_slabs(input) == is_slabs(output) &&
              (!is_slabs(input) || (shape.kernel == 1 && shape.stride == 1 && shape.padding == 0)),
          "{}: only 1x1 convolutions with stride 1 work on stacks, from stack to stack", shape);
    const Shape out = shape.output();
    const OpenMpThreads setting(threads);
    try {
      const auto type = type_ == DType::kBFloat16 ? memory::data_type::bf16 : memory::data_type::f32;
      build(activation_desc(shape.input, input, type), activation_desc(out, output, type), type);
    } catch (const dnnl::error& e) {
      fail("{}: oneDNN cannot prepare it: {}", shape, e.what());
    }
  }

  Implementation implementation() const override {
    const dnnl_version_t* version = dnnl_version();
    const std::string library = fmt::format("oneDNN {}.{}.{}: ", version->major, version->minor, version->patch);
    return {library + forward_.name,
            shape_.training ? fmt::format("{}{} and {}", library, data_.name, weights_.name) : ""};
  }

  std::size_t workspace_bytes() const override {
    std::size_t bytes = 0;
    for (const Pass* pass : {&forward_, &data_, &weights_}) {
      bytes = std::max(bytes, aligned(pass->packed_bytes) + aligned(pass->scratch_bytes));
    }
    return bytes;
  }

  void forward(const View& x, const float* w, const View& y, void* workspace) override {
    check_views(x, y);
    run(forward_, x.data, w, y.data, workspace);
  }

  void backward_data(const View& dy, const float* w, const View& dx, void* workspace) override {
    check_backward();
    check_views(dx, dy);
    run(data_, dy.data, w, dx.data, workspace);
  }

  void backward_weights(const View& x, const View& dy, float* dw, void* workspace) override {
    check_backward();
    check_views(x, dy);
    const OpenMpThreads threads(threads_);
    place(weights_, x.data, dw, dy.data, workspace);
    weights_.compute.execute(stream_);
    if (weights_.reorder.primitive) {
      weights_.reorder.execute(stream_);
    }
  }

 private:
  void build(const memory::desc& x, const memory::desc& y, memory::data_type type) {
    const memory::dims kernel{shape_.out_channels, shape_.input.c, shape_.kernel, shape_.kernel};
    const memory::desc w(kernel, type, Tag::any), dw(kernel, memory::data_type::f32, Tag::any);
    const memory::desc plain(kernel, memory::data_type::f32, Tag::oihw);
    const memory::dims stride{shape_.stride, shape_.stride}, padding{shape_.padding, shape_.padding};
    const auto algorithm = dnnl::algorithm::convolution_direct;
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const auto kind = shape_.training ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
    const auto& engine = cpu_engine();
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::convolution_forward::primitive_desc forward(engine, kind, algorithm, x, w, y, stride, padding, padding,
                                                            attributes);
#else
    const dnnl::convolution_forward::primitive_desc forward({kind, algorithm, x, w, y, stride, padding, padding},
                                                            attributes, engine);
#endif
    finish(forward_, forward, dnnl::convolution_forward(forward), x, y, forward.weights_desc(), plain);
    forward_.compute.arguments = arguments_of(forward_, DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST);
    forward_.reorder = reorder_of(forward_, forward_.plain, forward_.packed);
    if (!shape_.training) {
      return;
    }
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::convolution_backward_data::primitive_desc data(engine, algorithm, x, w, y, stride, padding, padding,
                                                               forward, attributes);
    const dnnl::convolution_backward_weights::primitive_desc weights(engine, algorithm, x, dw, y, stride, padding,
                                                                     padding, forward, attributes);
#else
    const dnnl::convolution_backward_data::primitive_desc data({algorithm, x, w, y, stride, padding, padding},
                                                               attributes, engine, forward);
    const dnnl::convolution_backward_weights::primitive_desc weights({algorithm, x, dw, y, stride, padding, padding},
                                                                     attributes, engine, forward);
#endif
    finish(data_, data, dnnl::convolution_backward_data(data), y, x, data.weights_desc(), plain);
    data_.compute.arguments = arguments_of(data_, DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC);
    data_.reorder = reorder_of(data_, data_.plain, data_.packed);
    finish(weights_, weights, dnnl::convolution_backward_weights(weights), x, y, weights.diff_weights_desc(), plain);
    weights_.compute.arguments = arguments_of(weights_, DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST);
    weights_.reorder = reorder_of(weights_, weights_.packed, weights_.plain);
  }

  // Primitive and memory objects of a pass that reads `source` and reads or writes `destination`.
  static void finish(Pass& pass, const auto& descriptor, dnnl::primitive primitive, const memory::desc& source,
                     const memory::desc& destination, const memory::desc& packed, const memory::desc& plain) {
    const auto make = [](const memory::desc& desc) { return memory(desc, cpu_engine(), DNNL_MEMORY_NONE); };
    pass.compute.primitive = std::move(primitive);
    pass.name = descriptor.impl_info_str();
    pass.source = make(source);
    pass.destination = make(destination);
    pass.packed = make(packed);
    pass.plain = make(plain);
    pass.scratch = make(descriptor.scratchpad_desc());
    pass.scratch_bytes = descriptor.scratchpad_desc().get_size();
    pass.packed_bytes = packed != plain ? packed.get_size() : 0;
  }

  static std::vector<dnnl_exec_arg_t> arguments_of(const Pass& pass, int source, int weights, int destination) {
    return {{source, pass.source.get()},
            {weights, pass.packed.get()},
            {destination, pass.destination.get()},
            {DNNL_ARG_SCRATCHPAD, pass.scratch.get()}};
  }

  // None where the weights are computed with as they are.
  static Call reorder_of(const Pass& pass, const memory& from, const memory& to) {
    if (pass.packed_bytes == 0) {
      return {};
    }
    return {dnnl::reorder(from, to), {{DNNL_ARG_FROM, from.get()}, {DNNL_ARG_TO, to.get()}}};
  }

  void check_backward() const {
    check(shape_.training, "{}: prepared for inference, backward is not there", shape_);
  }

  void check_views(const View& x, const View& y) const {
    const auto fits = [&](const View& view, const Shape& shape, Layout layout) {
      return view.shape() == shape && view.layout == layout && view.whole && view.dtype == type_;
    };
    check(fits(x, shape_.input, input_), "{}: its input is ({}, {}, {}, {}) {} {}{}", shape_, x.n, x.c, x.h, x.w,
          name_of(x.dtype), name_of(x.layout), x.whole ? "" : ", a slice");
    check(fits(y, shape_.output(), output_), "{}: its output is ({}, {}, {}, {}) {} {}{}", shape_, y.n, y.c, y.h, y.w,
          name_of(y.dtype), name_of(y.layout), y.whole ? "" : ", a slice");
  }

  static void place(Pass& pass, void* source, const float* plain, void* destination, void* workspace) {
    auto* base = static_cast<char*>(workspace);
    void* weights = const_cast<float*>(plain);
    pass.source.set_data_handle(source);
    pass.destination.set_data_handle(destination);
    pass.plain.set_data_handle(weights);
    pass.packed.set_data_handle(pass.reorder.primitive ? base : weights);
    pass.scratch.set_data_handle(base + aligned(pass.packed_bytes));
  }

  void run(Pass& pass, void* source, const float* weights, void* destination, void* workspace) {
    const OpenMpThreads threads(threads_);
    place(pass, source, weights, destination, workspace);
    if (pass.reorder.primitive) {
      pass.reorder.execute(stream_);
    }
    pass.compute.execute(stream_);
  }

  ConvolutionShape shape_;
  Layout input_, output_;
  int threads_;
  DType type_;
  dnnl::stream stream_;
  Pass forward_, data_, weights_;
};

}  // namespace

std::unique_ptr<Convolution> make_onednn_convolution(const ConvolutionShape& shape, Layout input, Layout output,
                                                     int threads) {
  return std::make_unique<OneDnnConvolution>(shape, input, output, threads);
}

}  // namespace densetree
