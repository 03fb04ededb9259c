// Images that are too large: by their declared size, by their file, and for the memory there is.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "data/image.h"
#include "data/prepare.h"
#include "engine/io/file.h"
#include "tests/data/files.h"
#include "tests/data/image_files.h"

namespace densetree::data {
namespace {

TEST(ImageLimits, MorePixelsThanTheLimitAreRefused) {
  const std::vector<std::uint8_t> grey = ramp(60, 40, 1);
  for (const std::string& file : {encode_png(GreyImage{60, 40, grey}), jpeg_of(60, 40, 1, JCS_GRAYSCALE, grey)}) {
    EXPECT_EQ(decode_image(bytes_of(file), "a.png", 2400).pixels.size(), 2400u);
    EXPECT_EQ(error_of([&] { decode_image(bytes_of(file), "a.png", 2399); }),
              "a.png: has 60x40 pixels; at most 2399 are read (--max-pixels 2400 takes it)");
    const TemporaryFolder folder;
    write_file(folder / "b.png", file);
    expect_contains(error_of([&] { decode_image(folder / "b.png", 1); }),
                    "b.png: has 60x40 pixels; at most 1 are read");
  }
}

TEST(ImageLimits, AHugeFileIsRefusedBeforeItIsRead) {
  const TemporaryFolder folder;
  write_file(folder / "a.png", "\x89PNG");
  std::filesystem::resize_file(folder / "a.png", kMaxImageFileBytes + 1);  // sparse
  expect_contains(error_of([&] { decode_image(folder / "a.png"); }),
                  "a.png: it has 1073741825 bytes; at most 1073741824 are read");
}

// For as long as it lives, this process gets some 64 MiB more of memory at most.
class ScarceMemory {
 public:
  ScarceMemory() {
    ::getrlimit(RLIMIT_AS, &before_);
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit scarce = before_;
    scarce.rlim_cur = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + (std::size_t{64} << 20);
    ::setrlimit(RLIMIT_AS, &scarce);
  }
  ~ScarceMemory() { ::setrlimit(RLIMIT_AS, &before_); }
  ScarceMemory(const ScarceMemory&) = delete;
  ScarceMemory& operator=(const ScarceMemory&) = delete;

