#include "kernels/cuda/pixels.h"

#include "kernels/cuda/check.h"

namespace densetree::cuda {

Pixels pixels_of(const View& view, std::string_view operation) {
  require(view.layout == Layout::kInterleaved, operation, "CUDA works on interleaved views", {view});
  require(view.data, operation, "a view has no memory", {view});
  require(view.first + view.c <= view.block && view.image_stride == view.pixels() * view.pixel_stride, operation,
          "images of a view must follow each other", {view});
  auto* data = static_cast<std::byte*>(view.data) + static_cast<std::size_t>(view.first) * size_of(view.dtype);
  return {data, view.dtype, view.count(), view.c, view.pixel_stride};
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
