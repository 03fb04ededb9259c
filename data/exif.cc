#include "data/exif.h"

#include <cstdint>
#include <optional>
#include <utility>

#include "data/decoding.h"

namespace densetree::data {
namespace {

constexpr int kUpright = 1;

// Numbers of a TIFF file, in its byte order.
class Tiff {
 public:
  explicit Tiff(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool has_header() {
    if (bytes_.size() < 2 || bytes_[0] != bytes_[1]) return false;
    little_endian_ = bytes_[0] == std::byte{'I'};
    return (little_endian_ || bytes_[0] == std::byte{'M'}) && number(2, 2) == 42;
  }

  // None where the data end before it.
  std::optional<std::uint32_t> number(std::size_t at, std::size_t bytes) const {
    if (at > bytes_.size() || bytes > bytes_.size() - at) return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) {
      value = value << 8 | std::to_integer<std::uint32_t>(bytes_[at + (little_endian_ ? bytes - 1 - i : i)]);
    }
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
  bool little_endian_ = false;
};

}  // namespace

int exif_orientation(std::span<const std::byte> exif) {
  constexpr std::size_t kEntryBytes = 12;  // tag, type, count, value: 2 + 2 + 4 + 4
  constexpr std::uint32_t kOrientation = 0x0112, kShort = 3, kLong = 4;
  Tiff tiff(exif);
  if (!tiff.has_header()) return kUpright;
  const std::size_t directory = tiff.number(4, 4).value_or(0);
  const std::uint32_t entries = tiff.number(directory, 2).value_or(0);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * kEntryBytes;
    const std::optional<std::uint32_t> tag = tiff.number(entry, 2), type = tiff.number(entry + 2, 2);
    if (!tag) break;
    if (tag != kOrientation) continue;
    if ((type != kShort && type != kLong) || tiff.number(entry + 4, 4) != 1u) break;
    const std::uint32_t value = tiff.number(entry + 8, type == kShort ? 2 : 4).value_or(kUpright);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : kUpright;
  }
  return kUpright;
}

GreyImage upright(GreyImage image, int orientation, const std::string& source) {
  if (orientation == kUpright) return image;
  // Where the first stored row lies in the upright picture, and where its first pixel: 2 top right, 3 bottom right,
  // 4 bottom left, 5 left top, 6 right top, 7 right bottom, 8 left bottom.
  const bool turned = orientation >= 5;
  const bool from_last_row = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool from_last_column = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const std::ptrdiff_t width = image.width, height = image.height;
  const std::ptrdiff_t next_row = from_last_row ? -width : width, next_column = from_last_column ? -1 : 1;
  const std::ptrdiff_t down = turned ? next_column : next_row, across = turned ? next_row : next_column;
  GreyImage out = blank_image(turned ? image.height : image.width, turned ? image.width : image.height, source);
  std::ptrdiff_t row = (from_last_row ? (height - 1) * width : 0) + (from_last_column ? width - 1 : 0);
  std::uint8_t* to = out.pixels.data();
  for (int y = 0; y < out.height; ++y, row += down) {
    std::ptrdiff_t from = row;
    for (int x = 0; x < out.width; ++x, from += across) *to++ = image.pixels[static_cast<std::size_t>(from)];
  }
  return out;
}

}  // namespace densetree::data
