// Images on their way to a network.
#include "data/image.h"

#include "c_api/handles.h"
#include "data/resize.h"

using namespace densetree;
using namespace densetree::c_api;

namespace {

std::span<std::uint8_t> square(std::int64_t side, uint8_t* pixels, size_t pixels_size) {
  require(side >= 1 && side <= data::kMaxImageSide, "side is {}; use 1 to {}", side, data::kMaxImageSide);
  return buffer(pixels, pixels_size, static_cast<std::size_t>(side * side), "pixels", Size::kAtLeast);
}

}  // namespace

densetree_status* densetree_image_read(const char* file, int64_t side, uint8_t* pixels, size_t pixels_size) {
  return guarded(DENSETREE_FAILED, [&] {
    at(file, "file");
    const std::span<std::uint8_t> to = square(side, pixels, pixels_size);
    data::resize_area(data::decode_image(std::filesystem::path(file)), static_cast<int>(side), to);
  });
}

densetree_status* densetree_image_resize(const uint8_t* from, size_t from_size, int64_t width, int64_t height,
                                         int64_t side, uint8_t* pixels, size_t pixels_size) {
  return guarded(DENSETREE_FAILED, [&] {
    for (const auto& [value, name] : {std::pair(width, "width"), std::pair(height, "height")}) {
      require(value >= 1 && value <= data::kMaxImageSide, "{} is {}; use 1 to {}", name, value, data::kMaxImageSide);
    }
    const std::span<const std::uint8_t> given =
        buffer(from, from_size, static_cast<std::size_t>(width * height), "from", Size::kExactly);
    const std::span<std::uint8_t> to = square(side, pixels, pixels_size);
    data::resize_area({static_cast<int>(width), static_cast<int>(height), {given.begin(), given.end()}},
                      static_cast<int>(side), to);
  });
}
