#include "kernels/check_operands.h"

#include <initializer_list>

#include "kernels/core/error.h"

namespace densetree {
namespace {

class OperandCheck {
 public:
  OperandCheck(const Device& device, const Operation& operation) : device_(device), operation_(operation) {}

  void run() const {
    std::visit([&](const auto& o) { check_rules(o); }, operation_);
    for_each_operand(operation_, [&]<class T>(Access, const T& operand) {
      if constexpr (std::is_same_v<T, Tensor>) {
        require(operand.shape().elements() > 0, "a tensor is {}; nothing may be empty", operand.shape());
      } else {
        require(operand.count > 0, "an array holds {} elements; nothing may be empty", operand.count);
      }
    });
  }

 private:
  // ---- Input
  void check_rules(const op::ImagesToInput& o) const {
    require(o.source > 0, "source images are {} pixels wide; there must be one at least", o.source);
    check_shape("y", o.y, {o.y.n, kInputChannels, o.y.h, o.y.w});
    check_types({o.y});
    check_count("images", o.images, o.y.n * o.source * o.source);
    check_count("transforms", o.transforms, o.y.n);
  }

  // ---- Convolution
  void check_rules(const op::Convolution& o) const { check_convolution(o, true); }
  void check_rules(const op::ConvolutionWeightGradient& o) const { check_convolution(o, false); }
  void check_rules(const op::ConvolutionDataGradient& o) const { check_convolution(o, false); }

  void check_rules(const op::NormConvolution& o) const {
    check_norm_convolution(o, true);
    if (o.statistics.present()) {
      check_statistics(o.statistics, o.shape.out_channels);
    }
  }
  void check_rules(const op::NormConvolutionGradient& o) const {
    check_norm_convolution(o, false);
    check_shape("s", o.s, o.shape.input);
    check_precision("s", o.s, o.shape.precision);
    check_layout("s", o.s, o.shape.input_use);
    check_sums(o.sums, o.shape.input.c);
    check_count("dw", o.dw, o.shape.weights());
    check_count("dgamma", o.dgamma, o.shape.input.c);
    check_count("dbeta", o.dbeta, o.shape.input.c);
  }

  // ---- Batch normalisation
  void check_rules(const op::ChannelStatistics& o) const {
    check_types({o.x});
    check_statistics(o.statistics, o.x.c);
    if (o.y.present()) {
      check_like("y", o.y, o.x);
    }
  }
  void check_rules(const op::UpdateRunning& o) const {
    require(o.count > 1, "the unbiased variance of {} value needs at least 2; use a larger batch or image", o.count);
    check_present("mean", o.mean);
    check_statistics(o.batch, o.mean.count);
    check_count("variance", o.variance, o.mean.count);
  }
  void check_rules(const op::ReciprocalStd& o) const {
    check_present("variance", o.variance);
    check_count("rstd", o.rstd, o.variance.count);
  }
  void check_rules(const op::AffineRelu& o) const {
    check_like("y", o.y, o.x);
    check_affine(o.affine, o.x.c);
  }
  void check_rules(const op::AffineReluGradient& o) const {
    check_like("dy", o.dy, o.x);
    check_like("s", o.s, o.x);
    check_affine(o.affine, o.x.c);
    check_sums(o.sums, o.x.c);
    check_count("dgamma", o.dgamma, o.x.c);
    check_count("dbeta", o.dbeta, o.x.c);
  }
  void check_rules(const op::NormalizeGradient& o) const {
    check_like("s", o.s, o.x);
    check_like("dx", o.dx, o.x);
    check_statistics(o.statistics, o.x.c);
    check_sums(o.sums, o.x.c);
  }

  // ---- Copies
  void check_rules(const op::Copy& o) const { check_copy(o.x, o.y); }
  void check_rules(const op::Add& o) const { check_copy(o.x, o.y); }
  void check_rules(const op::Clear& o) const {
    require(o.y.present() || o.memory.present(), "there is neither a tensor nor memory to clear");
    require(!o.y.present() || is_float(o.y.dtype), "y is {}; it must be fp32 or bf16", name_of(o.y.dtype));
  }

