// 1×1 convolutions as matrix products of cuBLASLt.
#include <array>
#include <optional>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/weights.h"

namespace densetree::cuda {
namespace {

class ProductConvolution final : public CheckedConvolution {
 public:
  ProductConvolution(std::shared_ptr<ConvolutionContext> shared, const ConvolutionShape& shape)
      : CheckedConvolution(std::move(shared), shape, converts(shape) ? bytes_of(shape.weights(), type_of(shape)) : 0),
        gemm_workspace_(context().gemm_workspace()),
        forward_(make(Pass::kForward)) {
    if (shape.training) {
      data_.emplace(make(Pass::kBackwardData));
      weights_.emplace(make(Pass::kBackwardWeights));
    }
  }

  Implementation implementation() const override {
    const std::string library = fmt::format("cuBLASLt {}: ", cublasLtGetVersion());
    return {library + forward_.name(),
            shape().training ? fmt::format("{}{} and {}", library, data_->name(), weights_->name()) : ""};
  }
  std::size_t workspace_bytes() const override { return packed_bytes() + gemm_workspace_; }

 private:
  static bool converts(const ConvolutionShape& shape) { return type_of(shape) != DType::kFloat32; }

  void run_forward(const void* x, const float* w, void* y, void* workspace) override {
    run(forward_, x, weights(w, workspace), y, workspace);
  }
  void run_backward_data(const void* dy, const float* w, void* dx, void* workspace) override {
    run(*data_, dy, weights(w, workspace), dx, workspace);
  }
  void run_backward_weights(const void* x, const void* dy, float* dw, void* workspace) override {
    run(*weights_, dy, x, dw, workspace);
  }

  void run(const Gemm& gemm, const void* a, const void* b, void* c, void* workspace) const {
    gemm.run(context().cublas(), context().stream().handle, 1, a, b, GradMode::kOverwrite, c, scratch(workspace));
  }

  // The caller's, or converted ones.
  const void* weights(const float* w, void* workspace) const {
    if (!converts(shape())) {
      return w;
    }
    interleave_weights(context().stream(), shape(), w, type_of(shape()), shape().input.c, workspace);
    return workspace;
  }

  Gemm make(Pass pass) const;

  std::size_t gemm_workspace_;
  Gemm forward_;
  std::optional<Gemm> data_, weights_;
};

std::size_t memory_of(const Matrix& matrix) {
  return bytes_of(matrix.rows * matrix.stride, matrix.type);
}

Gemm ProductConvolution::make(Pass pass) const {
  const GemmShape product = product_of(shape(), pass);
  Tuner& tuner = context().tuner();
  cublasLtHandle_t handle = context().cublas();
  const Stream& stream = context().stream();
  Gemm gemm(handle, stream.device, product, gemm_workspace_, tuner.limit());
  std::vector<std::string> names;
  for (std::size_t i = 0; i < gemm.algorithms(); ++i) {
    names.push_back(fmt::format("proposal {}", i));
  }
  const std::array sizes{memory_of(product.a), memory_of(product.b), memory_of(product.c), gemm_workspace_};
  const auto run = [&](std::size_t index, std::span<void* const> buffers) {
    gemm.take(index);
    gemm.run(handle, stream.handle, 1, buffers[0], buffers[1], GradMode::kOverwrite, buffers[2], buffers[3]);
  };
  gemm.take(tuner.choose(fmt::format("cuBLASLt {}", cublasLtGetVersion()), shape(), name_of(pass), names, sizes, run));
  return gemm;
}

}  // namespace

bool is_product(const ConvolutionShape& shape) {
  return shape.kernel == 1 && shape.stride == 1 && shape.padding == 0 && shape.input_use != Use::kInput;
}

GemmShape product_of(const ConvolutionShape& shape, Pass pass) {
  check(is_product(shape), "{} padding {}: is no matrix product", shape, shape.padding);
  const DType type = type_of(shape);
  const std::int64_t rows = shape.input.n * shape.input.pixels(), in = shape.input.c, out = shape.out_channels;
  const Matrix x{type, rows, in, in}, y{type, rows, out, out}, w{type, out, in, in};
  const bool rounds = shape.precision == Precision::kTensorFloat32;
  switch (pass) {
    case Pass::kForward:
      return {.a = x, .b = w, .c = y, .transpose_b = true, .tensor_float32 = rounds};
    case Pass::kBackwardData:
      return {.a = y, .b = w, .c = x, .tensor_float32 = rounds};
    case Pass::kBackwardWeights:
      return {.a = y, .b = x, .c = {DType::kFloat32, out, in, in}, .transpose_a = true, .tensor_float32 = rounds};
  }
  fail("unknown pass {}", static_cast<int>(pass));
}

std::unique_ptr<Convolution> make_product_convolution(std::shared_ptr<ConvolutionContext> context,
                                                      const ConvolutionShape& shape) {
  return std::make_unique<ProductConvolution>(std::move(context), shape);
}

}  // namespace densetree::cuda
