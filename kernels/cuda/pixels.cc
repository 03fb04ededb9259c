#include "kernels/cuda/pixels.h"

#include "kernels/cuda/check.h"

namespace densetree::cuda {

Pixels pixels_of(const View& view, const char* operation) {
  require(view.dtype == DType::kFloat32 && view.layout == Layout::kInterleaved, operation,
          "CUDA works on interleaved fp32 views", {view});
  require(view.data && view.count() > 0 && view.c > 0, operation, "a view is empty", {view});
  require(view.count() < INT32_MAX, operation, "CUDA views hold fewer than 2^31 pixels; use a smaller batch", {view});
  require(view.first + view.c <= view.block && view.image_stride == view.pixels() * view.pixel_stride, operation,
          "images of a view must follow each other", {view});
  return {view.as<float>() + view.first, view.count(), view.c, view.pixel_stride};
}

bool allow_vectors(std::initializer_list<Pixels> views) {
  for (const Pixels& p : views) {
    if (reinterpret_cast<std::uintptr_t>(p.data) % 16 != 0 || p.channels % 4 != 0 || p.stride % 4 != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace densetree::cuda
