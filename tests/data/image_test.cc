#include "engine/data/image.h"

#include <gtest/gtest.h>
#include <png.h>
#include <stdio.h>
// jpeglib.h wants stdio.h before it
#include <jpeglib.h>

#include <cstring>

#include "engine/io/file.h"
#include "kernels/core/philox.h"
#include "tests/data/files.h"
#include "tests/shared_data.h"

namespace densetree::data {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}
std::string error_for(const std::string& file) {
  const std::string message = error_of([&] { decode_image(bytes_of(file), "a.png"); });
  EXPECT_EQ(message.rfind("a.png: ", 0), 0u) << message;
  return message;
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

Source noise(int width, int height, int depth, int colour) {
  Source source{.width = width, .height = height, .depth = depth, .colour = colour, .samples = {}};
  RandomStream random(3, RandomUse::kSynth);
  for (int i = 0; i < width * height * source.channels(); ++i) {
    source.samples.push_back(static_cast<std::uint16_t>(random.below(1u << depth)));
  }
  return source;
}

// Colour i of the palettes here.
png_color palette_colour(int i) {
  return {static_cast<png_byte>(i * 7), static_cast<png_byte>(255 - i), static_cast<png_byte>(i * 31)};
}

void set_extras(png_structp png, png_infop info, const Source& source) {
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

std::vector<png_byte> packed_row(const Source& source, int y) {
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

std::string png_of(const Source& source) {
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
std::vector<std::uint8_t> expected(const Source& source) {
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

struct Kind {
  const char* name;
  int depth, colour;
};
class PngKinds : public testing::TestWithParam<Kind> {};

TEST_P(PngKinds, DecodeToGrey) {
  for (const auto& [width, height] : {std::pair{37, 19}, {1, 1}, {3, 50}, {8, 8}}) {
    Source source = noise(width, height, GetParam().depth, GetParam().colour);
    for (const bool interlaced : {false, true}) {
      for (const bool transparent : {false, true}) {
        const bool has_alpha = (source.colour & PNG_COLOR_MASK_ALPHA) != 0;
        source.interlaced = interlaced, source.transparent = transparent && !has_alpha;
        const GreyImage image = decode_image(bytes_of(png_of(source)), "a.png");
        EXPECT_EQ(image.width, width);
        EXPECT_EQ(image.height, height);
        EXPECT_EQ(image.pixels, expected(source)) << width << " interlaced " << interlaced << " tRNS " << transparent;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, PngKinds,
    testing::Values(Kind{"Grey1", 1, PNG_COLOR_TYPE_GRAY}, Kind{"Grey2", 2, PNG_COLOR_TYPE_GRAY},
                    Kind{"Grey4", 4, PNG_COLOR_TYPE_GRAY}, Kind{"Grey8", 8, PNG_COLOR_TYPE_GRAY},
                    Kind{"Grey16", 16, PNG_COLOR_TYPE_GRAY}, Kind{"GreyAlpha8", 8, PNG_COLOR_TYPE_GRAY_ALPHA},
                    Kind{"GreyAlpha16", 16, PNG_COLOR_TYPE_GRAY_ALPHA}, Kind{"Rgb8", 8, PNG_COLOR_TYPE_RGB},
                    Kind{"Rgb16", 16, PNG_COLOR_TYPE_RGB}, Kind{"Rgba8", 8, PNG_COLOR_TYPE_RGB_ALPHA},
                    Kind{"Rgba16", 16, PNG_COLOR_TYPE_RGB_ALPHA}, Kind{"Palette1", 1, PNG_COLOR_TYPE_PALETTE},
                    Kind{"Palette2", 2, PNG_COLOR_TYPE_PALETTE}, Kind{"Palette4", 4, PNG_COLOR_TYPE_PALETTE},
                    Kind{"Palette8", 8, PNG_COLOR_TYPE_PALETTE}),
    [](const auto& test) { return test.param.name; });

TEST(Image, SixteenBitsAreRounded) {
  Source source{.width = 256, .height = 256, .depth = 16, .samples = {}};
  for (int i = 0; i < 65536; ++i) source.samples.push_back(static_cast<std::uint16_t>(i));
  const GreyImage image = decode_image(bytes_of(png_of(source)), "a.png");
  for (std::size_t i = 0; i < 65536; ++i) ASSERT_EQ(image.pixels[i], std::lround(static_cast<double>(i) / 257)) << i;
}

TEST(Image, LuminanceKeepsGreyAndWeighsColourAsPilDoes) {
  for (unsigned v = 0; v < 256; ++v) EXPECT_EQ(luminance(v, v, v), v);
  for (unsigned i = 0; i < 52 * 52 * 52; ++i) {  // the weights are the nearest in 1/65536
    const unsigned r = i % 52 * 5, g = i / 52 % 52 * 5, b = i / 52 / 52 * 5;
    ASSERT_NEAR(luminance(r, g, b), 0.299 * r + 0.587 * g + 0.114 * b, 0.5 + 0.004) << r << ' ' << g << ' ' << b;
  }
  EXPECT_EQ(luminance(255, 0, 0), 76);
  EXPECT_EQ(luminance(0, 255, 0), 150);
  EXPECT_EQ(luminance(0, 0, 255), 29);
}

TEST(Image, EncodedPngDecodesToTheSame) {
  const TemporaryFolder folder;
  GreyImage image{123, 77, expected(noise(123, 77, 8, PNG_COLOR_TYPE_GRAY))};
  for (const int level : {0, 1, 9}) {
    write_png(folder / "wrong-name.txt", image, level);
    const GreyImage back = decode_image(folder / "wrong-name.txt");
    EXPECT_EQ(back.width, 123);
    EXPECT_EQ(back.height, 77);
    EXPECT_EQ(back.pixels, image.pixels);
  }
  EXPECT_THROW(encode_png(image, 10), Error);
  EXPECT_THROW(encode_png(GreyImage{}), Error);
  image.pixels.pop_back();
  EXPECT_THROW(encode_png(image), Error);
}

TEST(Image, EncodedRgbPngHoldsTheSameColours) {
  const Source source = noise(61, 35, 8, PNG_COLOR_TYPE_RGB);
  RgbImage image{61, 35, {source.samples.begin(), source.samples.end()}};
  const std::string file = encode_png(image);
  EXPECT_EQ(decode_image(bytes_of(file), "a.png").pixels, expected(source));
  png_image reader{};
  reader.version = PNG_IMAGE_VERSION;
  ASSERT_TRUE(png_image_begin_read_from_memory(&reader, file.data(), file.size()));
  EXPECT_EQ(reader.format, static_cast<png_uint_32>(PNG_FORMAT_RGB));
  ASSERT_EQ(PNG_IMAGE_SIZE(reader), image.pixels.size());
  std::vector<std::uint8_t> back(image.pixels.size());
  ASSERT_TRUE(png_image_finish_read(&reader, nullptr, back.data(), 0, nullptr));
  EXPECT_EQ(back, image.pixels);
  image.pixels.resize(61 * 35);
  expect_contains(error_of([&] { encode_png(image); }), "61x35 pixels of 3 bytes holds 2135 bytes");
  EXPECT_THROW(encode_png(RgbImage{}), Error);
}

TEST(Image, EveryTruncationIsAnError) {
  for (const bool interlaced : {false, true}) {
    Source source = noise(40, 30, 8, PNG_COLOR_TYPE_RGB_ALPHA);
    source.interlaced = interlaced;
    const std::string file = png_of(source);
    for (std::size_t keep = 0; keep < file.size(); keep += keep < 80 || keep + 40 > file.size() ? 1 : 97) {
      EXPECT_THROW(decode_image(bytes_of(file.substr(0, keep)), "a.png"), Error) << keep << " of " << file.size();
    }
  }
}

TEST(Image, EveryDamagedByteIsAnError) {
  const std::string file = png_of(noise(20, 10, 8, PNG_COLOR_TYPE_GRAY));
  for (std::size_t i = 0; i < file.size(); ++i) {
    std::string damaged = file;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    EXPECT_THROW(decode_image(bytes_of(damaged), "a.png"), Error) << "byte " << i << " of " << file.size();
  }
}

// A PNG whose IHDR claims this size; its checksum is right, so only the size can be at fault.
std::string png_claiming(std::uint32_t width, std::uint32_t height) {
  std::string file = png_of(noise(20, 10, 8, PNG_COLOR_TYPE_GRAY));
  for (int i = 0; i < 4; ++i) {
    file[static_cast<std::size_t>(16 + i)] = static_cast<char>(width >> (24 - 8 * i));
    file[static_cast<std::size_t>(20 + i)] = static_cast<char>(height >> (24 - 8 * i));
  }
  std::uint32_t crc = 0xFFFFFFFF;
  for (std::size_t i = 12; i < 29; ++i) {
    crc ^= static_cast<unsigned char>(file[i]);
    for (int k = 0; k < 8; ++k) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
  }
  for (int i = 0; i < 4; ++i) file[static_cast<std::size_t>(29 + i)] = static_cast<char>(~crc >> (24 - 8 * i));
  return file;
}

TEST(Image, ImpossibleSizesAreRefused) {
  EXPECT_EQ(decode_image(bytes_of(png_claiming(20, 10)), "a.png").width, 20);
  expect_contains(error_for(png_claiming(0, 10)), "has 0x10 pixels");
  expect_contains(error_for(png_claiming(20, 0)), "has 20x0 pixels");
  expect_contains(error_for(png_claiming(0x7FFFFFFF, 0x7FFFFFFF)), "at most 16384x16384");
  expect_contains(error_for(png_claiming(16385, 1)), "at most 16384x16384");
  expect_contains(error_for(png_claiming(1, 0xFFFFFFFF)), "at most 16384x16384");
  expect_contains(error_for(png_claiming(16384, 16384)), "cannot hold 16384x16384 pixels");
  EXPECT_THROW(decode_image(bytes_of(png_claiming(20, 11)), "a.png"), Error);  // one row is not there
}

TEST(Image, OtherFilesAreNamedForWhatTheyAre) {
  expect_contains(error_for(""), "is empty");
  expect_contains(error_for("<html><body>Not found"), "neither a PNG nor a JPEG");
  expect_contains(error_for("GIF89a"), "47 49 46 38");
  expect_contains(error_for("\x89PNG\n\x1a\n and more"), "is not a PNG file");  // as text mode transfers leave it
  expect_contains(error_for("\x89PNG"), "header is cut short");
  expect_contains(error_for("\x89PNG\r\n\x1a\n"), "header is cut short");
  expect_contains(error_for("\xFF\xD8\xFF"), "is no whole JPEG file");
  const TemporaryFolder folder;
  expect_contains(error_of([&] { decode_image(folder / "absent.png"); }), "absent.png");
  expect_contains(error_of([&] { decode_image(folder.path()); }), folder.path().string());
}

// (height, width, channels) samples to a JPEG.
std::string jpeg_of(int width, int height, int channels, J_COLOR_SPACE space, const std::vector<std::uint8_t>& samples,
                    bool progressive = false) {
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
  if (progressive) jpeg_simple_progression(&jpeg);
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

std::vector<std::uint8_t> ramp(int width, int height, int channels) {
  std::vector<std::uint8_t> samples;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) samples.push_back(static_cast<std::uint8_t>(x * 2 + y + c * 20));
    }
  }
  return samples;
}

TEST(Image, DecodesJpeg) {
  const std::vector<std::uint8_t> grey = ramp(60, 40, 1), colour = ramp(60, 40, 3);
  for (const bool progressive : {false, true}) {
    const GreyImage from_grey = decode_image(bytes_of(jpeg_of(60, 40, 1, JCS_GRAYSCALE, grey, progressive)), "a.png");
    const GreyImage from_colour = decode_image(bytes_of(jpeg_of(60, 40, 3, JCS_RGB, colour, progressive)), "a.png");
    ASSERT_EQ(from_grey.pixels.size(), 2400u);
    ASSERT_EQ(from_colour.pixels.size(), 2400u);
    EXPECT_EQ(from_colour.width, 60);
    for (std::size_t i = 0; i < 2400; ++i) {
      EXPECT_NEAR(from_grey.pixels[i], grey[i], 2);
      EXPECT_NEAR(from_colour.pixels[i], luminance(colour[3 * i], colour[3 * i + 1], colour[3 * i + 2]), 3);
    }
  }
}

TEST(Image, DamagedJpegIsAnError) {
  const std::string file = jpeg_of(60, 40, 3, JCS_RGB, ramp(60, 40, 3));
  for (std::size_t keep = 3; keep < file.size() - 2; keep += 13) {
    expect_contains(error_for(file.substr(0, keep)), "is no whole JPEG file");
  }
  expect_contains(error_for(jpeg_of(8, 8, 4, JCS_CMYK, ramp(8, 8, 4))), "is no whole JPEG file");
  std::string huge = file;  // the frame header: marker, length, precision, height, width
  const std::size_t frame = huge.find("\xFF\xC0");
  huge.replace(frame + 5, 4, "\xFF\xDC\xFF\xDC");
  expect_contains(error_for(huge), "has 65500x65500 pixels");
}

TEST(Image, DecodesNihWithItsRgbaFiles) {
  DENSETREE_NEEDS_SHARED("data/nih-1024/images");
  int rgba = 0, files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(shared_folder() / "data/nih-1024/images")) {
    const std::string file = read_file(entry.path());
    rgba += file[25] == PNG_COLOR_TYPE_RGB_ALPHA;
    ++files;
    const GreyImage image = decode_image(bytes_of(file), entry.path().string());
    EXPECT_EQ(image.width, 1024);
    EXPECT_EQ(image.height, 1024);
    const auto [low, high] = std::minmax_element(image.pixels.begin(), image.pixels.end());
    EXPECT_LT(*low, 64) << entry.path();
    EXPECT_GT(*high, 128) << entry.path();
  }
  EXPECT_EQ(files, 43);
  EXPECT_EQ(rgba, 3);
}

}  // namespace
}  // namespace densetree::data
