// Faulty image files: what leaves the pixels whole is overlooked, all else is an error that says what is wrong.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "data/image.h"
#include "tests/data/files.h"
#include "tests/data/image_files.h"
#include "tests/shared_data.h"

namespace densetree::data {
namespace {

constexpr int kWidth = 44, kHeight = 28;

std::string error_for(const std::string& file) {
  const std::string message = error_of([&] { decode_image(bytes_of(file), "a.jpg"); });
  EXPECT_EQ(message.rfind("a.jpg: ", 0), 0u) << message;
  return message;
}

std::vector<std::uint8_t> pixels_of(const std::string& file) {
  return decode_image(bytes_of(file), "a.jpg").pixels;
}

// None where the file is refused.
std::optional<std::vector<std::uint8_t>> accepted(const std::string& file) {
  try {
    return pixels_of(file);
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::string with(std::string file, std::size_t at, const std::string& inserted) {
  return file.insert(at, inserted);
}

// Ways to lay out the same picture. Scan scripts must live until the file is written.
struct Layout {
  const char* name;
  int channels;
  JpegSettings set;

  std::string file() const {
    std::vector<std::uint8_t> samples;  // noise, so that every byte matters
    RandomStream random(7, RandomUse::kSynth);
    for (int i = 0; i < kWidth * kHeight * channels; ++i)
      samples.push_back(static_cast<std::uint8_t>(random.below(256)));
    return jpeg_of(kWidth, kHeight, channels, channels == 1 ? JCS_GRAYSCALE : JCS_RGB, samples, set);
  }
};

constexpr jpeg_scan_info kOneByOne[3] = {
    {1, {0, 0, 0, 0}, 0, 63, 0, 0}, {1, {1, 0, 0, 0}, 0, 63, 0, 0}, {1, {2, 0, 0, 0}, 0, 63, 0, 0}};

std::vector<Layout> layouts() {
  const auto one_by_one = [](jpeg_compress_struct& jpeg) { jpeg.scan_info = kOneByOne, jpeg.num_scans = 3; };
  return {{"grey", 1, {}},
          {"colour", 3, {}},
          {"restarts", 3, [](jpeg_compress_struct& jpeg) { jpeg.restart_interval = 2; }},
          {"one by one", 3, one_by_one},
          {"progressive grey", 1, [](jpeg_compress_struct& jpeg) { jpeg_simple_progression(&jpeg); }},
          {"progressive colour", 3, [](jpeg_compress_struct& jpeg) { jpeg_simple_progression(&jpeg); }},
          {"arithmetic", 1, [](jpeg_compress_struct& jpeg) { jpeg.arith_code = TRUE; }},
          {"progressive arithmetic", 3, [](jpeg_compress_struct& jpeg) {
             jpeg.arith_code = TRUE;
             jpeg_simple_progression(&jpeg);
           }}};
}

TEST(JpegFaults, ACutFileIsTakenOnlyWhereEveryPixelIsThere) {
  for (const Layout& layout : layouts()) {
    const std::string file = layout.file();
    const std::vector<std::uint8_t> whole = pixels_of(file);
    const bool arithmetic = std::string(layout.name).find("arithmetic") != std::string::npos;
    std::size_t taken = 0;
    for (std::size_t keep = 0; keep < file.size(); ++keep) {
      std::vector<std::string> cuts = {file.substr(0, keep)};
      if (!arithmetic) cuts.push_back(cuts[0] + "\xFF\xD9");  // by zeros, arithmetic data may go on without end
      for (const std::string& cut : cuts) {
        const auto pixels = accepted(cut);
        ASSERT_TRUE(!pixels || *pixels == whole) << layout.name << " cut at " << keep << " of " << file.size();
        taken += pixels.has_value();
      }
    }
    EXPECT_EQ(taken, arithmetic ? 0u : 4u) << layout.name;  // the end marker lacks, lacks half, and is put back
  }
}

TEST(JpegFaults, AMissingScanIsAnError) {
  int scans = 0;
  for (const Layout& layout : layouts()) {
    const std::string file = layout.file();
    const std::vector<std::size_t> markers = markers_of(file);
    if (std::count_if(markers.begin(), markers.end(), [&](std::size_t at) { return file[at + 1] == '\xDA'; }) < 2) {
      continue;
    }
    for (std::size_t i = 0; i + 1 < markers.size(); ++i) {
      if (file[markers[i] + 1] != '\xDA') continue;
      ++scans;
      std::string without = file;
      without.erase(markers[i], markers[i + 1] - markers[i]);
      expect_contains(error_for(without), "is no whole JPEG file");
    }
  }
  EXPECT_GT(scans, 20);
}

TEST(JpegFaults, OddHeadersAreTaken) {
  for (const Layout& layout : layouts()) {
    const std::string file = layout.file();
    const std::vector<std::uint8_t> whole = pixels_of(file);
    const std::size_t jfif = file.find("JFIF");
    std::string other = file;
    other[jfif + 5] = 2;  // version 2.1
    EXPECT_EQ(pixels_of(other), whole) << layout.name;
    EXPECT_EQ(pixels_of(with(file, 2, jpeg_segment(0xE0, "JFXX"))), whole) << layout.name;
    const std::string adobe = std::string("Adobe\0\x64\0\0\0\0", 11) + '\x05';  // a transform that no one knows
    EXPECT_EQ(pixels_of(with(file, 2, jpeg_segment(0xEE, adobe))), whole) << layout.name;
    std::string stray = file;
    std::vector<std::size_t> markers = markers_of(file);
    const auto scan =
        std::find_if(markers.begin(), markers.end(), [&](std::size_t at) { return file[at + 1] == '\xDA'; });
    for (auto at = scan + 1; at-- != markers.begin();) stray.insert(*at, "\x12\x34\x56");
    EXPECT_EQ(pixels_of(stray), whole) << layout.name;
  }
}

TEST(JpegFaults, PaddingBeforeAMarkerAndAnythingAfterTheEndIsTaken) {
  for (const Layout& layout : layouts()) {
    const std::string file = layout.file();
    const std::vector<std::uint8_t> whole = pixels_of(file);
    EXPECT_EQ(pixels_of(file + std::string(3000, 'x')), whole) << layout.name;
    EXPECT_EQ(pixels_of(file + file.substr(0, file.size() / 2)), whole) << layout.name;  // a second picture, cut short
    for (const char fill : {'\0', '\x7F', '\xFF'}) {
      for (const std::size_t bytes : {1, 2, 3, 7, 8, 9, 40, 5000}) {
        std::string padded = file;
        const std::vector<std::size_t> markers = markers_of(file);
        for (std::size_t i = markers.size() - 1; i > 0; --i) padded.insert(markers[i], bytes, fill);
        EXPECT_EQ(pixels_of(padded), whole) << layout.name << ' ' << bytes;
      }
    }
  }
}

// As a decoder leaves them over that lost its place.
TEST(JpegFaults, OtherBytesAfterTheDataAreAnError) {
  for (const Layout& layout : layouts()) {
    const std::string file = layout.file();
    const std::string data(file, file.size() / 2, 40);
    expect_contains(error_for(with(file, file.size() - 2, data)), "stray bytes lie between its data and marker 0xd9");
  }
  const std::string restarts = layouts()[2].file();
  const std::size_t second = restarts.find("\xFF\xD1");
  expect_contains(error_for(with(restarts, second, std::string(40, '\0'))), "between its data and marker 0xd1");
}

TEST(JpegFaults, DamagedDataAreAnError) {
  const std::string restarts = layouts()[2].file();
  std::string swapped = restarts;
  swapped[restarts.find("\xFF\xD1") + 1] = '\xD4';
  expect_contains(error_for(swapped), "instead of RST");
  std::string lacking = restarts;
  const std::size_t first = restarts.find("\xFF\xD0"), second = restarts.find("\xFF\xD1");
  expect_contains(error_for(lacking.erase(first, second - first)), "is no whole JPEG file");
  for (const Layout& layout : layouts()) {
    if (std::string(layout.name).find("arithmetic") != std::string::npos) continue;
    std::string overwritten = layout.file();  // with a code that no table has
    overwritten.replace(overwritten.size() * 3 / 4, 200, std::string(200, '\xFE'));
    expect_contains(error_for(overwritten), "is no whole JPEG file");
  }
}

// The frame header: marker, length, precision, height, width, components.
std::string with_frame(std::size_t at, const std::string& bytes) {
  std::string file = layouts()[0].file();
  return file.replace(file.find("\xFF\xC0") + at, bytes.size(), bytes);
}

TEST(JpegFaults, WhatIsNotSupportedSaysSo) {
  const std::vector<std::uint8_t> four = ramp(kWidth, kHeight, 4);
  expect_contains(error_for(jpeg_of(kWidth, kHeight, 4, JCS_CMYK, four)),
                  "CMYK JPEG files are not supported; convert it to grey or RGB");
  const auto ycck = [](jpeg_compress_struct& jpeg) { jpeg_set_colorspace(&jpeg, JCS_YCCK); };
  expect_contains(error_for(jpeg_of(kWidth, kHeight, 4, JCS_CMYK, four, ycck)), "CMYK JPEG files are not supported");
  expect_contains(error_for(jpeg_of(kWidth, kHeight, 2, JCS_UNKNOWN, ramp(kWidth, kHeight, 2))),
                  "JPEG files of 2 components are not supported");
  expect_contains(error_for(with_frame(4, "\x0C")), "12 bits a sample are not supported; convert it to 8 bits");
  expect_contains(error_for(with_frame(1, "\xC3")), "lossless JPEG files are not supported");
  expect_contains(error_for(with_frame(1, "\xC5")), "hierarchical JPEG files are not supported");
  expect_contains(error_for(with_frame(1, "\xF7")), "JPEG-LS files are not supported");
}

TEST(JpegFaults, SizesAreSaidPlainly) {
  expect_contains(error_for(with_frame(5, std::string("\0\0", 2))), "has 44x0 pixels; a picture needs at least 1x1");
  expect_contains(error_for(with_frame(7, std::string("\0\0", 2))), "has 0x28 pixels");
  expect_contains(error_for(with_frame(5, "\xFF\xFF\xFF\xFF")), "has 65535x65535 pixels; at most 16384x16384 are read");
  expect_contains(error_for(with_frame(5, "\x3F\xFF\x3F\xFF")),
                  "has 16383x16383 pixels; at most 100000000 are read (--max-pixels 268402689 takes it)");
}

TEST(JpegFaults, AFileOfVeryManyScansIsAnError) {
  std::vector<jpeg_scan_info> scans = {{1, {0, 0, 0, 0}, 0, 0, 0, 0}};
  const auto one_each = [&](int first, int last) {
    for (int k = 1; k < 64; ++k) scans.push_back({1, {0, 0, 0, 0}, k, k, first, last});
  };
  const auto set = [&](jpeg_compress_struct& jpeg) {
    jpeg.scan_info = scans.data(), jpeg.num_scans = static_cast<int>(scans.size());
  };
  const std::vector<std::uint8_t> grey = ramp(kWidth, kHeight, 1);
  one_each(0, 0);
  EXPECT_EQ(pixels_of(jpeg_of(kWidth, kHeight, 1, JCS_GRAYSCALE, grey, set)),
            pixels_of(jpeg_of(kWidth, kHeight, 1, JCS_GRAYSCALE, grey)));
  scans.resize(1);
  one_each(0, 1);
  one_each(1, 0);
  expect_contains(error_for(jpeg_of(kWidth, kHeight, 1, JCS_GRAYSCALE, grey, set)), "has more than 100 scans");
}

TEST(JpegFaults, TheCasesOfReportsAreTaken) {
  DENSETREE_NEEDS_SHARED("cases/jpeg");
  const std::filesystem::path cases = shared_folder() / "cases/jpeg";
  const GreyImage whole = decode_image(cases / "ok.jpg");
  for (const char* name : {"jfif2.jpg", "noeoi.jpg", "extra_before_eoi.jpg", "trailing.jpg"}) {
    EXPECT_EQ(decode_image(cases / name).pixels, whole.pixels) << name;
  }
  EXPECT_GT(decode_image(cases / "badtext.png").width, 0);
}

TEST(PngFaults, FaultsOfAncillaryChunksAreOverlooked) {
  const std::string zeros(30, '\0');
  for (const int colour : {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_PALETTE, PNG_COLOR_TYPE_RGB}) {
    const Source source = noise(20, 10, 8, colour);
    const std::string file = png_of(source);
    const std::vector<std::uint8_t> whole = expected(source);
    ASSERT_EQ(pixels_of(file), whole);
    std::string all;
    for (const char* name :
         {"tEXt", "zTXt", "iTXt", "tIME", "gAMA", "cHRM", "sRGB", "sBIT", "iCCP", "bKGD", "hIST", "tRNS",
          "pHYs", "sPLT", "oFFs", "pCAL", "sCAL", "sTER", "eXIf", "acTL", "fcTL", "fdAT", "abCd"}) {
      for (const std::string& chunk : {png_chunk(name, "some data", 1), png_chunk(name, "some data"),
                                       png_chunk(name, zeros), png_chunk(name, "")}) {
        EXPECT_EQ(pixels_of(with(file, chunk_at(file, "IDAT"), chunk)), whole) << name;
        EXPECT_EQ(pixels_of(with(file, chunk_at(file, "IEND"), chunk)), whole) << name;
        EXPECT_EQ(pixels_of(with(file, 33, chunk)), whole) << name;  // after IHDR
        all += chunk;
      }
    }
    EXPECT_EQ(pixels_of(with(with(file, chunk_at(file, "IEND"), all), 33, all)), whole);
    EXPECT_EQ(pixels_of(file + std::string(3000, 'x')), whole);
  }
}

TEST(PngFaults, FaultsOfCriticalChunksAreErrors) {
  const std::string file = png_of(noise(20, 10, 8, PNG_COLOR_TYPE_PALETTE));
  for (const char* name : {"IHDR", "PLTE", "IDAT", "IEND"}) {
    const std::size_t at = chunk_at(file, name);
    const auto bytes = static_cast<std::uint32_t>(static_cast<unsigned char>(file[at + 2]) << 8 |
                                                  static_cast<unsigned char>(file[at + 3]));
    if (std::string_view(name) != "IEND") {  // whose checksum libpng 1.6.48 does not look at
      std::string wrong = file;
      wrong[at + 8 + bytes] = static_cast<char>(wrong[at + 8 + bytes] ^ 1);
      expect_contains(error_for(wrong), "CRC error");
    }
    std::string lacking = file;
    expect_contains(error_for(lacking.erase(at, bytes + 12)), "is no whole PNG file");
    std::string renamed = file;  // as an ancillary one it would be skipped
    renamed[at + 4] = static_cast<char>(renamed[at + 4] | 0x20);
    expect_contains(error_for(renamed), "is no whole PNG file");
  }
  expect_contains(error_for(with(file, chunk_at(file, "IDAT"), png_chunk("ABCD", "x"))), "is no whole PNG file");
}

TEST(PngFaults, AColourThatThePaletteDoesNotHaveIsAnError) {
  for (const int depth : {1, 2, 4, 8}) {
    for (const bool interlaced : {false, true}) {
      for (const int colours : {1, (1 << depth) / 2, (1 << depth) - 1}) {
        Source source{.width = 23, .height = 17, .depth = depth, .colour = PNG_COLOR_TYPE_PALETTE, .samples = {}};
        source.interlaced = interlaced;
        for (int i = 0; i < 23 * 17; ++i) source.samples.push_back(static_cast<std::uint16_t>(i % colours));
        const auto file = [&] {
          std::string all = png_of(source);
          const std::size_t at = chunk_at(all, "PLTE");
          const std::string palette = all.substr(at + 8, std::size_t{3} * static_cast<std::size_t>(colours));
          return all.replace(at, std::size_t{12} + (std::size_t{3} << depth), png_chunk("PLTE", palette));
        };
        EXPECT_EQ(pixels_of(file()), expected(source)) << depth << ' ' << colours;
        for (const std::size_t at : {std::size_t{0}, std::size_t{200}, source.samples.size() - 1}) {
          const std::uint16_t before = std::exchange(source.samples[at], static_cast<std::uint16_t>(colours));
          expect_contains(error_for(file()),
                          fmt::format("a pixel has colour {0} of the palette, which has {0}", colours));
          source.samples[at] = before;
        }
      }
    }
  }
}

}  // namespace
}  // namespace densetree::data
