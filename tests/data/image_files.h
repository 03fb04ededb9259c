// PNG and JPEG files of drawn pixels, and their bytes changed as faulty writers and disks do.
#pragma once

#include <png.h>
#include <stdio.h>
// libjpeg wants <stdio.h> before it
#include <jpeglib.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/image.h"
#include "kernels/core/philox.h"

namespace densetree::data {

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// What a PNG in a test holds: samples of any depth in file order, (height, width, channels).
struct Source {
  int width = 0, height = 0, depth = 8, colour = PNG_COLOR_TYPE_GRAY;
  bool interlaced = false, transparent = false;
  std::vector<std::uint16_t> samples;

  int channels() const {
    return colour == PNG_COLOR_TYPE_RGB          ? 3
           : colour == PNG_COLOR_TYPE_RGB_ALPHA  ? 4
           : colour == PNG_COLOR_TYPE_GRAY_ALPHA ? 2
                                                 : 1;
  }
};

inline Source noise(int width, int height, int depth, int colour) {
  Source source{.width = width, .height = height, .depth = depth, .colour = colour, .samples = {}};
  RandomStream random(3, RandomUse::kSynth);
  for (int i = 0; i < width * height * source.channels(); ++i) {
    source.samples.push_back(static_cast<std::uint16_t>(random.below(1u << depth)));
  }
  return source;
}

// Colour i of the palettes here.
inline png_color palette_colour(int i) {
  return {static_cast<png_byte>(i * 7), static_cast<png_byte>(255 - i), static_cast<png_byte>(i * 31)};
}

inline void set_extras(png_structp png, png_infop info, const Source& source) {
  if (source.colour == PNG_COLOR_TYPE_PALETTE) {
    png_color palette[256];
    for (int i = 0; i < 256; ++i) palette[i] = palette_colour(i);
    png_set_PLTE(png, info, palette, 1 << source.depth);
  }
  if (!source.transparent) return;
  png_byte alphas[2] = {0, 128};
  png_color_16 key{};
  const bool palette = source.colour == PNG_COLOR_TYPE_PALETTE;
  png_set_tRNS(png, info, palette ? alphas : nullptr, palette ? 2 : 0, palette ? nullptr : &key);
}

inline std::vector<png_byte> packed_row(const Source& source, int y) {
  const int samples = source.width * source.channels();
  std::vector<png_byte> row(static_cast<std::size_t>(samples) * 2);
  for (int i = 0; i < samples; ++i) {
    const unsigned value = source.samples[static_cast<std::size_t>(y * samples + i)];
    if (source.depth == 16) {
      row[static_cast<std::size_t>(2 * i)] = static_cast<png_byte>(value >> 8);
      row[static_cast<std::size_t>(2 * i + 1)] = static_cast<png_byte>(value);
    } else {
      const int at = i * source.depth;
      row[static_cast<std::size_t>(at / 8)] |= static_cast<png_byte>(value << (8 - source.depth - at % 8));
    }
  }
  return row;
}

inline std::string png_of(const Source& source) {
  std::string file;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  const auto append = [](png_structp p, png_bytep from, std::size_t bytes) {
    static_cast<std::string*>(png_get_io_ptr(p))->append(reinterpret_cast<const char*>(from), bytes);
  };
  png_set_write_fn(png, &file, append, nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(source.width), static_cast<png_uint_32>(source.height), source.depth,
               source.colour, source.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, 0, 0);
  set_extras(png, info, source);
  png_set_gAMA(png, info, 0.3);
  png_write_info(png, info);
  std::vector<std::vector<png_byte>> rows;
  std::vector<png_bytep> pointers;
  for (int y = 0; y < source.height; ++y) rows.push_back(packed_row(source, y));
  for (std::vector<png_byte>& row : rows) pointers.push_back(row.data());
  png_write_image(png, pointers.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return file;
}

// What decoding has to give, by the rules in image.h.
inline std::vector<std::uint8_t> expected(const Source& source) {
  const auto to_8_bits = [&](unsigned value) {
    return static_cast<unsigned>(std::lround(value * 255.0 / ((1 << source.depth) - 1)));
  };
  std::vector<std::uint8_t> pixels;
  const auto channels = static_cast<std::size_t>(source.channels());
  for (std::size_t i = 0; i < source.samples.size(); i += channels) {
    unsigned r = source.samples[i], g = r, b = r;
    if (source.colour == PNG_COLOR_TYPE_PALETTE) {
      const png_color colour = palette_colour(static_cast<int>(r));
      r = colour.red, g = colour.green, b = colour.blue;
    } else {
      if (channels >= 3) g = source.samples[i + 1], b = source.samples[i + 2];
      r = to_8_bits(r), g = to_8_bits(g), b = to_8_bits(b);
    }
    pixels.push_back(channels >= 3 || source.colour == PNG_COLOR_TYPE_PALETTE ? luminance(r, g, b)
                                                                              : static_cast<std::uint8_t>(r));
  }
  return pixels;
}

// Two or four bytes, the highest first.
inline std::string big_endian(std::uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i));
  return text;
}

