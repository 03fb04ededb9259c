#include "engine/data/resize.h"

#include "kernels/core/error.h"

namespace densetree::data {
namespace {

// One axis of a picture of `length` pixels centred on a side of `side`, seen by `size` output pixels. In units of
// 1/size source pixels source pixel j covers [(offset + j)·size, +size) and output pixel i covers [i·side, +side).
struct Axis {
  std::int64_t length, offset, side, size;

  // The source pixels that output i overlaps: [first, last), maybe none.
  std::int64_t first(std::int64_t i) const { return std::clamp<std::int64_t>(i * side / size - offset, 0, length); }
  std::int64_t last(std::int64_t i) const {
    return std::clamp<std::int64_t>(((i + 1) * side + size - 1) / size - offset, 0, length);
  }
  std::uint32_t overlap(std::int64_t i, std::int64_t j) const {
    const std::int64_t begin = std::max((offset + j) * size, i * side);
    const std::int64_t end = std::min((offset + j + 1) * size, (i + 1) * side);
    return static_cast<std::uint32_t>(end - begin);
  }
};

// sums[x] += weight·row[x]. At most side·255 altogether, which 32 bits hold.
void accumulate(const std::uint8_t* row, std::uint32_t weight, std::size_t width, std::uint32_t* sums) {
  for (std::size_t x = 0; x < width; ++x) sums[x] += weight * row[x];
}

}  // namespace

void resize_area(const GreyImage& image, int size, std::span<std::uint8_t> out) {
  check(image.width > 0 && image.height > 0, "cannot resize an image of {}x{} pixels", image.width, image.height);
  check(size > 0 && size <= kMaxImageSide, "image size is {}; it must be 1 to {}", size, kMaxImageSide);
  check(out.size() == static_cast<std::size_t>(size) * static_cast<std::size_t>(size),
        "resize to {0}x{0} got room for {1} bytes", size, out.size());
  const std::int64_t side = std::max(image.width, image.height);
  const Axis across{image.width, (side - image.width) / 2, side, size};
  const Axis down{image.height, (side - image.height) / 2, side, size};
  const auto width = static_cast<std::size_t>(image.width);
  const auto area = static_cast<std::uint64_t>(side) * static_cast<std::uint64_t>(side);

  std::vector<std::uint32_t> sums(width);
  std::uint8_t* to = out.data();
  for (std::int64_t i = 0; i < size; ++i) {
    std::fill(sums.begin(), sums.end(), 0u);
    for (std::int64_t y = down.first(i), end = down.last(i); y < end; ++y) {
      accumulate(image.pixels.data() + static_cast<std::size_t>(y) * width, down.overlap(i, y), width, sums.data());
    }
    for (std::int64_t k = 0; k < size; ++k) {
      const std::int64_t first = across.first(k), last = across.last(k);
      std::uint64_t sum = 0;
      if (first < last) {  // whole pixels between the two at the ends
        for (std::int64_t x = first + 1; x < last - 1; ++x) sum += sums[static_cast<std::size_t>(x)];
        sum *= static_cast<std::uint64_t>(size);
        sum += std::uint64_t{across.overlap(k, first)} * sums[static_cast<std::size_t>(first)];
        if (last - first > 1) {
          sum += std::uint64_t{across.overlap(k, last - 1)} * sums[static_cast<std::size_t>(last - 1)];
        }
      }
      *to++ = static_cast<std::uint8_t>((sum + area / 2) / area);
    }
  }
}

GreyImage resize_area(const GreyImage& image, int size) {
  check(size > 0 && size <= kMaxImageSide, "image size is {}; it must be 1 to {}", size, kMaxImageSide);
  GreyImage out{size, size, {}};
  out.pixels.resize(static_cast<std::size_t>(size) * static_cast<std::size_t>(size));
  resize_area(image, size, out.pixels);
  return out;
}

}  // namespace densetree::data
