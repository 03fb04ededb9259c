// 1×1 convolutions as matrix products: what cuBLASLt is told, read back from its descriptors and carried out here as
// BLAS defines it, gives the convolution. No GPU is needed.
#include "kernels/cuda/gemm.h"

#include <gtest/gtest.h>

#include <tuple>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/cuda/convolutions.h"

namespace densetree::cuda {
namespace {

using Values = std::vector<double>;

template <class T>
T read(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t name) {
  T value{};
  std::size_t written = 0;
  EXPECT_EQ(cublasLtMatrixLayoutGetAttribute(layout, name, &value, sizeof value, &written), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(written, sizeof value);
  return value;
}

std::int32_t read(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t name) {
  std::int32_t value = -1;
  std::size_t written = 0;
  EXPECT_EQ(cublasLtMatmulDescGetAttribute(operation, name, &value, sizeof value, &written), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(written, sizeof value);
  return value;
}

// A matrix as cuBLASLt sees it: element (row, column) at column·ld + row, or of its transpose.
struct Columns {
  Columns(cublasLtMatrixLayout_t layout, bool transposed_before_use)
      : rows(static_cast<std::int64_t>(read<std::uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_ROWS))),
        columns(static_cast<std::int64_t>(read<std::uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_COLS))),
        ld(read<std::int64_t>(layout, CUBLASLT_MATRIX_LAYOUT_LD)),
        transposed(transposed_before_use) {
    EXPECT_EQ(read<std::int32_t>(layout, CUBLASLT_MATRIX_LAYOUT_ORDER), CUBLASLT_ORDER_COL);
    EXPECT_GE(ld, rows);
  }
  std::int64_t height() const { return transposed ? columns : rows; }
  std::int64_t width() const { return transposed ? rows : columns; }
  std::size_t at(std::int64_t row, std::int64_t column) const {
    return static_cast<std::size_t>(transposed ? row * ld + column : column * ld + row);
  }
  std::int64_t rows, columns, ld;
  bool transposed;
};

// D = op(A)·op(B) as described, a and b in cuBLASLt's order.
Values multiply(const GemmDescription& description, const Values& a, const Values& b, std::size_t size) {
  const auto is_transposed = [&](cublasLtMatmulDescAttributes_t name) {
    return read(description.operation(), name) == CUBLAS_OP_T;
  };
  const Columns first(description.first(), is_transposed(CUBLASLT_MATMUL_DESC_TRANSA));
  const Columns second(description.second(), is_transposed(CUBLASLT_MATMUL_DESC_TRANSB));
  const Columns result(description.result(), false);
  EXPECT_EQ(first.width(), second.height());
  EXPECT_EQ(first.height(), result.rows);
  EXPECT_EQ(second.width(), result.columns);
  Values d(size, -1);
  for (std::int64_t row = 0; row < result.rows; ++row) {
    for (std::int64_t column = 0; column < result.columns; ++column) {
      double sum = 0;
      for (std::int64_t i = 0; i < first.width(); ++i) {
        sum += a.at(first.at(row, i)) * b.at(second.at(i, column));
      }
      d.at(result.at(row, column)) = sum;
    }
  }
  return d;
}

Values numbers(std::int64_t count, int seed) {  // small integers, so sums are exact
  Values values;
  for (std::int64_t i = 0; i < count; ++i) {
    values.push_back(static_cast<double>((i * 7 + seed * 5 + i / 3) % 11 - 5));
  }
  return values;
}

ConvolutionShape pointwise(Precision precision) {
  ConvolutionShape shape;
  shape.input = {2, 5, 3, 2}, shape.out_channels = 4, shape.precision = precision;
  return shape;
}

TEST(Gemm, ProductsAreTheConvolution) {
  const ConvolutionShape shape = pointwise(Precision::kFloat32);
  const std::int64_t pixels = 12, in = 5, out = 4;
  const Values x = numbers(pixels * in, 1), w = numbers(out * in, 2), dy = numbers(pixels * out, 3);
  Values y(dy.size()), dx(x.size()), dw(w.size());
  for (std::int64_t p = 0; p < pixels; ++p) {
    for (std::int64_t o = 0; o < out; ++o) {
      for (std::int64_t c = 0; c < in; ++c) {
        y[p * out + o] += x[p * in + c] * w[o * in + c];
        dx[p * in + c] += dy[p * out + o] * w[o * in + c];
        dw[o * in + c] += dy[p * out + o] * x[p * in + c];
      }
    }
  }
  const auto run = [&](Pass pass, const Values& a, const Values& b, std::size_t size) {
    return multiply(GemmDescription(product_of(shape, pass)), b, a, size);  // cuBLASLt takes b first
  };
  EXPECT_EQ(run(Pass::kForward, x, w, y.size()), y);
  EXPECT_EQ(run(Pass::kBackwardData, dy, w, dx.size()), dx);
  EXPECT_EQ(run(Pass::kBackwardWeights, dy, x, dw.size()), dw);
}

// Rows of a slice: 3 of 7 channels.
TEST(Gemm, RowsMayBeApart) {
  const GemmShape shape{.a = {DType::kFloat32, 6, 3, 7},
                        .b = {DType::kFloat32, 2, 3, 4},
                        .c = {DType::kFloat32, 6, 2, 5},
                        .transpose_b = true};
  const Values a = numbers(6 * 7, 1), b = numbers(2 * 4, 2);
  Values c(6 * 5, -1);
  for (std::size_t row = 0; row < 6; ++row) {
    for (std::size_t column = 0; column < 2; ++column) {
      c[row * 5 + column] = 0;
      for (std::size_t i = 0; i < 3; ++i) {
        c[row * 5 + column] += a[row * 7 + i] * b[column * 4 + i];
      }
    }
  }
  EXPECT_EQ(multiply(GemmDescription(shape), b, a, c.size()), c);
}

TEST(Gemm, TypesFollowThePrecision) {
  using Types = std::tuple<cudaDataType_t, cudaDataType_t, cudaDataType_t, cublasComputeType_t>;
  const auto types = [](Precision precision, Pass pass) {
    const GemmDescription description(product_of(pointwise(precision), pass));
    const auto type = [](cublasLtMatrixLayout_t layout) {
      return static_cast<cudaDataType_t>(read<std::uint32_t>(layout, CUBLASLT_MATRIX_LAYOUT_TYPE));
    };
    EXPECT_EQ(read(description.operation(), CUBLASLT_MATMUL_DESC_SCALE_TYPE), CUDA_R_32F);
    return Types{type(description.first()), type(description.second()), type(description.result()),
                 static_cast<cublasComputeType_t>(read(description.operation(), CUBLASLT_MATMUL_DESC_COMPUTE_TYPE))};
  };
  for (const Pass pass : {Pass::kForward, Pass::kBackwardData, Pass::kBackwardWeights}) {
    EXPECT_EQ(types(Precision::kFloat32, pass), Types(CUDA_R_32F, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F));
    EXPECT_EQ(types(Precision::kTensorFloat32, pass),
              Types(CUDA_R_32F, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32));
    const cudaDataType_t result = pass == Pass::kBackwardWeights ? CUDA_R_32F : CUDA_R_16BF;
    EXPECT_EQ(types(Precision::kBFloat16, pass), Types(CUDA_R_16BF, CUDA_R_16BF, result, CUBLAS_COMPUTE_32F));
  }
}

TEST(Gemm, OnlyPlainPointwiseConvolutionsAreProducts) {
  ConvolutionShape shape = pointwise(Precision::kFloat32);
  EXPECT_TRUE(is_product(shape));
  shape.stride = 2;
  EXPECT_FALSE(is_product(shape));
  EXPECT_THROW(product_of(shape, Pass::kForward), Error);
  shape.stride = 1, shape.padding = 1;
  EXPECT_FALSE(is_product(shape));
  shape.padding = 0, shape.kernel = 3;
  EXPECT_FALSE(is_product(shape));
}

TEST(Gemm, NonsenseIsAnError) {
  const GemmShape good{
      .a = {DType::kFloat32, 6, 3, 3}, .b = {DType::kFloat32, 3, 2, 2}, .c = {DType::kFloat32, 6, 2, 2}};
  EXPECT_NO_THROW(GemmDescription{good});
  const auto refuses = [&](const auto& change) {
    GemmShape shape = good;
    change(shape);
    EXPECT_THROW(GemmDescription{shape}, Error) << shape.describe();
  };
  refuses([](GemmShape& shape) { shape.a.rows = 0; });
  refuses([](GemmShape& shape) { shape.a.stride = 2; });   // rows overlap
  refuses([](GemmShape& shape) { shape.b.rows = 4; });     // k differs
  refuses([](GemmShape& shape) { shape.c.columns = 1; });  // n differs
  refuses([](GemmShape& shape) { shape.c.rows = 5; });     // m differs
  refuses([](GemmShape& shape) { shape.transpose_a = true; });
  refuses([](GemmShape& shape) { shape.a.type = DType::kBFloat16; });
  refuses([](GemmShape& shape) { shape.c.type = DType::kUInt8; });
  refuses([](GemmShape& shape) { shape.a.type = shape.b.type = DType::kBFloat16, shape.tensor_float32 = true; });
  refuses([](GemmShape& shape) { shape.a.rows = shape.c.rows = std::int64_t{1} << 31; });
}

TEST(Gemm, DescribesItself) {
  EXPECT_EQ(product_of(pointwise(Precision::kBFloat16), Pass::kForward).describe(),
            "product (12, 4) bf16 = (12, 5) bf16 · (4, 5)ᵀ bf16");
}

TEST(Gemm, WorkspaceNeedsNoGpu) {
  EXPECT_EQ(gemm_workspace_bytes(9), std::size_t{32} << 20);
  EXPECT_EQ(gemm_workspace_bytes(12), std::size_t{32} << 20);
  EXPECT_EQ(gemm_workspace_bytes(8), std::size_t{8} << 20);
}

}  // namespace
}  // namespace densetree::cuda