inline std::uint32_t png_checksum(std::string_view text) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int k = 0; k < 8; ++k) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
  }
  return ~crc;
}

// A chunk of a PNG with its checksum, which `damage` changes.
inline std::string png_chunk(const std::string& name, const std::string& data, std::uint32_t damage = 0) {
  const auto bytes = static_cast<std::uint32_t>(data.size());
  return big_endian(bytes, 4) + name + data + big_endian(png_checksum(name + data) ^ damage, 4);
}

// Where a chunk begins, with its length; the first of that name.
inline std::size_t chunk_at(const std::string& png, const std::string& name) {
  return png.find(name) - 4;
}

using JpegSettings = std::function<void(jpeg_compress_struct&)>;

// (height, width, channels) samples to a JPEG.
inline std::string jpeg_of(int width, int height, int channels, J_COLOR_SPACE space,
                           const std::vector<std::uint8_t>& samples, const JpegSettings& set = {}) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &memory, &size);
  jpeg.image_width = static_cast<JDIMENSION>(width), jpeg.image_height = static_cast<JDIMENSION>(height);
  jpeg.input_components = channels, jpeg.in_color_space = space;
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, 100, TRUE);
  if (set) set(jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    auto* row = const_cast<JSAMPROW>(samples.data() + jpeg.next_scanline * static_cast<unsigned>(width * channels));
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  std::string file(reinterpret_cast<char*>(memory), size);
  jpeg_destroy_compress(&jpeg);
  free(memory);
  return file;
}

inline std::vector<std::uint8_t> ramp(int width, int height, int channels) {
  std::vector<std::uint8_t> samples;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) samples.push_back(static_cast<std::uint8_t>(x * 2 + y + c * 20));
    }
  }
  return samples;
}

// A segment of a JPEG. 0xE1 is APP1.
inline std::string jpeg_segment(unsigned marker, const std::string& data) {
  return std::string("\xFF") + static_cast<char>(marker) + big_endian(static_cast<std::uint32_t>(data.size() + 2), 2) +
         data;
}

// Where each marker of a JPEG stands, from the first segment on: restart markers, which belong to the data, left out.
inline std::vector<std::size_t> markers_of(const std::string& jpeg) {
  std::vector<std::size_t> markers;
  std::size_t at = 2;
  while (at + 1 < jpeg.size()) {
    const auto next = static_cast<unsigned char>(jpeg[at + 1]);
    if (jpeg[at] != '\xFF' || next == 0 || (next >= 0xD0 && next <= 0xD7)) {
      ++at;
      continue;
    }
    markers.push_back(at);
    if (next == 0xD9) break;
    at += 2 + (static_cast<unsigned char>(jpeg[at + 2]) << 8 | static_cast<unsigned char>(jpeg[at + 3]));
  }
  return markers;
}

}  // namespace densetree::data
