#include "data/decoding.h"

#include <new>

#include "kernels/core/error.h"

namespace densetree::data {

void check_declared_size(std::uint32_t width, std::uint32_t height, std::int64_t max_pixels,
                         const std::string& source) {
  check(width > 0 && height > 0, "{}: has {}x{} pixels; a picture needs at least 1x1", source, width, height);
  check(width <= kMaxImageSide && height <= kMaxImageSide, "{}: has {}x{} pixels; at most {}x{} are read", source,
        width, height, kMaxImageSide, kMaxImageSide);
  const std::int64_t pixels = std::int64_t{width} * height;
  check(pixels <= max_pixels, "{0}: has {1}x{2} pixels; at most {3} are read (--max-pixels {4} takes it)", source,
        width, height, max_pixels, pixels);
}

GreyImage blank_image(int width, int height, const std::string& source) {
  const std::size_t pixels = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  try {
    return {width, height, std::vector<std::uint8_t>(pixels)};
  } catch (const std::bad_alloc&) {
    fail("{}: no memory for its {}x{} pixels; {} bytes were asked for", source, width, height, pixels);
  }
}

}  // namespace densetree::data