 private:
  rlimit before_{};
};

// 9000x9000 pixels are declared. The rest of the file does not matter: there is no memory for them before.
std::string huge_png() {
  std::string file = encode_png(GreyImage{60, 40, ramp(60, 40, 1)});
  file.replace(16, 8, big_endian(9000, 4) + big_endian(9000, 4));
  file.replace(29, 4, big_endian(png_checksum(file.substr(12, 17)), 4));
  return file + std::string(100000, 'x');
}
std::string huge_jpeg(bool progressive) {
  std::string file = jpeg_of(60, 40, 1, JCS_GRAYSCALE, ramp(60, 40, 1), [&](jpeg_compress_struct& jpeg) {
    if (progressive) jpeg_simple_progression(&jpeg);
  });
  const std::size_t frame = file.find(progressive ? "\xFF\xC2" : "\xFF\xC0");
  return file.replace(frame + 5, 4, big_endian(9000, 2) + big_endian(9000, 2));
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DENSETREE_NEEDS_MEMORY_LIMITS GTEST_SKIP() << "a sanitizer takes what memory it likes"
#else
#define DENSETREE_NEEDS_MEMORY_LIMITS
#endif

TEST(ImageLimits, MemoryThatCannotBeHadIsAnErrorThatNamesTheFile) {
  DENSETREE_NEEDS_MEMORY_LIMITS;
  const std::string png = huge_png(), jpeg = huge_jpeg(false), progressive = huge_jpeg(true);
  const TemporaryFolder folder;
  write_file(folder / "a.png", png);
  std::filesystem::resize_file(folder / "a.png", 900'000'000);
  std::string messages[4];
  {
    const ScarceMemory scarce;
    messages[0] = error_of([&] { decode_image(bytes_of(png), "a.png"); });
    messages[1] = error_of([&] { decode_image(bytes_of(jpeg), "a.jpg"); });
    messages[2] = error_of([&] { decode_image(bytes_of(progressive), "a.jpg"); });
    messages[3] = error_of([&] { decode_image(folder / "a.png"); });
  }
  EXPECT_EQ(messages[0], "a.png: no memory for its 9000x9000 pixels; 81000000 bytes were asked for");
  EXPECT_EQ(messages[1], "a.jpg: no memory for its 9000x9000 pixels; 81000000 bytes were asked for");
  EXPECT_EQ(messages[2], "a.jpg: no memory: libjpeg keeps 162000000 bytes of its 9000x9000 pixels");
  expect_contains(messages[3], "a.png: no memory for 900000001 bytes");
}

// Eleven small images and one that is too large in some way.
class PrepareLimits : public testing::Test {
 protected:
  void SetUp() override {
    make_folder(folder_ / "images");
    std::string table = "Image Index,Finding Labels,Patient ID\n";
    for (int i = 0; i < 12; ++i) {
      write_png(folder_ / "images" / fmt::format("{:02}.png", i), GreyImage{20, 20, ramp(20, 20, 1)});
      table += fmt::format("{:02}.png,Mass,{}\n", i, i);
    }
    write_file(options_.labels = folder_ / "table.csv", table);
    options_.images = {folder_ / "images"}, options_.out = folder_ / "data";
    options_.size = 8, options_.jobs = 1;
  }

  std::string rejected() const { return read_file(options_.out / "rejected.csv"); }

  TemporaryFolder folder_;
  PrepareOptions options_;
};

TEST_F(PrepareLimits, AnImageBeyondTheLimitIsRejectedAlone) {
  write_png(folder_ / "images/05.png", GreyImage{70, 70, ramp(70, 70, 1)});
  options_.max_pixels = 1000;
  EXPECT_EQ(prepare(options_).images, 11u);
  expect_contains(rejected(), "05.png: has 70x70 pixels; at most 1000 are read (--max-pixels 4900 takes it)");
  EXPECT_EQ(prepare(options_).outcome, PrepareResult::Outcome::kAlreadyDone);
  options_.out = folder_ / "other";
  options_.max_pixels = 4900;
  EXPECT_EQ(prepare(options_).images, 12u);
  options_.max_pixels = 0;
  expect_contains(error_of([&] { prepare(options_); }), "max-pixels is 0; it must be 1 to 268435456");
}

// What was taken under another limit is not mixed in.
TEST_F(PrepareLimits, AnotherLimitStartsAfresh) {
  std::atomic<bool> stop = false;
  options_.stop = &stop;
  const auto first = prepare(options_, [&](const PrepareProgress& at) { stop = stop || at.done == 0; });
  EXPECT_EQ(first.outcome, PrepareResult::Outcome::kStopped);
  stop = false;
  options_.max_pixels = 399;
  std::string notes;
  expect_contains(error_of([&] { prepare(options_, [&](const PrepareProgress& at) { notes += at.note; }); }),
                  "none of the 12 images can be read");
  expect_contains(notes, "starts afresh");
}

TEST_F(PrepareLimits, AnImageThatThereIsNoMemoryForIsRejectedAlone) {
  DENSETREE_NEEDS_MEMORY_LIMITS;
  write_file(folder_ / "images/05.png", huge_png());
  write_file(folder_ / "images/07.png", huge_jpeg(true));
  {
    const ScarceMemory scarce;
    EXPECT_EQ(prepare(options_).images, 10u);
  }
  expect_contains(rejected(), "05.png: no memory for its 9000x9000 pixels; 81000000 bytes were asked for");
  expect_contains(rejected(), "07.png: no memory: libjpeg keeps 162000000 bytes");
}

}  // namespace
}  // namespace densetree::data
