#include "data/image.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/io/file.h"
#include "tests/data/files.h"
#include "tests/data/image_files.h"
#include "tests/shared_data.h"

namespace densetree::data {
namespace {

std::string error_for(const std::string& file) {
  const std::string message = error_of([&] { decode_image(bytes_of(file), "a.png"); });
  EXPECT_EQ(message.rfind("a.png: ", 0), 0u) << message;
  return message;
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

// But for what a chunk that is not used says of itself, and the checksum of the last chunk, which holds nothing and
// which libpng 1.6.48 does not look at.
TEST(Image, EveryDamagedByteIsAnError) {
  const Source source = noise(20, 10, 8, PNG_COLOR_TYPE_GRAY);
  const std::string file = png_of(source);
  const std::size_t gamma = file.find("gAMA");
  for (std::size_t i = 0; i < file.size() - 4; ++i) {
    std::string damaged = file;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    if (i >= gamma && i < gamma + 12 && i != gamma + 2) {  // there an M becomes a ], which no name has
      EXPECT_EQ(decode_image(bytes_of(damaged), "a.png").pixels, expected(source)) << "byte " << i;
    } else {
      EXPECT_THROW(decode_image(bytes_of(damaged), "a.png"), Error) << "byte " << i << " of " << file.size();
    }
  }
}

// A PNG whose IHDR claims this size; its checksum is right, so only the size can be at fault.
std::string png_claiming(std::uint32_t width, std::uint32_t height) {
  std::string file = png_of(noise(20, 10, 8, PNG_COLOR_TYPE_GRAY));
  file.replace(16, 8, big_endian(width, 4) + big_endian(height, 4));
  return file.replace(29, 4, big_endian(png_checksum(file.substr(12, 17)), 4));
}

TEST(Image, ImpossibleSizesAreRefused) {
  EXPECT_EQ(decode_image(bytes_of(png_claiming(20, 10)), "a.png").width, 20);
  expect_contains(error_for(png_claiming(0, 10)), "has 0x10 pixels");
  expect_contains(error_for(png_claiming(20, 0)), "has 20x0 pixels");
  expect_contains(error_for(png_claiming(0x7FFFFFFF, 0x7FFFFFFF)), "at most 16384x16384");
  expect_contains(error_for(png_claiming(16385, 1)), "at most 16384x16384");
  expect_contains(error_for(png_claiming(1, 0xFFFFFFFF)), "at most 16384x16384");
  expect_contains(error_for(png_claiming(16384, 16384)),
                  "at most 100000000 are read (--max-pixels 268435456 takes it)");
  expect_contains(error_for(png_claiming(10000, 10000)), "cannot hold 10000x10000 pixels");
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

TEST(Image, DecodesJpeg) {
  const std::vector<std::uint8_t> grey = ramp(60, 40, 1), colour = ramp(60, 40, 3);
  for (const bool progressive : {false, true}) {
    const auto set = [&](jpeg_compress_struct& jpeg) {
      if (progressive) jpeg_simple_progression(&jpeg);
    };
    const GreyImage from_grey = decode_image(bytes_of(jpeg_of(60, 40, 1, JCS_GRAYSCALE, grey, set)), "a.png");
    const GreyImage from_colour = decode_image(bytes_of(jpeg_of(60, 40, 3, JCS_RGB, colour, set)), "a.png");
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
