#include "data/resize.h"

#include <algorithm>

#include "kernels/core/error.h"
#include "kernels/core/integer.h"

namespace densetree::data {
namespace {

// The source pixels [first, last) that an output pixel overlaps along one axis, and by how much, in units of 1/size
// source pixels: `head` the first, `tail` the last, those between by `size`. One alone counts as head, tail is 0 then.
struct Span {
  std::size_t first = 0, last = 0;
  std::uint32_t head = 0, tail = 0;
};

// `length` source pixels centred on `side`, seen by `size` output pixels: source pixel j covers
// [(offset + j)·size, +size) and output pixel i covers [i·side, +side).
std::vector<Span> spans(std::int64_t length, std::int64_t side, std::int64_t size) {
  const std::int64_t offset = (side - length) / 2;
  const auto overlap = [&](std::int64_t i, std::int64_t j) {
    const std::int64_t begin = std::max((offset + j) * size, i * side);
    return static_cast<std::uint32_t>(std::min((offset + j + 1) * size, (i + 1) * side) - begin);
  };
  std::vector<Span> all(static_cast<std::size_t>(size));
  for (std::int64_t i = 0; i < size; ++i) {
    const std::int64_t first = std::clamp<std::int64_t>(i * side / size - offset, 0, length);
    const std::int64_t last = std::clamp<std::int64_t>(quotient_up((i + 1) * side, size) - offset, 0, length);
    Span& span = all[static_cast<std::size_t>(i)];
    span.first = static_cast<std::size_t>(first), span.last = static_cast<std::size_t>(last);
    if (first < last) span.head = overlap(i, first);
    if (first + 1 < last) span.tail = overlap(i, last - 1);
  }
  return all;
}

// sums[x] += weight·row[x]
void accumulate(const std::uint8_t* row, std::uint32_t weight, std::size_t width, std::uint32_t* sums) {
  for (std::size_t x = 0; x < width; ++x) sums[x] += weight * row[x];
}

// Weighted sums of the rows of a span. At most side·255 each, which 32 bits hold.
void sum_rows(const GreyImage& image, const Span& rows, std::uint32_t size, std::vector<std::uint32_t>& sums) {
  const auto width = static_cast<std::size_t>(image.width);
  std::fill(sums.begin(), sums.end(), 0u);
  for (std::size_t y = rows.first; y < rows.last; ++y) {
    const std::uint32_t weight = y == rows.first ? rows.head : y + 1 == rows.last ? rows.tail : size;
    accumulate(image.pixels.data() + y * width, weight, width, sums.data());
  }
}

// The weighted sum of a span of such sums.
std::uint64_t sum_span(const std::uint32_t* sums, const Span& span, std::uint64_t size) {
  if (span.first == span.last) return 0;
  std::uint64_t between = 0;
  for (std::size_t x = span.first + 1; x + 1 < span.last; ++x) between += sums[x];
  return between * size + std::uint64_t{span.head} * sums[span.first] + std::uint64_t{span.tail} * sums[span.last - 1];
}

// Exact rounded division for quotients up to 255: the product with the reciprocal is off by one at most.
class Divider {
 public:
  explicit Divider(std::int64_t area) : area_(area), reciprocal_(1.0 / static_cast<double>(area)) {}
  std::uint8_t rounded(std::uint64_t sum) const {
    const std::int64_t numerator = static_cast<std::int64_t>(sum) + area_ / 2;
    const auto guess = static_cast<std::int64_t>(static_cast<double>(numerator) * reciprocal_);
    const std::int64_t rest = numerator - guess * area_;
    return static_cast<std::uint8_t>(guess + (rest >= area_) - (rest < 0));
  }

 private:
  std::int64_t area_;
  double reciprocal_;
};

}  // namespace

void resize_area(const GreyImage& image, int size, std::span<std::uint8_t> out) {
  check(image.width > 0 && image.height > 0, "cannot resize an image of {}x{} pixels", image.width, image.height);
  check(size > 0 && size <= kMaxImageSide, "image size is {}; it must be 1 to {}", size, kMaxImageSide);
  check(out.size() == static_cast<std::size_t>(size) * static_cast<std::size_t>(size),
        "resize to {0}x{0} got room for {1} bytes", size, out.size());
  const std::int64_t side = std::max(image.width, image.height);
  const std::vector<Span> across = spans(image.width, side, size);
  const Divider divider(side * side);
  const auto weight = static_cast<std::uint32_t>(size);
  std::vector<std::uint32_t> sums(static_cast<std::size_t>(image.width));
  std::uint8_t* to = out.data();
  for (const Span& rows : spans(image.height, side, size)) {
    sum_rows(image, rows, weight, sums);
    for (const Span& columns : across) *to++ = divider.rounded(sum_span(sums.data(), columns, weight));
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
