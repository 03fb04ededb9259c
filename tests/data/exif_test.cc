#include "data/exif.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/data/files.h"
#include "tests/data/image_files.h"
#include "tests/shared_data.h"

namespace densetree::data {
namespace {

std::string little_endian(std::uint32_t value, int bytes) {
  const std::string text = big_endian(value, bytes);
  return {text.rbegin(), text.rend()};
}

struct Entry {
  std::uint32_t tag = 0x0112, type = 3, count = 1, value = 1;
};

// EXIF data with one directory: the camera's make, the entry, a resolution; and a thumbnail's, turned otherwise.
std::string exif_of(const Entry& entry, bool little = false) {
  const auto number = little ? little_endian : big_endian;
  const auto written = [&](const Entry& e) {
    const std::string value = e.type == 3 ? number(e.value, 2) + std::string(2, '\0') : number(e.value, 4);
    return number(e.tag, 2) + number(e.type, 2) + number(e.count, 4) + value;
  };
  const std::string directory = number(3, 2) + written({0x010F, 2, 4, 0}) + written(entry) + written({0x011A, 5, 1, 8});
  return (little ? "II" : "MM") + number(42, 2) + number(8, 4) + directory + number(50, 4) + number(1, 2) +
         written({.value = 3}) + number(0, 4);
}

std::string exif_of(unsigned orientation, bool little = false) {
  return exif_of(Entry{.value = orientation}, little);
}

// From memory that ends where the data do, so that a sanitizer sees what is read beyond.
int orientation_of(const std::string& exif) {
  const auto exact = std::make_unique<std::byte[]>(exif.size());
  std::copy(exif.begin(), exif.end(), reinterpret_cast<char*>(exact.get()));
  return exif_orientation({exact.get(), exif.size()});
}

std::string png_with(const Source& source, const std::string& chunk, const std::string& before) {
  std::string file = png_of(source);
  return file.insert(chunk_at(file, before), chunk);
}

std::string exif_segment(const std::string& exif) {
  return jpeg_segment(0xE1, std::string("Exif\0\0", 6) + exif);
}

// What `upright` makes of the rows 123 and 456, as EXIF's table of orientations has it.
struct Turn {
  int orientation, width, height;
  std::vector<std::uint8_t> pixels;
};
const std::vector<Turn> kTurns = {{1, 3, 2, {1, 2, 3, 4, 5, 6}}, {2, 3, 2, {3, 2, 1, 6, 5, 4}},
                                  {3, 3, 2, {6, 5, 4, 3, 2, 1}}, {4, 3, 2, {4, 5, 6, 1, 2, 3}},
                                  {5, 2, 3, {1, 4, 2, 5, 3, 6}}, {6, 2, 3, {4, 1, 5, 2, 6, 3}},
                                  {7, 2, 3, {6, 3, 5, 2, 4, 1}}, {8, 2, 3, {3, 6, 2, 5, 1, 4}}};

TEST(Exif, PngIsTurnedUprightAllEightWays) {
  const Source source{.width = 3, .height = 2, .samples = {1, 2, 3, 4, 5, 6}};
  for (const Turn& turn : kTurns) {
    for (const bool little : {false, true}) {
      for (const char* before : {"IDAT", "IEND"}) {
        const std::string chunk = png_chunk("eXIf", exif_of(static_cast<unsigned>(turn.orientation), little));
        const GreyImage image = decode_image(bytes_of(png_with(source, chunk, before)), "a.png");
        EXPECT_EQ(image.width, turn.width);
        EXPECT_EQ(image.height, turn.height);
        EXPECT_EQ(image.pixels, turn.pixels) << turn.orientation << " before " << before;
      }
    }
  }
}

TEST(Exif, EveryKindOfPngIsTurned) {
  for (const auto& [depth, colour] : {std::pair{1, PNG_COLOR_TYPE_GRAY},
                                      {16, PNG_COLOR_TYPE_GRAY_ALPHA},
                                      {4, PNG_COLOR_TYPE_PALETTE},
                                      {8, PNG_COLOR_TYPE_RGB_ALPHA}}) {
    for (const bool interlaced : {false, true}) {
      Source source = noise(13, 9, depth, colour);
      source.interlaced = interlaced;
      const std::string file = png_with(source, png_chunk("eXIf", exif_of(6)), "IDAT");
      const GreyImage image = decode_image(bytes_of(file), "a.png");
      const std::vector<std::uint8_t> stored = expected(source);
      ASSERT_EQ(image.width, 9);
      ASSERT_EQ(image.height, 13);
      for (int y = 0; y < 13; ++y) {
        for (int x = 0; x < 9; ++x) {
          ASSERT_EQ(image.pixels[static_cast<std::size_t>(y * 9 + x)],
                    stored[static_cast<std::size_t>((8 - x) * 13 + y)])
              << x << ' ' << y << " of colour type " << colour;
        }
      }
    }
  }
}

TEST(Exif, JpegIsTurnedUprightAllEightWays) {
  for (const bool progressive : {false, true}) {
    const std::string plain = jpeg_of(60, 40, 3, JCS_RGB, ramp(60, 40, 3), [&](jpeg_compress_struct& jpeg) {
      if (progressive) jpeg_simple_progression(&jpeg);
    });
    const GreyImage stored = decode_image(bytes_of(plain), "a.jpg");
    for (const Turn& turn : kTurns) {
      for (const bool little : {false, true}) {
        std::string file = plain;
        file.insert(2, exif_segment(exif_of(static_cast<unsigned>(turn.orientation), little)));
        const GreyImage image = decode_image(bytes_of(file), "a.jpg");
        EXPECT_EQ(image.width, turn.width == 3 ? 60 : 40);
        EXPECT_EQ(image.pixels, upright(stored, turn.orientation, "a.jpg").pixels) << turn.orientation;
        EXPECT_EQ(image.pixels == stored.pixels, turn.orientation == 1);
      }
    }
  }
}

// Other APP1 segments, of the most bytes they can have, before it; a second one and one after the picture do not count.
TEST(Exif, TheFirstExifSegmentOfAJpegCounts) {
  const std::string plain = jpeg_of(60, 40, 1, JCS_GRAYSCALE, ramp(60, 40, 1));
  const GreyImage stored = decode_image(bytes_of(plain), "a.jpg");
  std::string segments;
  for (int i = 0; i < 20; ++i) {
    segments += jpeg_segment(i % 2 ? 0xE1 : 0xE2, std::string("http://ns.adobe.com/xap/1.0/\0", 29) +
                                                      std::string(65533 - 29, static_cast<char>(i)));
  }
  std::string file = plain;
  file.insert(2, segments + jpeg_segment(0xE1, "Exif") + exif_segment(exif_of(8)) + exif_segment(exif_of(3)));
  EXPECT_EQ(decode_image(bytes_of(file), "a.jpg").pixels, upright(stored, 8, "a.jpg").pixels);
  std::string second = plain;  // as in an MPO file
  second.insert(2, exif_segment(exif_of(6)));
  EXPECT_EQ(decode_image(bytes_of(plain + second), "a.jpg").pixels, stored.pixels);
  EXPECT_EQ(decode_image(bytes_of(second + plain), "a.jpg").pixels, upright(stored, 6, "a.jpg").pixels);
}

TEST(Exif, ReadsBothByteOrdersAndTypes) {
  for (unsigned orientation = 1; orientation <= 8; ++orientation) {
    for (const bool little : {false, true}) {
      EXPECT_EQ(orientation_of(exif_of(orientation, little)), static_cast<int>(orientation));
      EXPECT_EQ(orientation_of(exif_of(Entry{.type = 4, .value = orientation}, little)), static_cast<int>(orientation));
    }
  }
}

TEST(Exif, WhatIsNoOrientationIsUpright) {
  for (const bool little : {false, true}) {
    for (const unsigned value : {0u, 9u, 256u, 0xFFFFu}) EXPECT_EQ(orientation_of(exif_of(value, little)), 1) << value;
    EXPECT_EQ(orientation_of(exif_of(Entry{.type = 4, .value = 0x10006}, little)), 1);
    EXPECT_EQ(orientation_of(exif_of(Entry{.tag = 0x0113, .value = 6}, little)), 1);
    EXPECT_EQ(orientation_of(exif_of(Entry{.type = 2, .value = 6}, little)), 1);
    EXPECT_EQ(orientation_of(exif_of(Entry{.count = 2, .value = 6}, little)), 1);
  }
}

TEST(Exif, DamagedDataAreUpright) {
  for (const bool little : {false, true}) {
    const std::string whole = exif_of(6, little);
    constexpr std::size_t kEndOfEntry = 8 + 2 + 2 * 12;
    for (std::size_t keep = 0; keep < whole.size(); ++keep) {
      const int orientation = orientation_of(whole.substr(0, keep));
      EXPECT_EQ(orientation, keep + 2 >= kEndOfEntry ? 6 : 1) << keep;
    }
    for (std::size_t i = 0; i < whole.size(); ++i) {
      for (int value = 0; value < 256; ++value) {
        std::string damaged = whole;
        damaged[i] = static_cast<char>(value);
        const int orientation = orientation_of(damaged);
        ASSERT_TRUE(orientation >= 1 && orientation <= 8) << orientation;
        ASSERT_TRUE(orientation == 1 || i >= 4 || damaged == whole) << i << ' ' << value;
      }
    }
    for (const std::uint32_t offset : {0xFFFFFFFFu, 0xFFFFFFFEu, 0u, static_cast<std::uint32_t>(whole.size() - 1)}) {
      std::string far = whole;
      far.replace(4, 4, little ? little_endian(offset, 4) : big_endian(offset, 4));
      EXPECT_EQ(orientation_of(far), 1) << offset;
    }
  }
}

// With EXIF data that cannot be read, a picture stays as it is stored.
TEST(Exif, DamagedDataDoNotRejectThePicture) {
  const Source source = noise(13, 9, 8, PNG_COLOR_TYPE_GRAY);
  const std::string jpeg = jpeg_of(60, 40, 1, JCS_GRAYSCALE, ramp(60, 40, 1));
  const GreyImage stored = decode_image(bytes_of(jpeg), "a.jpg");
  for (const std::string& exif :
       {exif_of(9), exif_of(6).substr(0, 20), std::string(), std::string("MM"), std::string(3000, 'I')}) {
    EXPECT_EQ(decode_image(bytes_of(png_with(source, png_chunk("eXIf", exif), "IDAT")), "a.png").pixels,
              expected(source));
    std::string file = jpeg;
    EXPECT_EQ(decode_image(bytes_of(file.insert(2, exif_segment(exif))), "a.jpg").pixels, stored.pixels);
  }
  EXPECT_EQ(decode_image(bytes_of(png_with(source, png_chunk("eXIf", exif_of(6), 1), "IDAT")), "a.png").pixels,
            expected(source));
}

// Stored lying on its side, and so encoded anew.
TEST(Exif, ThePictureOfTheCasesIsTurned) {
  DENSETREE_NEEDS_SHARED("cases/jpeg/exif6.jpg");
  const GreyImage turned = decode_image(shared_folder() / "cases/jpeg/exif6.jpg");
  const GreyImage whole = decode_image(shared_folder() / "cases/jpeg/ok.jpg");
  ASSERT_EQ(turned.pixels.size(), whole.pixels.size());
  for (std::size_t i = 0; i < whole.pixels.size(); ++i) ASSERT_NEAR(turned.pixels[i], whole.pixels[i], 16) << i;
}

}  // namespace
}  // namespace densetree::data
