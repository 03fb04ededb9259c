#include "kernels/cuda/gemm.h"

#include <span>

#include "kernels/core/error.h"

namespace densetree::cuda {
namespace {

constexpr std::uint32_t kAlignment = 16;  // bytes: what Device::allocate and the planner keep for every buffer
constexpr std::size_t kMiB = std::size_t{1} << 20;

cudaDataType_t type_of(DType type) {
  return type == DType::kBFloat16 ? CUDA_R_16BF : CUDA_R_32F;
}

struct DestroyPreference {
  void operator()(cublasLtMatmulPreferenceOpaque_t* preference) const { cublasLtMatmulPreferenceDestroy(preference); }
};
using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, DestroyPreference>;

template <class T>
void set(const Preference& preference, cublasLtMatmulPreferenceAttributes_t name, T value) {
  check_cublas(cublasLtMatmulPreferenceSetAttribute(preference.get(), name, &value, sizeof value),
               fmt::format("setting cuBLASLt preference {}", static_cast<int>(name)));
}

// What algorithms must keep to: the memory there is, and a fixed order of sums. Partial sums are kept in fp32 and added
// in a separate step; adding them in place would depend on who comes first.
Preference preference_for(std::size_t workspace_bytes) {
  cublasLtMatmulPreference_t raw = nullptr;
  check_cublas(cublasLtMatmulPreferenceCreate(&raw), "creating a cuBLASLt preference");
  Preference preference(raw);
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{workspace_bytes});
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  for (const cublasLtMatmulPreferenceAttributes_t name :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set(preference, name, kAlignment);
  }
  return preference;
}

bool is_sound(const Matrix& matrix) {
  return (matrix.type == DType::kFloat32 || matrix.type == DType::kBFloat16) && matrix.rows > 0 && matrix.columns > 0 &&
         matrix.stride >= matrix.columns && matrix.rows < INT32_MAX && matrix.stride < INT32_MAX;
}

}  // namespace

void check_cublas(cublasStatus_t status, const std::string& what) {
  check(status == CUBLAS_STATUS_SUCCESS, "{}: cuBLASLt says {} ({})", what, cublasLtGetStatusString(status),
        cublasLtGetStatusName(status));
}

std::string GemmShape::describe() const {
  const auto text = [](const Matrix& matrix, bool transpose) {
    return fmt::format("({}, {}){} {}", matrix.rows, matrix.columns, transpose ? "ᵀ" : "",
                       densetree::name_of(matrix.type));
  };
  return fmt::format("product {} = {} · {}{}", text(c, false), text(a, transpose_a), text(b, transpose_b),
                     tensor_float32 ? " in tf32" : "");
}

void GemmShape::validate() const {
  check(is_sound(a) && is_sound(b) && is_sound(c),
        "{}: matrices are fp32 or bf16, have rows and columns, no row overlaps the next, and sizes are below 2^31",
        *this);
  check(a.type == b.type && (a.type == DType::kFloat32 || !tensor_float32),
        "{}: the operands have one type, and only fp32 is rounded to tf32", *this);
  check((transpose_a ? a.columns : a.rows) == m() && (transpose_b ? b.rows : b.columns) == n() &&
            (transpose_b ? b.columns : b.rows) == k(),
        "{}: the sizes do not fit each other", *this);
}

std::size_t gemm_workspace_bytes(int compute_capability_major) {
  return (compute_capability_major >= 9 ? 32 : 8) * kMiB;
}

GemmDescription::Layout GemmDescription::layout_of(const Matrix& matrix) {
  cublasLtMatrixLayout_t raw = nullptr;
  check_cublas(cublasLtMatrixLayoutCreate(&raw, type_of(matrix.type), static_cast<std::uint64_t>(matrix.columns),
                                          static_cast<std::uint64_t>(matrix.rows), matrix.stride),
               "describing a matrix to cuBLASLt");
  return Layout(raw);
}

GemmDescription::GemmDescription(const GemmShape& shape) {
  shape.validate();
  first_ = layout_of(shape.b);
  second_ = layout_of(shape.a);
  result_ = layout_of(shape.c);
  cublasLtMatmulDesc_t raw = nullptr;
  check_cublas(cublasLtMatmulDescCreate(&raw, shape.tensor_float32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                                        CUDA_R_32F),
               "describing a product to cuBLASLt");
  operation_.reset(raw);
  const auto transpose = [&](cublasLtMatmulDescAttributes_t name, bool value) {
    const std::int32_t operation = value ? CUBLAS_OP_T : CUBLAS_OP_N;
    check_cublas(cublasLtMatmulDescSetAttribute(raw, name, &operation, sizeof operation),
                 "setting a transposition of cuBLASLt");
  };
  transpose(CUBLASLT_MATMUL_DESC_TRANSA, shape.transpose_b);
  transpose(CUBLASLT_MATMUL_DESC_TRANSB, shape.transpose_a);
}

std::string Gemm::name() const {
  std::string text;
  for (const auto& [attribute, what] : {std::pair{CUBLASLT_ALGO_CONFIG_ID, "algorithm"},
                                        {CUBLASLT_ALGO_CONFIG_TILE_ID, "tile"},
                                        {CUBLASLT_ALGO_CONFIG_STAGES_ID, "stages"},
                                        {CUBLASLT_ALGO_CONFIG_SPLITK_NUM, "split"}}) {
    std::int32_t value = 0;
    std::size_t written = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoConfigGetAttribute(&algorithms_[taken_], attribute, &value, sizeof value, &written);
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", what,
                        status == CUBLAS_STATUS_SUCCESS ? std::to_string(value) : "unknown");
  }
  return text;
}

Gemm::Gemm(cublasLtHandle_t handle, int device, const GemmShape& shape, std::size_t workspace_bytes, std::size_t limit)
    : what_(fmt::format("{} on cuda:{}", shape, device)), description_(shape), workspace_bytes_(workspace_bytes) {
  const Preference preference = preference_for(workspace_bytes);
  std::vector<cublasLtMatmulHeuristicResult_t> results(limit);
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle, description_.operation(), description_.first(), description_.second(), description_.result(),
      description_.result(), preference.get(), static_cast<int>(limit), results.data(), &count);
  check_cublas(status, what_);
  for (const cublasLtMatmulHeuristicResult_t& result : std::span(results).first(static_cast<std::size_t>(count))) {
    if (result.state == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= workspace_bytes) {
      algorithms_.push_back(result.algo);
    }
  }
  check(!algorithms_.empty(), "{}: cuBLASLt {} has no deterministic algorithm for it on this GPU", what_,
        cublasLtGetVersion());
}

void Gemm::run(cublasLtHandle_t handle, cudaStream_t stream, float alpha, const void* a, const void* b, GradMode mode,
               void* c, void* workspace) const {
  const float beta = mode == GradMode::kAccumulate ? 1.0f : 0.0f;
  check_cublas(cublasLtMatmul(handle, description_.operation(), &alpha, b, description_.first(), a,
                              description_.second(), &beta, c, description_.result(), c, description_.result(),
                              &algorithms_[taken_], workspace, workspace_bytes_, stream),
               what_);
}

}  // namespace densetree::cuda
