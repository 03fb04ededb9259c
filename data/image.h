// Grey images, the PNG and JPEG files they come from, and the PNG files that grey and coloured ones are written to.
//
// Whatever the file holds ends as 8-bit grey: colour by ITU-R 601 luminance in the integer arithmetic that PIL's
// convert('L') uses, so that a grey picture stored as RGBA gives exactly its grey values; alpha and transparency are
// ignored; 16-bit samples are divided by 257 and rounded; gamma and colour profiles are not applied. Where EXIF data
// (of JPEG, or PNG's eXIf) say how the picture was turned or mirrored, it is set upright.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/io/settings.h"

namespace densetree::data {

struct GreyImage {
  int width = 0, height = 0;
  std::vector<std::uint8_t> pixels;  // (height, width), rows from the top
};
struct RgbImage {  // sRGB, for pictures that are made to be looked at
  int width = 0, height = 0;
  std::vector<std::uint8_t> pixels;  // (height, width, 3)
};

// Larger headers are refused before anything is allocated. The default for pixels is five times what the largest
// detectors for chests have; decoding takes up to 8 bytes of memory for each pixel.
inline constexpr int kMaxImageSide = 16384;
inline constexpr std::int64_t kDefaultMaxPixels = 100'000'000;
inline constexpr Setting kMaxPixelsSetting{
    "max-pixels", "refuse image files of more pixels; each takes up to 8 bytes of memory while it is decoded",
    between(1, double{kMaxImageSide} * kMaxImageSide)};
inline constexpr std::uint64_t kMaxImageFileBytes = std::uint64_t{1} << 30;

// Each throws Error naming `source` and the fault: empty, cut short, too large, a checksum that does not match, no
// memory, another kind of file. Nothing is guessed and no half-read picture is returned; faults that leave the pixels
// whole are overlooked.
GreyImage decode_png(std::span<const std::byte> file, const std::string& source,
                     std::int64_t max_pixels = kDefaultMaxPixels);
GreyImage decode_jpeg(std::span<const std::byte> file, const std::string& source,
                      std::int64_t max_pixels = kDefaultMaxPixels);
GreyImage decode_image(std::span<const std::byte> file, const std::string& source,
                       std::int64_t max_pixels = kDefaultMaxPixels);  // by its first bytes
GreyImage decode_image(const std::filesystem::path& path,
                       std::int64_t max_pixels = kDefaultMaxPixels);  // by content, not by name

// A PNG of 8-bit samples, grey or RGB. level 0 … 9 is zlib's: 1 is fast, 9 small.
std::string encode_png(const GreyImage& image, int level = 6);
std::string encode_png(const RgbImage& image, int level = 6);
void write_png(const std::filesystem::path& path, const GreyImage& image, int level = 6);  // whole or not at all
void write_png(const std::filesystem::path& path, const RgbImage& image, int level = 6);

// Whether a PNG of RGB samples was written by write_png: it says so in its text.
bool is_written_here(const std::filesystem::path& png);

// ITU-R 601 luminance as PIL rounds it.
inline std::uint8_t luminance(std::uint32_t r, std::uint32_t g, std::uint32_t b) {
  return static_cast<std::uint8_t>((19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16);
}

}  // namespace densetree::data
