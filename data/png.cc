// PNG through libpng's normal interface.
//
// libpng reports errors by longjmp, which must not cross a C++ object with a destructor. So all of those live in the
// callers of `attempt`, and the steps it runs touch plain pointers and numbers only.
#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "data/decoding.h"
#include "data/exif.h"
#include "data/image.h"
#include "kernels/core/error.h"

namespace densetree::data {
namespace {

struct Messages {
  char text[200] = "";
  std::size_t refused_bytes = 0;  // that there was no memory for
};

void on_error(png_structp png, png_const_charp text) {
  auto* messages = static_cast<Messages*>(png_get_error_ptr(png));
  std::snprintf(messages->text, sizeof messages->text, "%s", text);
  png_longjmp(png, 1);
}
void on_warning(png_structp, png_const_charp) {}  // of ancillary chunks, which are not used

png_voidp on_malloc(png_structp png, png_alloc_size_t bytes) {
  void* memory = std::malloc(bytes);
  if (memory == nullptr) static_cast<Messages*>(png_get_mem_ptr(png))->refused_bytes = bytes;
  return memory;
}
void on_free(png_structp, png_voidp memory) {
  std::free(memory);
}

// Everything the reading steps need.
struct Reading {
  Messages messages;
  png_structp png = nullptr;
  png_infop info = nullptr;
  const png_byte* next = nullptr;
  std::size_t left = 0;

  int width = 0, height = 0, passes = 1;
  int colours = 0, bad_colour = -1;  // of the palette; a pixel's that it does not have
  png_byte palette[256] = {};        // grey
  int orientation = 1;
  png_byte* grey = nullptr;  // (height, width)

  ~Reading() { png_destroy_read_struct(&png, &info, nullptr); }
};

void on_read(png_structp png, png_bytep to, std::size_t bytes) {
  auto* reading = static_cast<Reading*>(png_get_io_ptr(png));
  if (bytes > reading->left) png_error(png, "it is cut short");
  std::memcpy(to, reading->next, bytes);
  reading->next += bytes, reading->left -= bytes;
}

template <class State>
bool attempt(State& state, void (*step)(State&)) {
  if (setjmp(png_jmpbuf(state.png)) != 0) return false;
  step(state);
  return true;
}

// Makes a row of several channels, or of places in the palette, grey.
void to_grey(png_structp png, png_row_infop row, png_bytep data) {
  auto* reading = static_cast<Reading*>(png_get_user_transform_ptr(png));
  const std::size_t width = row->width, channels = row->channels;
  if (reading->colours > 0) {
    for (std::size_t x = 0; x < width; ++x) {
      if (data[x] >= reading->colours) {
        reading->bad_colour = data[x];
        png_error(png, "no such colour");
      }
      data[x] = reading->palette[data[x]];
    }
  } else if (channels == 2) {
    for (std::size_t x = 0; x < width; ++x) data[x] = data[x * 2];
  } else {
    for (std::size_t x = 0; x < width; ++x) {
      data[x] = luminance(data[x * channels], data[x * channels + 1], data[x * channels + 2]);
    }
  }
}

// Of what is not critical only eXIf is read, and faults there and in what is skipped do no harm.
void ignore_ancillary(png_structp png) {
  constexpr int kAllKnown = -1;  // but tRNS
  png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_WARN_DISCARD);
  png_set_benign_errors(png, 1);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, kAllKnown);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, reinterpret_cast<png_const_bytep>("tRNS"), 1);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_AS_DEFAULT, reinterpret_cast<png_const_bytep>("eXIf"), 1);
}

void read_palette(Reading& r) {
  png_colorp colours = nullptr;
  png_get_PLTE(r.png, r.info, &colours, &r.colours);
  for (int i = 0; i < r.colours; ++i) r.palette[i] = luminance(colours[i].red, colours[i].green, colours[i].blue);
}

