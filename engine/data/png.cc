// PNG through libpng's normal interface.
//
// libpng reports errors by longjmp, which must not cross a C++ object with a destructor. So all of those live in the
// callers of `attempt`, and the steps it runs touch plain pointers and numbers only.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "engine/data/image.h"
#include "engine/io/file.h"
#include "kernels/core/error.h"

namespace densetree::data {
namespace {

struct Messages {
  char text[200] = "";
};

void on_error(png_structp png, png_const_charp text) {
  auto* messages = static_cast<Messages*>(png_get_error_ptr(png));
  std::snprintf(messages->text, sizeof messages->text, "%s", text);
  png_longjmp(png, 1);
}
void on_warning(png_structp, png_const_charp) {}  // of ancillary chunks, which are not used

// Everything the reading steps need.
struct Reading {
  Messages messages;
  png_structp png = nullptr;
  png_infop info = nullptr;
  const png_byte* next = nullptr;
  std::size_t left = 0;

  int width = 0, height = 0, channels = 0, passes = 1;
  png_byte* grey = nullptr;   // (height, width)
  png_byte* other = nullptr;  // rows as libpng gives them: one of them, or all where passes > 1; null: straight to grey

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

// Up to the first pixel: every kind of PNG is asked for as 8-bit samples, transparency not unfolded.
void read_header(Reading& r) {
  png_set_user_limits(r.png, kMaxImageSide, kMaxImageSide);
  png_set_crc_action(r.png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
#ifdef PNG_IGNORE_ADLER32  // libpng 1.6.48 has it no more
  // The checksum of each chunk covers the data already; zlib's own on top would cost 4 % of the time.
  png_set_option(r.png, PNG_IGNORE_ADLER32, PNG_OPTION_ON);
#endif
  png_set_read_fn(r.png, &r, on_read);
  png_read_info(r.png, r.info);
  const int colour = png_get_color_type(r.png, r.info), depth = png_get_bit_depth(r.png, r.info);
  if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(r.png);
  if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(r.png);
  if (depth == 16) png_set_scale_16(r.png);
  r.passes = png_set_interlace_handling(r.png);
  png_read_update_info(r.png, r.info);
  r.width = static_cast<int>(png_get_image_width(r.png, r.info));
  r.height = static_cast<int>(png_get_image_height(r.png, r.info));
  r.channels = png_get_channels(r.png, r.info);
}

void row_to_grey(const png_byte* from, int channels, int width, png_byte* to) {
  if (channels <= 2) {
    for (int x = 0; x < width; ++x) to[x] = from[x * channels];
  } else {
    for (int x = 0; x < width; ++x) {
      to[x] = luminance(from[x * channels], from[x * channels + 1], from[x * channels + 2]);
    }
  }
}

void read_pixels(Reading& r) {
  const auto width = static_cast<std::size_t>(r.width), row_bytes = width * static_cast<std::size_t>(r.channels);
  for (int pass = 0; pass < r.passes; ++pass) {
    for (std::size_t y = 0; y < static_cast<std::size_t>(r.height); ++y) {
      png_byte* grey = r.grey + y * width;
      if (r.other == nullptr) {
        png_read_row(r.png, grey, nullptr);
        continue;
      }
      png_byte* row = r.other + (r.passes > 1 ? y * row_bytes : 0);
      png_read_row(r.png, row, nullptr);
      if (pass == r.passes - 1) row_to_grey(row, r.channels, r.width, grey);
    }
  }
  png_read_end(r.png, nullptr);
}

std::uint32_t big_endian(const std::byte* at) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | std::to_integer<std::uint32_t>(at[i]);
  return value;
}

// What libpng would say less plainly, or only after memory was taken: deflate packs at most 1032 to 1.
void check_size(std::span<const std::byte> file, const std::string& source) {
  check(file.size() >= 33 && std::memcmp(file.data() + 12, "IHDR", 4) == 0,
        "{}: is no whole PNG file: its header is cut short", source);
  const std::uint32_t width = big_endian(file.data() + 16), height = big_endian(file.data() + 20);
  check(width > 0 && height > 0, "{}: has {}x{} pixels; a picture needs at least 1x1", source, width, height);
  check(width <= kMaxImageSide && height <= kMaxImageSide, "{}: has {}x{} pixels; at most {}x{} are read", source,
        width, height, kMaxImageSide, kMaxImageSide);
  const auto bits = std::to_integer<std::uint64_t>(file[24]);
  check(file.size() * 1032 >= std::uint64_t{width} * bits / 8 * height,
        "{}: is cut short: {} bytes cannot hold {}x{} pixels", source, file.size(), width, height);
}

}  // namespace

GreyImage decode_png(std::span<const std::byte> file, const std::string& source) {
  check(!file.empty(), "{}: is empty; it must be a PNG file", source);
  check(png_sig_cmp(reinterpret_cast<png_const_bytep>(file.data()), 0, std::min<std::size_t>(file.size(), 8)) == 0,
        "{}: is not a PNG file", source);
  check_size(file, source);
  GreyImage image;
  std::vector<png_byte> other;
  Reading reading;
  reading.next = reinterpret_cast<const png_byte*>(file.data()), reading.left = file.size();
  reading.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reading.messages, on_error, on_warning);
  check(reading.png != nullptr, "{}: libpng did not start: {}", source, reading.messages.text);
  reading.info = png_create_info_struct(reading.png);
  check(reading.info != nullptr, "{}: libpng has no memory", source);
  check(attempt(reading, read_header), "{}: is no whole PNG file: {}", source, reading.messages.text);

  image.width = reading.width, image.height = reading.height;
  image.pixels.resize(static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height));
  reading.grey = image.pixels.data();
  if (reading.channels > 1) {
    const std::size_t rows = reading.passes > 1 ? static_cast<std::size_t>(image.height) : 1;
    other.resize(rows * static_cast<std::size_t>(image.width) * static_cast<std::size_t>(reading.channels));
    reading.other = other.data();
  }
  check(attempt(reading, read_pixels), "{}: is no whole PNG file: {}", source, reading.messages.text);
  return image;
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
  return read_file(png).substr(0, 256).find(kText) != std::string::npos;
}

}  // namespace densetree::data