  // ---- Pooling
  void check_rules(const op::MaxPool& o) const {
    check_pooled("y", o.y, o.x, o.window);
    if (o.argmax.present()) {
      check_count("argmax", o.argmax, op::argmax_bytes(o.y.shape()));
    }
  }
  void check_rules(const op::MaxPoolGradient& o) const {
    check_pooled("dy", o.dy, o.dx, o.window);
    check_count("argmax", o.argmax, op::argmax_bytes(o.dy.shape()));
  }
  void check_rules(const op::AveragePool& o) const { check_pooled("y", o.y, o.x, {o.kernel, o.kernel, 0}); }
  void check_rules(const op::AveragePoolGradient& o) const { check_pooled("dy", o.dy, o.dx, {o.kernel, o.kernel, 0}); }
  void check_rules(const op::GlobalAveragePool& o) const {
    check_types({o.x});
    check_matrix("y", o.y, o.x.n, o.x.c);
  }
  void check_rules(const op::GlobalAveragePoolGradient& o) const {
    check_types({o.dx});
    check_matrix("dy", o.dy, o.dx.n, o.dx.c);
  }

  // ---- Classifier and loss
  void check_rules(const op::Linear& o) const {
    check_matrix("x", o.x, o.x.n, o.x.c);
    check_matrix("y", o.y, o.x.n, o.y.c);
    check_count("w", o.w, o.x.c * o.y.c);
    check_count("b", o.b, o.y.c);
  }
  void check_rules(const op::LinearGradient& o) const {
    check_matrix("x", o.x, o.x.n, o.x.c);
    check_matrix("dy", o.dy, o.x.n, o.dy.c);
    if (o.dx.present()) {
      check_matrix("dx", o.dx, o.x.n, o.x.c);
    }
    check_count("w", o.w, o.x.c * o.dy.c);
    check_count("dw", o.dw, o.x.c * o.dy.c);
    check_count("db", o.db, o.dy.c);
  }
  void check_rules(const op::Loss& o) const {
    check_matrix("z", o.z, o.z.n, o.z.c);
    check_count("y", o.y, o.z.n * o.z.c);
    if (o.positive_weights.present()) {
      check_count("positive_weights", o.positive_weights, o.z.c);
    }
    check_count("loss", o.loss, 1);
    if (o.dz.present()) {
      check_matrix("dz", o.dz, o.z.n, o.z.c);
    }
  }

  // ---- Optimiser
  void check_rules(const op::AllReduce& o) const { check_present("g", o.g); }
  void check_rules(const op::L2Norm& o) const {
    check_present("g", o.g);
    check_count("norm", o.norm, 1);
  }
  void check_rules(const op::Adam& o) const {
    check_present("w", o.w);
    check_count("scalars", o.scalars, 1);
    if (o.norm.present()) {
      check_count("norm", o.norm, 1);
    }
    check_count("g", o.g, o.w.count);
    check_count("m", o.m, o.w.count);
    check_count("v", o.v, o.w.count);
  }

  // ---- What the rules are made of

  // The message begins with the operation, and of a convolution its shape.
  template <class... Args>
  void require(bool ok, fmt::format_string<Args...> format, Args&&... args) const {
    if (!ok) [[unlikely]] {
      const auto shape = convolution_shape(operation_);
      fail("{}: {}{}", name_of(operation_), shape ? shape->describe() + ": " : "",
           fmt::format(format, std::forward<Args>(args)...));
    }
  }

  void check_present(const char* name, const auto& operand) const { require(operand.present(), "{} is missing", name); }
  void check_shape(const char* name, const Tensor& view, const Shape& wanted) const {
    check_present(name, view);
    require(view.shape() == wanted, "{} is {}; it must be {}", name, view.shape(), wanted);
  }
  void check_types(std::initializer_list<Tensor> views) const {
    for (const Tensor& view : views) {
      check_present("a tensor", view);
      require(is_float(view.dtype) && view.dtype == views.begin()->dtype,
              "tensors must be all fp32 or all bf16; got {} and {}", name_of(views.begin()->dtype),
              name_of(view.dtype));
    }
  }
  void check_like(const char* name, const Tensor& view, const Tensor& other) const {
    check_shape(name, view, other.shape());
    check_types({other, view});
  }
  void check_copy(const Tensor& x, const Tensor& y) const {  // which may change the type
    check_shape("y", y, x.shape());
    check_types({x});
    check_types({y});
  }
  template <class T>
  void check_count(const char* name, const Array<T>& array, std::int64_t wanted) const {
    check_present(name, array);
    require(array.count == wanted, "{} holds {} elements; it must hold {}", name, array.count, wanted);
  }
  // Of the classifier: a whole tensor (N, K, 1, 1) in planar fp32.
  void check_matrix(const char* name, const Tensor& view, std::int64_t n, std::int64_t k) const {
    check_shape(name, view, {n, k, 1, 1});
    require(view.layout == Layout::kPlanar && view.whole && view.dtype == DType::kFloat32,
            "{} is {} {}{}; it must be a whole tensor in planar fp32", name, name_of(view.dtype), name_of(view.layout),
            view.whole ? "" : ", a slice");
  }