// Up to the first pixel: every kind of PNG is asked for as 8-bit grey, transparency not unfolded.
void read_header(Reading& r) {
  png_set_user_limits(r.png, kMaxImageSide, kMaxImageSide);
  ignore_ancillary(r.png);
#ifdef PNG_IGNORE_ADLER32  // libpng 1.6.48 has it no more
  // The checksum of each chunk covers the data already; zlib's own on top would cost 4 % of the time.
  png_set_option(r.png, PNG_IGNORE_ADLER32, PNG_OPTION_ON);
#endif
  png_set_read_fn(r.png, &r, on_read);
  png_read_info(r.png, r.info);
  const int colour = png_get_color_type(r.png, r.info), depth = png_get_bit_depth(r.png, r.info);
  if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(r.png);
  if (depth == 16) png_set_scale_16(r.png);
  if (colour == PNG_COLOR_TYPE_PALETTE) {
    read_palette(r);
    png_set_packing(r.png);
  }
  if (colour != PNG_COLOR_TYPE_GRAY) {
    png_set_read_user_transform_fn(r.png, to_grey);
    png_set_user_transform_info(r.png, &r, 8, 1);
  }
  r.passes = png_set_interlace_handling(r.png);
  png_read_update_info(r.png, r.info);
  r.width = static_cast<int>(png_get_image_width(r.png, r.info));
  r.height = static_cast<int>(png_get_image_height(r.png, r.info));
}

void read_pixels(Reading& r) {
  for (int pass = 0; pass < r.passes; ++pass) {
    for (std::size_t y = 0; y < static_cast<std::size_t>(r.height); ++y) {
      png_read_row(r.png, r.grey + y * static_cast<std::size_t>(r.width), nullptr);
    }
  }
  png_read_end(r.png, r.info);
  png_uint_32 bytes = 0;
  png_bytep exif = nullptr;
  if (png_get_eXIf_1(r.png, r.info, &bytes, &exif) != 0) {
    r.orientation = exif_orientation(std::as_bytes(std::span(exif, bytes)));
  }
}

std::uint32_t big_endian(const std::byte* at) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | std::to_integer<std::uint32_t>(at[i]);
  return value;
}

// What libpng would say less plainly, or only after memory was taken: deflate packs at most 1032 to 1.
void check_size(std::span<const std::byte> file, const std::string& source, std::int64_t max_pixels) {
  check(file.size() >= 33 && std::memcmp(file.data() + 12, "IHDR", 4) == 0,
        "{}: is no whole PNG file: its header is cut short", source);
  const std::uint32_t width = big_endian(file.data() + 16), height = big_endian(file.data() + 20);
  check_declared_size(width, height, max_pixels, source);
  const auto bits = std::to_integer<std::uint64_t>(file[24]);
  check(file.size() * 1032 >= std::uint64_t{width} * bits / 8 * height,
        "{}: is cut short: {} bytes cannot hold {}x{} pixels", source, file.size(), width, height);
}

[[noreturn]] void fail_reading(const Reading& r, const std::string& source) {
  check(r.messages.refused_bytes == 0, "{}: no memory: libpng asked for {} bytes", source, r.messages.refused_bytes);
  check(r.bad_colour < 0, "{}: a pixel has colour {} of the palette, which has {} (0 to {})", source, r.bad_colour,
        r.colours, r.colours - 1);
  fail("{}: is no whole PNG file: {}", source, r.messages.text);
}

}  // namespace

GreyImage decode_png(std::span<const std::byte> file, const std::string& source, std::int64_t max_pixels) {
  check(!file.empty(), "{}: is empty; it must be a PNG file", source);
  check(png_sig_cmp(reinterpret_cast<png_const_bytep>(file.data()), 0, std::min<std::size_t>(file.size(), 8)) == 0,
        "{}: is not a PNG file", source);
  check_size(file, source, max_pixels);
  Reading reading;
  reading.next = reinterpret_cast<const png_byte*>(file.data()), reading.left = file.size();
  reading.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &reading.messages, on_error, on_warning,
                                         &reading.messages, on_malloc, on_free);
  if (reading.png == nullptr) fail_reading(reading, source);
  reading.info = png_create_info_struct(reading.png);
  if (reading.info == nullptr || !attempt(reading, read_header)) fail_reading(reading, source);
  GreyImage image = blank_image(reading.width, reading.height, source);
  reading.grey = image.pixels.data();
  if (!attempt(reading, read_pixels)) fail_reading(reading, source);
  return upright(std::move(image), reading.orientation, source);
}

