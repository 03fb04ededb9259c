// Matrix products through cuBLASLt.
//
// Matrices are row-major. cuBLASLt takes columns first, as BLAS does, and reads a row-major matrix as its transpose; so
// it is given Cᵀ = op(B)ᵀ·op(A)ᵀ: the operands change places, and each keeps its transposition.
//
// Sums are fp32. Partial sums of a product that is cut along k are added in a fixed order, so the same product gives
// the same bits every time.
#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace densetree::cuda {

// Throws Error "<what>: cuBLASLt says …" unless status is success.
void check_cublas(cublasStatus_t status, const std::string& what);

// A matrix as it lies in memory.
struct Matrix {
  DType type = DType::kFloat32;  // or bf16
  std::int64_t rows = 0, columns = 0;
  std::int64_t stride = 0;  // elements from one row to the next
};

// C (m, n) = op(A) (m, k) · op(B) (k, n). A and B are both fp32 or both bf16.
struct GemmShape {
  Matrix a, b, c;
  bool transpose_a = false, transpose_b = false;
  bool tensor_float32 = false;  // fp32 operands may be rounded to TF32

  std::int64_t m() const { return c.rows; }
  std::int64_t n() const { return c.columns; }
  std::int64_t k() const { return transpose_a ? a.rows : a.columns; }
  void validate() const;         // throws Error
  std::string describe() const;  // "product (64, 32) = (64, 128) bf16 · (32, 128)ᵀ bf16 in fp32"
};

// Workspace of one product: what NVIDIA recommends for Hopper and later, and twice that for earlier GPUs. Fixed, so
// that memory can be planned without a GPU.
std::size_t gemm_workspace_bytes(int compute_capability_major);

// What cuBLASLt is told of a product. Needs no GPU.
class GemmDescription {
 public:
  explicit GemmDescription(const GemmShape& shape);

  cublasLtMatmulDesc_t operation() const { return operation_.get(); }
  // In cuBLASLt's order: its first operand is B.
  cublasLtMatrixLayout_t first() const { return first_.get(); }
  cublasLtMatrixLayout_t second() const { return second_.get(); }
  cublasLtMatrixLayout_t result() const { return result_.get(); }

 private:
  struct Destroy {
    void operator()(cublasLtMatmulDescOpaque_t* operation) const { cublasLtMatmulDescDestroy(operation); }
    void operator()(cublasLtMatrixLayoutOpaque_t* layout) const { cublasLtMatrixLayoutDestroy(layout); }
  };
  using Layout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroy>;
  static Layout layout_of(const Matrix& matrix);

  std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroy> operation_;
  Layout first_, second_, result_;
};

// One product, ready to run. Operands begin on 16-byte boundaries.
class Gemm {
 public:
  // `device` is the number of the GPU that the handle was made on, for messages. Asks cuBLASLt for up to `limit`
  // algorithms that need no more than `workspace_bytes`; the first, presumably the fastest, is taken. Throws Error
  // where there is none.
  Gemm(cublasLtHandle_t handle, int device, const GemmShape& shape, std::size_t workspace_bytes, std::size_t limit = 1);

  std::size_t algorithms() const { return algorithms_.size(); }
  void take(std::size_t algorithm) { taken_ = algorithm; }
  std::string name() const;  // of the algorithm taken: "algorithm 21, tile 20, stages 4, split 1"
  // c = alpha·op(a)·op(b), or c += … . The workspace begins on a 256-byte boundary.
  void run(cublasLtHandle_t handle, cudaStream_t stream, float alpha, const void* a, const void* b, GradMode mode,
           void* c, void* workspace) const;

 private:
  std::string what_;
  GemmDescription description_;
  std::size_t workspace_bytes_;
  std::vector<cublasLtMatmulAlgo_t> algorithms_;
  std::size_t taken_ = 0;
};

}  // namespace densetree::cuda