  void check_affine(const op::Affine& affine, std::int64_t channels) const {
    check_count("affine.mean", affine.mean, channels);
    check_count("affine.rstd", affine.rstd, channels);
    check_count("affine.gamma", affine.gamma, channels);
    check_count("affine.beta", affine.beta, channels);
  }
  void check_statistics(const op::Statistics& statistics, std::int64_t channels) const {
    check_count("statistics.mean", statistics.mean, channels);
    check_count("statistics.variance", statistics.variance, channels);
    check_count("statistics.rstd", statistics.rstd, channels);
  }
  void check_sums(const op::GradientSums& sums, std::int64_t channels) const {
    check_count("sums.s", sums.s, channels);
    check_count("sums.s_xhat", sums.s_xhat, channels);
  }

  void check_pooled(const char* name, const Tensor& out, const Tensor& in, const op::Window& window) const {
    const auto& [kernel, stride, padding] = window;
    require(kernel >= 1 && kernel <= 15 && stride >= 1 && padding >= 0 && padding < kernel,
            "kernel {}, stride {}, padding {}: the kernel is 1 to 15, the stride at least 1, and the padding less than "
            "the kernel",
            kernel, stride, padding);
    require(in.h + 2 * padding >= kernel && in.w + 2 * padding >= kernel, "a window of {} does not fit into {}", kernel,
            in.shape());
    check_shape(name, out, window.output(in.shape()));
    check_types({in, out});
  }

  void check_layout(const char* name, const View& view, Use use) const {
    require(view.layout == device_.layout(use), "{} is {}; it must be {}", name, name_of(view.layout),
            name_of(device_.layout(use)));
  }
  void check_precision(const char* name, const View& view, Precision precision) const {
    require(view.dtype == element_type(precision), "{} is {}; in {} it must be {}", name, name_of(view.dtype),
            name_of(precision), name_of(element_type(precision)));
  }
  void check_whole(const char* name, const View& view) const {
    require(view.whole, "{} is a slice; it must be a whole tensor", name);
  }
  // What every convolution keeps, alone or behind batch norm.
  template <class Op>
  void check_sides(const Op& o, bool forward) const {
    const ConvolutionShape& shape = o.shape;
    shape.validate();
    const std::string why_not = device_.why_not(shape.precision);
    require(why_not.empty(), "in {}: {}", name_of(shape.precision), why_not);
    require(forward || shape.training, "it was prepared for inference, backward is not there");
    const op::Places places = o.places();
    const auto check_side = [&](const char* name, const Tensor& view, const Shape& wanted, Use use) {
      check_shape(name, view, wanted);
      check_precision(name, view, shape.precision);
      check_layout(name, view, use);
    };
    check_side("input", places.x, shape.input, shape.input_use);
    check_side("output", places.y, shape.output(), shape.output_use);
    check_count("w", places.w, shape.weights());
  }
  template <class Op>
  void check_convolution(const Op& o, bool forward) const {
    check_sides(o, forward);
    check_whole("input", o.places().x);
    check_whole("output", o.places().y);
  }
  template <class Op>
  void check_norm_convolution(const Op& o, bool forward) const {
    const ConvolutionShape& shape = o.shape;
    require(shape.input_use == Use::kStack && shape.output_use == Use::kStack, "it goes from stack to stack");
    check_sides(o, forward);
    check_affine(o.affine, shape.input.c);
    if (o.z.present()) {
      check_shape("z", o.z, shape.input);
      check_precision("z", o.z, shape.precision);
      check_layout("z", o.z, shape.input_use);
      check_whole("z", o.z);
    }
  }

  const Device& device_;
  const Operation& operation_;
};

}  // namespace

void check_operands(const Device& device, const Operation& operation) {
  OperandCheck(device, operation).run();
}

}  // namespace densetree