namespace {

// An image whatever its colours: (height, width, channels).
struct Samples {
  int width = 0, height = 0, channels = 1;
  const std::vector<std::uint8_t>& pixels;
};

struct Writing {
  Messages messages;
  png_structp png = nullptr;
  png_infop info = nullptr;
  const Samples* image = nullptr;
  std::string* to = nullptr;
  int level = 0;

  ~Writing() { png_destroy_write_struct(&png, &info); }
};

bool append(std::string& to, png_bytep from, std::size_t bytes) noexcept {
  try {
    to.append(reinterpret_cast<const char*>(from), bytes);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

void on_write(png_structp png, png_bytep from, std::size_t bytes) {
  auto* writing = static_cast<Writing*>(png_get_io_ptr(png));
  if (!append(*writing->to, from, bytes)) png_error(png, "out of memory");
}
void on_flush(png_structp) {}

void write_all(Writing& w) {
  png_set_write_fn(w.png, &w, on_write, on_flush);
  png_set_IHDR(w.png, w.info, static_cast<png_uint_32>(w.image->width), static_cast<png_uint_32>(w.image->height), 8,
               w.image->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (w.image->channels == 3) {
    png_text text{};
    text.compression = PNG_TEXT_COMPRESSION_NONE;
    text.key = const_cast<char*>("Software");
    text.text = const_cast<char*>("densetree");
    png_set_text(w.png, w.info, &text, 1);
  }
  png_set_compression_level(w.png, w.level);
  png_write_info(w.png, w.info);
  const auto row_bytes = static_cast<std::size_t>(w.image->width) * static_cast<std::size_t>(w.image->channels);
  for (std::size_t y = 0; y < static_cast<std::size_t>(w.image->height); ++y) {
    png_write_row(w.png, w.image->pixels.data() + y * row_bytes);
  }
  png_write_end(w.png, nullptr);
}

std::string encode(const Samples& image, int level) {
  check(level >= 0 && level <= 9, "PNG compression level is {}; it must be 0 to 9", level);
  check(image.width > 0 && image.width <= kMaxImageSide && image.height > 0 && image.height <= kMaxImageSide,
        "cannot encode an image of {}x{} pixels; each side must be 1 to {}", image.width, image.height, kMaxImageSide);
  const std::size_t pixels = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  check(image.pixels.size() == pixels * static_cast<std::size_t>(image.channels),
        "an image of {}x{} pixels of {} bytes holds {} bytes", image.width, image.height, image.channels,
        image.pixels.size());
  std::string file;
  Writing writing;
  writing.image = &image, writing.to = &file, writing.level = level;
  writing.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &writing.messages, on_error, on_warning);
  check(writing.png != nullptr, "libpng did not start: {}", writing.messages.text);
  writing.info = png_create_info_struct(writing.png);
  check(writing.info != nullptr, "libpng has no memory");
  check(attempt(writing, write_all), "cannot encode a PNG: {}", writing.messages.text);
  return file;
}

}  // namespace

std::string encode_png(const GreyImage& image, int level) {
  return encode({image.width, image.height, 1, image.pixels}, level);
}

std::string encode_png(const RgbImage& image, int level) {
  return encode({image.width, image.height, 3, image.pixels}, level);
}

bool is_written_here(const std::filesystem::path& png) {
  constexpr std::string_view kText("Software\0densetree", 18);
  std::array<char, 256> head{};
  std::ifstream(png, std::ios::binary).read(head.data(), head.size());
  return std::string_view(head.data(), head.size()).find(kText) != std::string_view::npos;
}

}  // namespace densetree::data
