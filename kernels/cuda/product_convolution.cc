// 1×1 convolutions as matrix products of cuBLASLt.
#include <array>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/weights.h"

namespace densetree::cuda {
namespace {

std::size_t memory_of(const Matrix& matrix) {
  return bytes_of(matrix.rows * matrix.stride, matrix.type);
}

Gemm gemm_for(ConvolutionContext& context, const ConvolutionPass& p) {
  const GemmShape product = product_of(p.shape, p.pass);
  const std::size_t workspace = context.gemm_workspace();
  Tuner& tuner = context.tuner();
  cublasLtHandle_t handle = context.cublas();
  const Stream& stream = context.stream();
  Gemm gemm(handle, stream.device, product, workspace, tuner.limit());
  std::vector<std::string> names;
  for (std::size_t i = 0; i < gemm.algorithms(); ++i) {
    names.push_back(fmt::format("proposal {}", i));
  }
  const std::array sizes{memory_of(product.a), memory_of(product.b), memory_of(product.c), workspace};
  const auto run = [&](std::size_t index, std::span<void* const> buffers) {
    gemm.take(index);
    gemm.run(handle, stream.handle, 1, buffers[0], buffers[1], GradMode::kOverwrite, buffers[2], buffers[3]);
  };
  gemm.take(
      tuner.choose(fmt::format("cuBLASLt {}", cublasLtGetVersion()), p.shape, name_of(p.pass), names, sizes, run));
  return gemm;
}

// Whether the pass multiplies weights of another type than the caller's.
bool converts(const ConvolutionPass& p) {
  return element_type(p.shape.precision) != DType::kFloat32 && p.pass != Pass::kBackwardWeights;
}

class ProductKernel final : public PassKernel {
 public:
  ProductKernel(ConvolutionContext& shared, const ConvolutionPass& pass)
      : PassKernel(shared, pass,
                   converts(pass) ? bytes_of(pass.shape.weights(), element_type(pass.shape.precision)) : 0),
        gemm_(gemm_for(shared, pass)) {}

  std::string implementation() const override {
    return fmt::format("cuBLASLt {}: {}", cublasLtGetVersion(), gemm_.name());
  }
  std::size_t workspace_bytes() const override { return packed_bytes() + context().gemm_workspace(); }

 private:
  void run_pass(void* x, float* w, void* y, void* workspace) override {
    const void* weights = w;
    if (packed_bytes() > 0) {
      interleave_weights(context().stream(), shape(), w, element_type(shape().precision), shape().input.c, workspace);
      weights = workspace;
    }
    switch (pass()) {
      case Pass::kForward:
        return multiply(x, weights, y, workspace);
      case Pass::kBackwardData:
        return multiply(y, weights, x, workspace);
      case Pass::kBackwardWeights:
        return multiply(y, x, w, workspace);
    }
  }

  void multiply(const void* a, const void* b, void* c, void* workspace) const {
    gemm_.run(context().cublas(), context().stream().handle, 1, a, b, GradMode::kOverwrite, c, scratch(workspace));
  }

  Gemm gemm_;
};

}  // namespace

bool is_product(const ConvolutionShape& shape) {
  return shape.kernel == 1 && shape.stride == 1 && shape.padding == 0 && shape.input_use != Use::kInput;
}

GemmShape product_of(const ConvolutionShape& shape, Pass pass) {
  check(is_product(shape), "{} padding {}: is no matrix product", shape, shape.padding);
  const DType type = element_type(shape.precision);
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

std::unique_ptr<Kernel> make_product(ConvolutionContext& context, const ConvolutionPass& pass, std::string* why_not) {
  const ConvolutionShape& shape = pass.shape;
  if (!is_product(shape)) {
    *why_not = shape.input_use == Use::kInput ? "it is no matrix product: pixels of the network's input are padded"
                                              : fmt::format("it is no matrix product: kernel {}, stride {}, padding {}",
                                                            shape.kernel, shape.stride, shape.padding);
    return nullptr;
  }
  return std::make_unique<ProductKernel>(context, pass);
}

}  // namespace densetree::cuda
