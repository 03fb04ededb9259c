// Stands in for cuBLASLt: as much of it as kernels/cuda/gemm.cc calls. Matrices are column-major, as there; products
// are plain loops that add up in fp64.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/cuda_emulation/library_numbers.h"

enum cublasStatus_t { CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_INVALID_VALUE = 7 };
enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_16BF = 14 };
enum cublasComputeType_t { CUBLAS_COMPUTE_32F = 68, CUBLAS_COMPUTE_32F_FAST_TF32 = 77 };
enum { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 };
enum cublasLtMatmulDescAttributes_t { CUBLASLT_MATMUL_DESC_TRANSA = 3, CUBLASLT_MATMUL_DESC_TRANSB = 4 };
enum cublasLtReductionScheme_t { CUBLASLT_REDUCTION_SCHEME_NONE = 0, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2 };
enum cublasLtMatmulAlgoConfigAttributes_t {
  CUBLASLT_ALGO_CONFIG_ID = 0,
  CUBLASLT_ALGO_CONFIG_TILE_ID = 1,
  CUBLASLT_ALGO_CONFIG_SPLITK_NUM = 2,
  CUBLASLT_ALGO_CONFIG_STAGES_ID = 6,
};
enum cublasLtMatmulPreferenceAttributes_t {
  CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
  CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK = 3,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8,
};

struct cublasLtContext {};
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType_t type;
  std::int64_t rows, columns, stride;
};
struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute;
  bool transpose_a = false, transpose_b = false;
};
struct cublasLtMatmulPreferenceOpaque_t {};
struct cublasLtMatmulAlgo_t {};
struct cublasLtMatmulHeuristicResult_t {
  cublasLtMatmulAlgo_t algo;
  std::size_t workspaceSize;
  cublasStatus_t state;
};
using cublasLtHandle_t = cublasLtContext*;
using cublasLtMatrixLayout_t = cublasLtMatrixLayoutOpaque_t*;
using cublasLtMatmulDesc_t = cublasLtMatmulDescOpaque_t*;
using cublasLtMatmulPreference_t = cublasLtMatmulPreferenceOpaque_t*;

inline std::size_t cublasLtGetVersion() {
  return 0;
}
inline const char* cublasLtGetStatusName(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_INVALID_VALUE";
}
inline const char* cublasLtGetStatusString(cublasStatus_t status) {
  return cublasLtGetStatusName(status);
}

// ---- Descriptions --------------------------------------------------------------------------------------------------
template <class T>
cublasStatus_t cublas_made(T** to, const T& value) {
  *to = new T(value);
  return CUBLAS_STATUS_SUCCESS;
}
template <class T>
cublasStatus_t cublas_destroyed(T* what) {
  delete what;
  return CUBLAS_STATUS_SUCCESS;
}

inline cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  return cublas_made(handle, {});
}
inline cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return cublas_destroyed(handle);
}
inline cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type,
                                                 std::uint64_t rows, std::uint64_t columns, std::int64_t stride) {
  return cublas_made(layout, {type, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns), stride});
}
inline cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return cublas_destroyed(layout);
}
inline cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* product, cublasComputeType_t compute,
                                               cudaDataType_t) {
  return cublas_made(product, {compute});
}
inline cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product) {
  return cublas_destroyed(product);
}
inline cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t name,
                                                     const void* value, std::size_t bytes) {
  std::int32_t operation = CUBLAS_OP_N;
  if (bytes != sizeof operation) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  std::memcpy(&operation, value, bytes);
  (name == CUBLASLT_MATMUL_DESC_TRANSA ? product->transpose_a : product->transpose_b) = operation == CUBLAS_OP_T;
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return cublas_made(preference, {});
}
inline cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return cublas_destroyed(preference);
}
// Every product here keeps all of them.
inline cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                           cublasLtMatmulPreferenceAttributes_t, const void*,
                                                           std::size_t) {
  return CUBLAS_STATUS_SUCCESS;
}

// ---- Products ------------------------------------------------------------------------------------------------------
inline constexpr std::size_t kCublasWorkspace = 4096;  // written by every product, so it has to be there

// Two algorithms, where as many are asked for.
inline cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                                     cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                                     cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int limit,
                                                     cublasLtMatmulHeuristicResult_t* results, int* count) {
  *count = std::min(limit, 2);
  std::fill_n(results, *count, cublasLtMatmulHeuristicResult_t{{}, kCublasWorkspace, CUBLAS_STATUS_SUCCESS});
  return CUBLAS_STATUS_SUCCESS;
}

inline cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t*,
                                                           cublasLtMatmulAlgoConfigAttributes_t, void* value,
                                                           std::size_t bytes, std::size_t* written) {
  std::memset(value, 0, *written = bytes);
  return CUBLAS_STATUS_SUCCESS;
}

// A matrix as op() presents it.
struct CublasOperand {
  cublasLtMatrixLayoutOpaque_t layout;
  bool transposed;
  densetree::emulation::Numbers numbers;

  CublasOperand(cublasLtMatrixLayout_t layout_, bool transposed_, const void* data)
      : layout(*layout_), transposed(transposed_), numbers{const_cast<void*>(data), layout.type == CUDA_R_16BF} {}

  std::int64_t rows() const { return transposed ? layout.columns : layout.rows; }
  std::int64_t columns() const { return transposed ? layout.rows : layout.columns; }
  std::int64_t index(std::int64_t row, std::int64_t column) const {
    return transposed ? row * layout.stride + column : column * layout.stride + row;
  }
};

// d = alpha·op(a)·op(b) + beta·c
inline cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t product, const void* alpha, const void* a,
                                     cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                                     const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                                     cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t*, void* workspace,
                                     std::size_t workspace_bytes, cudaStream_t stream) {
  const CublasOperand left(a_layout, product->transpose_a, a), right(b_layout, product->transpose_b, b);
  const CublasOperand before(c_layout, false, c), result(d_layout, false, d);
  if (left.columns() != right.rows() || result.rows() != left.rows() || result.columns() != right.columns() ||
      workspace_bytes < kCublasWorkspace) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const bool tf32 = product->compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  const double scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  densetree::emulation::enqueue(stream, [=] {
    std::memset(workspace, 0xFF, kCublasWorkspace);
    for (std::int64_t column = 0; column < result.columns(); ++column) {
      for (std::int64_t row = 0; row < result.rows(); ++row) {
        double sum = 0;
        for (std::int64_t k = 0; k < left.columns(); ++k) {
          sum += left.numbers.operand(left.index(row, k), tf32) * right.numbers.operand(right.index(k, column), tf32);
        }
        const double kept = keep == 0 ? 0 : keep * before.numbers.at(before.index(row, column));
        result.numbers.set(result.index(row, column), scale * sum + kept);
      }
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}
