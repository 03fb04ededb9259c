// JPEG through libjpeg(-turbo). As with PNG, errors come by longjmp and steps own nothing.
#include <cstdio>
// libjpeg wants <cstdio> before it
#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>

#include "data/decoding.h"
#include "data/exif.h"
#include "data/image.h"
#include "kernels/core/error.h"

namespace densetree::data {
namespace {

// Each scan may pass over the whole picture and cost a few bytes. cjpeg writes 100 at most, others some 10.
constexpr int kMaxScans = 100;

struct Reading {
  jpeg_decompress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
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

// Whether the picture can be whole although libjpeg skipped bytes before a marker. In the headers: always. After a
// scan: if the bytes are padding, all of one value; damaged data leave other bytes over. Between restart markers:
// never.
bool are_harmless(const Reading& r, std::size_t passed, int marker) {
  if (r.jpeg.input_scan_number == 0) return true;
  if (marker >= JPEG_RST0 && marker <= JPEG_RST0 + 7) return false;
  const JOCTET* end = r.jpeg.src->next_input_byte;
  if (passed > static_cast<std::size_t>(end - r.file)) return false;
  return std::all_of(end - passed, end, [&](JOCTET byte) { return byte == end[-1]; });
}

// libjpeg fills damaged parts with grey and only warns; a picture with invented parts is an error here.
bool leaves_picture_whole(const Reading& r) {
  switch (r.errors.msg_code) {
    case JWRN_JFIF_MAJOR:
    case JWRN_ADOBE_XFORM:
      return true;
    case JWRN_EXTRANEOUS_DATA:
      return are_harmless(r, static_cast<unsigned>(r.errors.msg_parm.i[0]), r.errors.msg_parm.i[1]);
    case JWRN_JPEG_EOF:  // the end marker is missing; missing data give other warnings, except in arithmetic coding
      return r.jpeg.input_scan_number > 0 && !r.jpeg.arith_code;
    default:
      return false;
  }
}

void on_message(j_common_ptr jpeg, int level) {
  if (level < 0 && !leaves_picture_whole(*static_cast<Reading*>(jpeg->client_data))) on_error(jpeg);
}

void on_progress(j_common_ptr jpeg) {
  auto* reading = static_cast<Reading*>(jpeg->client_data);
  if (reading->jpeg.input_scan_number > kMaxScans) std::longjmp(reading->jump, 1);
}

bool attempt(Reading& reading, void (*step)(Reading&)) {
  if (setjmp(reading.jump) != 0) return false;
  step(reading);
  return true;
}

void read_header(Reading& r) {
  jpeg_create_decompress(&r.jpeg);
  r.jpeg.client_data = &r;
  r.progress.progress_monitor = on_progress;
  r.jpeg.progress = &r.progress;
  jpeg_mem_src(&r.jpeg, r.file, r.bytes);
  jpeg_save_markers(&r.jpeg, JPEG_APP0 + 1, 0xFFFF);
  jpeg_read_header(&r.jpeg, TRUE);
  r.jpeg.out_color_space = JCS_GRAYSCALE;
}

// Files of several scans are read to their end here, but for the transforms.
void start(Reading& r) {
  jpeg_start_decompress(&r.jpeg);
}

void read_pixels(Reading& r) {
  while (r.jpeg.output_scanline < r.jpeg.output_height) {
    JSAMPROW row = r.grey + std::size_t{r.jpeg.output_scanline} * r.jpeg.output_width;
    jpeg_read_scanlines(&r.jpeg, &row, 1);
  }
  jpeg_finish_decompress(&r.jpeg);
}

// Whether every component came, in progressive files each of its coefficients to the last bit.
bool has_all_scans(const jpeg_decompress_struct& jpeg) {
  for (int c = 0; c < jpeg.num_components; ++c) {
    if (jpeg.comp_info[c].quant_table == nullptr) return false;
    if (!jpeg.progressive_mode) continue;
    const int* missing_bits = jpeg.coef_bits[c];
    if (std::any_of(missing_bits, missing_bits + DCTSIZE2, [](int bits) { return bits != 0; })) return false;
  }
  return true;
}

// What libjpeg keeps of a file of several scans.
std::uint64_t coefficient_bytes(const jpeg_decompress_struct& jpeg) {
  std::uint64_t blocks = 0;
  for (int c = 0; jpeg.comp_info != nullptr && c < jpeg.num_components; ++c) {
    blocks += std::uint64_t{jpeg.comp_info[c].width_in_blocks} * jpeg.comp_info[c].height_in_blocks;
  }
  return blocks * sizeof(JBLOCK);
}

const char* kind_of(int frame_marker) {
  switch (frame_marker) {
    case 0xC3:
    case 0xCB:
      return "lossless JPEG";
    case 0xF7:
      return "JPEG-LS";
    default:
      return "hierarchical JPEG";
  }
}

[[noreturn]] void fail_reading(const Reading& r, const std::string& source) {
  check(r.jpeg.input_scan_number <= kMaxScans, "{}: has more than {} scans; no more are read", source, kMaxScans);
  const int code = r.errors.msg_code, value = r.errors.msg_parm.i[0];
  switch (code) {
    case JERR_OUT_OF_MEMORY:
      fail("{}: no memory: libjpeg keeps {} bytes of its {}x{} pixels", source, coefficient_bytes(r.jpeg),
           r.jpeg.image_width, r.jpeg.image_height);
    case JERR_BAD_PRECISION:
      fail("{}: JPEG files of {} bits a sample are not supported; convert it to 8 bits", source, value);
    case JERR_UNKNOWN_MARKER:
      if (value != 0xF7) break;
      [[fallthrough]];
    case JERR_SOF_UNSUPPORTED:
      fail("{}: {} files are not supported; convert it to baseline or progressive JPEG", source, kind_of(value));
#if JPEG_LIB_VERSION < 70  // from then on each has it
    case JERR_ARITH_NOTIMPL:
      fail("{}: arithmetic coding is not supported by this libjpeg; convert it to Huffman coding", source);
#endif
    case JERR_EMPTY_IMAGE:
      if (r.jpeg.image_width > 0 && r.jpeg.image_height > 0) break;
      fail("{}: has {}x{} pixels; a picture needs at least 1x1 (a height after the picture, by DNL, is not supported)",
           source, r.jpeg.image_width, r.jpeg.image_height);
    case JERR_IMAGE_TOO_BIG:
      check_declared_size(r.jpeg.image_width, r.jpeg.image_height, 0, source);
      break;
    case JERR_CONVERSION_NOTIMPL:
    case JERR_CCIR601_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_NOTIMPL:
    case JERR_NOT_COMPILED:
      fail("{}: this kind of JPEG file is not supported: {}; convert it to grey", source, r.message);
    case JWRN_EXTRANEOUS_DATA:
      fail("{}: is no whole JPEG file: {} stray bytes lie between its data and marker {:#04x}", source, value,
           r.errors.msg_parm.i[1]);
    default:
      break;
  }
  fail("{}: is no whole JPEG file: {}", source, r.message);
}

void check_kind(const jpeg_decompress_struct& jpeg, const std::string& source) {
  const J_COLOR_SPACE space = jpeg.jpeg_color_space;
  check(space != JCS_CMYK && space != JCS_YCCK, "{}: CMYK JPEG files are not supported; convert it to grey or RGB",
        source);
  check(space == JCS_GRAYSCALE || space == JCS_YCbCr || space == JCS_RGB,
        "{}: JPEG files of {} components are not supported; convert it to grey or RGB", source, jpeg.num_components);
  check(jpeg.Ss == 0 || jpeg.Se != 0,  // of the first scan; there lossless ones have their predictor
        "{}: lossless JPEG files are not supported; convert it to baseline or progressive JPEG", source);
  check(jpeg.data_precision == 8, "{}: JPEG files of {} bits a sample are not supported; convert it to 8 bits", source,
        jpeg.data_precision);
}

int orientation_of(const jpeg_decompress_struct& jpeg) {
  constexpr std::size_t kTitle = 6;
  for (jpeg_saved_marker_ptr marker = jpeg.marker_list; marker != nullptr; marker = marker->next) {
    const std::span<const std::byte> data = std::as_bytes(std::span(marker->data, marker->data_length));
    if (data.size() >= kTitle && std::memcmp(data.data(), "Exif\0\0", kTitle) == 0) {
      return exif_orientation(data.subspan(kTitle));
    }
  }
  return 1;
}

}  // namespace

GreyImage decode_jpeg(std::span<const std::byte> file, const std::string& source, std::int64_t max_pixels) {
  check(!file.empty(), "{}: is empty; it must be a JPEG file", source);
  Reading reading;
  const jpeg_decompress_struct& jpeg = reading.jpeg;
  reading.file = reinterpret_cast<const unsigned char*>(file.data());
  reading.bytes = file.size();
  reading.jpeg.err = jpeg_std_error(&reading.errors);
  reading.errors.error_exit = on_error;
  reading.errors.emit_message = on_message;
  reading.jpeg.client_data = &reading;
  if (!attempt(reading, read_header)) fail_reading(reading, source);
  check_declared_size(jpeg.image_width, jpeg.image_height, max_pixels, source);
  check_kind(jpeg, source);
  const int orientation = orientation_of(jpeg);
  if (!attempt(reading, start)) fail_reading(reading, source);
  check(has_all_scans(jpeg), "{}: is no whole JPEG file: scans are missing", source);
  GreyImage image = blank_image(static_cast<int>(jpeg.image_width), static_cast<int>(jpeg.image_height), source);
  reading.grey = image.pixels.data();
  if (!attempt(reading, read_pixels)) fail_reading(reading, source);
  return upright(std::move(image), orientation, source);
}

}  // namespace densetree::data
