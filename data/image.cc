#include "data/image.h"

#include <algorithm>
#include <cstring>

#include "engine/io/file.h"
#include "kernels/core/error.h"

namespace densetree::data {
namespace {

bool starts_with(std::span<const std::byte> file, std::string_view signature) {
  return file.size() >= signature.size() && std::memcmp(file.data(), signature.data(), signature.size()) == 0;
}

}  // namespace

GreyImage decode_image(std::span<const std::byte> file, const std::string& source, std::int64_t max_pixels) {
  check(!file.empty(), "{}: is empty; it must be a PNG or JPEG file", source);
  if (starts_with(file, "\x89PNG")) return decode_png(file, source, max_pixels);
  if (starts_with(file, "\xFF\xD8")) return decode_jpeg(file, source, max_pixels);
  std::string first;
  for (const std::byte byte : file.first(std::min<std::size_t>(file.size(), 8))) {
    first += fmt::format(" {:02x}", static_cast<unsigned>(byte));
  }
  fail("{}: is neither a PNG nor a JPEG file (it starts with{})", source, first);
}

GreyImage decode_image(const std::filesystem::path& path, std::int64_t max_pixels) {
  const std::string file = read_file(path, kMaxImageFileBytes);
  return decode_image(std::as_bytes(std::span(file)), path.string(), max_pixels);
}

void write_png(const std::filesystem::path& path, const GreyImage& image, int level) {
  write_file(path, encode_png(image, level));
}

void write_png(const std::filesystem::path& path, const RgbImage& image, int level) {
  write_file(path, encode_png(image, level));
}

}  // namespace densetree::data
