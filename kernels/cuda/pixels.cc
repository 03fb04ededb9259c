#include "kernels/cuda/pixels.h"

#include "kernels/cuda/check.h"

namespace densetree::cuda {

Pixels pixels_of(const View& view, std::string_view operation) {
  require((view.dtype == DType::kFloat32 || view.dtype == DType::kBFloat16) && view.layout == Layout::kInterleaved,
          operation, "CUDA works on interleaved fp32 or bf16 views", {view});
  require(view.data && view.count() > 0 && view.c > 0, operation, "a view is empty", {view});
  require(view.count() < INT32_MAX, operation, "CUDA views hold fewer than 2^31 pixels; use a smaller batch", {view});
  require(view.first + view.c <= view.block && view.image_stride == view.pixels() * view.pixel_stride, operation,
          "images of a view must follow each other", {view});
  auto* data = static_cast<std::byte*>(view.data) + static_cast<std::size_t>(view.first) * size_of(view.dtype);
  return {data, view.dtype, view.count(), view.c, view.pixel_stride};
}

void require_same_type(std::string_view operation, std::initializer_list<Pixels> views) {
  for (const Pixels& p : views) {
    require(p.type == views.begin()->type, operation, "all views must be fp32, or all bf16");
  }
}

bool allow_vectors(std::initializer_list<Pixels> views) {
  for (const Pixels& p : views) {
    const auto bytes = static_cast<std::int64_t>(size_of(p.type));
    if (reinterpret_cast<std::uintptr_t>(p.data) % 16 != 0 || p.channels * bytes % 16 != 0 ||
        p.stride * bytes % 16 != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace densetree::cuda
