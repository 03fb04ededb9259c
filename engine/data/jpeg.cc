// JPEG through libjpeg(-turbo). As with PNG, errors come by longjmp and steps own nothing.
#include <cstdio>
// jpeglib.h wants <cstdio> before it
#include <jpeglib.h>

#include <csetjmp>

#include "engine/data/image.h"
#include "kernels/core/error.h"

namespace densetree::data {
namespace {

struct Reading {
  jpeg_decompress_struct jpeg{};
  jpeg_error_mgr errors{};
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX] = "";
  const unsigned char* file = nullptr;
  unsigned long bytes = 0;
  JSAMPLE* grey = nullptr;  // (height, width)

  ~Reading() { jpeg_destroy_decompress(&jpeg); }
};

[[noreturn]] void on_error(j_common_ptr jpeg) {
  auto* reading = static_cast<Reading*>(jpeg->client_data);
  jpeg->err->format_message(jpeg, reading->message);
  std::longjmp(reading->jump, 1);
}

// libjpeg fills damaged parts with grey and only warns; a picture with invented parts is an error here.
void on_message(j_common_ptr jpeg, int level) {
  if (level < 0) on_error(jpeg);
}

bool attempt(Reading& reading, void (*step)(Reading&)) {
  if (setjmp(reading.jump) != 0) return false;
  step(reading);
  return true;
}

void read_header(Reading& r) {
  jpeg_create_decompress(&r.jpeg);
  r.jpeg.client_data = &r;
  jpeg_mem_src(&r.jpeg, r.file, r.bytes);
  jpeg_read_header(&r.jpeg, TRUE);
  r.jpeg.out_color_space = JCS_GRAYSCALE;
}

void read_pixels(Reading& r) {
  jpeg_start_decompress(&r.jpeg);
  while (r.jpeg.output_scanline < r.jpeg.output_height) {
    JSAMPROW row = r.grey + std::size_t{r.jpeg.output_scanline} * r.jpeg.output_width;
    jpeg_read_scanlines(&r.jpeg, &row, 1);
  }
  jpeg_finish_decompress(&r.jpeg);
}

}  // namespace

GreyImage decode_jpeg(std::span<const std::byte> file, const std::string& source) {
  check(!file.empty(), "{}: is empty; it must be a JPEG file", source);
  GreyImage image;
  Reading reading;
  reading.file = reinterpret_cast<const unsigned char*>(file.data());
  reading.bytes = file.size();
  reading.jpeg.err = jpeg_std_error(&reading.errors);
  reading.errors.error_exit = on_error;
  reading.errors.emit_message = on_message;
  reading.jpeg.client_data = &reading;
  check(attempt(reading, read_header), "{}: is no whole JPEG file: {}", source, reading.message);
  const JDIMENSION width = reading.jpeg.image_width, height = reading.jpeg.image_height;
  check(width <= kMaxImageSide && height <= kMaxImageSide, "{}: has {}x{} pixels; at most {}x{} are read", source,
        width, height, kMaxImageSide, kMaxImageSide);
  image.width = static_cast<int>(width), image.height = static_cast<int>(height);
  image.pixels.resize(std::size_t{width} * height);
  reading.grey = image.pixels.data();
  check(attempt(reading, read_pixels), "{}: is no whole JPEG file: {}", source, reading.message);
  return image;
}

}  // namespace densetree::data
