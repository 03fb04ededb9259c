#include "kernels/core/view.h"

#include "kernels/core/error.h"

namespace densetree {

std::size_t size_of(DType type) {
  switch (type) {
    case DType::kFloat32:
      return 4;
    case DType::kBFloat16:
      return 2;
    case DType::kUInt8:
      return 1;
  }
  fail("unknown data type {}", static_cast<int>(type));
}

std::string Shape::describe() const {
  return fmt::format("({}, {}, {}, {})", n, c, h, w);
}

View View::slice(std::int64_t begin, std::int64_t count) const {
  check(begin >= 0 && count > 0 && begin <= c && count <= c - begin,
        "{} channels from {} on are not within a view of {} channels", count, begin, c);
  View part = *this;
  part.first = (first + begin) % block;
  part.data =
      data == nullptr ? nullptr : static_cast<char*>(data) + (first + begin) / block * block_stride * size_of(dtype);
  part.c = count;
  part.whole = whole && begin == 0 && count == c;
  return part;
}

namespace {
std::int64_t block_of(Layout layout, std::int64_t channels) {
  switch (layout) {
    case Layout::kPlanar:
      return 1;
    case Layout::kInterleaved:
      return channels;
    case Layout::kBlocked8:
    case Layout::kSlabs8:
      return 8;
    case Layout::kBlocked16:
    case Layout::kSlabs16:
      return 16;
  }
  fail("unknown layout {}", static_cast<int>(layout));
}
}  // namespace

std::int64_t storage_elements(const Shape& shape, Layout layout) {
  const std::int64_t block = block_of(layout, shape.c);
  return shape.n * rounded_up(shape.c, block) * shape.pixels();
}

View make_view(void* data, const Shape& shape, Layout layout, DType dtype) {
  View view;
  view.data = data;
  view.dtype = dtype;
  view.layout = layout;
  view.n = shape.n, view.c = shape.c, view.h = shape.h, view.w = shape.w;
  view.block = block_of(layout, shape.c);
  view.pixel_stride = view.block;
  const std::int64_t blocks = quotient_up(shape.c, view.block);
  if (layout == Layout::kSlabs8 || layout == Layout::kSlabs16) {
    view.image_stride = shape.pixels() * view.block;
    view.block_stride = shape.n * view.image_stride;
  } else {
    view.block_stride = shape.pixels() * view.block;
    view.image_stride = blocks * view.block_stride;
  }
  return view;
}

}  // namespace densetree
