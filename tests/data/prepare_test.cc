#include "data/prepare.h"
#include "data/npy.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "data/hash.h"
#include "data/image.h"
#include "data/resize.h"
#include "data/row_store.h"
#include "engine/io/csv.h"
#include "engine/io/file.h"
#include "kernels/core/philox.h"
#include "tests/data/files.h"
#include "tests/shared_data.h"

namespace densetree::data {
namespace {

namespace fs = std::filesystem;

constexpr int kSize = 8, kPatients = 12, kPerPatient = 2;
constexpr std::size_t kImages = kPatients * kPerPatient;

GreyImage picture(int patient, int number) {
  RandomStream random(5, RandomUse::kSynth, static_cast<std::uint32_t>(patient), static_cast<std::uint32_t>(number));
  GreyImage image{20, 20, {}};
  for (int i = 0; i < 400; ++i) image.pixels.push_back(static_cast<std::uint8_t>(random.below(256)));
  return image;
}

std::string name_of_image(int patient, int number) {
  return fmt::format("{:08}_{:03}.png", patient, number);
}

// 12 patients of two 20×20 images each, in two folders, and their table.
class Prepare : public testing::Test {
 protected:
  void SetUp() override {
    make_folder(in_ / "a" / "deep");
    make_folder(in_ / "b");
    std::string table = "Image Index,Finding Labels,Patient ID\n";
    for (int patient = kPatients; patient >= 1; --patient) {
      for (int number = 0; number < kPerPatient; ++number) {
        const std::string name = name_of_image(patient, number);
        std::ofstream(patient % 2 ? in_ / "a" / "deep" / name : in_ / "b" / name)
            << encode_png(picture(patient, number));
        table += fmt::format("{},{},{}\n", name, number ? "Hernia|Edema" : "No Finding", patient);
      }
    }
    write_file(options_.labels = folder_ / "table.csv", table);
    options_.images = {in_ / "a", in_ / "b"};
    options_.out = folder_ / "data";
    options_.size = kSize, options_.jobs = 2;
  }

  std::string text(const std::string& name) const { return read_file(options_.out / name); }
  CsvTable rejected() const { return CsvTable::read(options_.out / "rejected.csv"); }
  std::map<std::string, std::string> contents() const {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::directory_iterator(options_.out)) {
      all[entry.path().filename().string()] = fs::is_directory(entry) ? "(folder)" : read_file(entry.path());
    }
    return all;
  }
  // Runs until `images` are done, then asks it to stop.
  PrepareResult prepare_until(std::size_t images) {
    std::atomic<bool> stop = false;
    PrepareOptions options = options_;
    options.stop = &stop, options.jobs = 1;
    if (images == 0) stop = true;
    return prepare(options, [&](const PrepareProgress& at) { stop = stop || at.done >= images; });
  }
  std::vector<std::string> notes() {
    std::vector<std::string> notes;
    result_ = prepare(options_, [&](const PrepareProgress& at) {
      if (!at.note.empty()) notes.push_back(at.note);
    });
    return notes;
  }

  TemporaryFolder folder_;
  fs::path in_ = folder_ / "in";
  PrepareOptions options_;
  PrepareResult result_;
};

TEST_F(Prepare, PacksRowsSortedByName) {
  const PrepareResult result = prepare(options_);
  EXPECT_EQ(result.outcome, PrepareResult::Outcome::kDone);
  EXPECT_EQ(result.images, kImages);
  EXPECT_EQ(result.decoded, kImages);
  EXPECT_EQ(result.rejected, 0u);
  const std::string images = text("images.npy"), index = text("index.csv");
  const std::string header = npy_header("|u1", std::array<std::size_t, 3>{kImages, kSize, kSize});
  ASSERT_EQ(images.substr(0, header.size()), header);
  ASSERT_EQ(images.size(), header.size() + kImages * kSize * kSize);
  const CsvTable table = CsvTable::parse(index, "index.csv");
  EXPECT_EQ(table.header(),
            (std::vector<std::string>{"Image Index", "Patient ID", "Finding Labels", "split", "pixels_xxh64"}));
  ASSERT_EQ(table.rows(), kImages);
  std::set<std::string> patient_sides;
  for (std::size_t i = 0; i < kImages; ++i) {
    const int patient = static_cast<int>(i) / kPerPatient + 1, number = static_cast<int>(i) % kPerPatient;
    const std::vector<std::string>& row = table.row(i);
    EXPECT_EQ(row[0], name_of_image(patient, number));
    EXPECT_EQ(row[1], std::to_string(patient));
    EXPECT_EQ(row[2], number ? "Edema|Hernia" : "No Finding");
    patient_sides.insert(row[1] + row[3]);
    const GreyImage want = resize_area(picture(patient, number), kSize);
    EXPECT_EQ(std::memcmp(images.data() + header.size() + i * kSize * kSize, want.pixels.data(), kSize * kSize), 0);
  }
  EXPECT_EQ(patient_sides.size(), static_cast<std::size_t>(kPatients));
  EXPECT_EQ(text("rejected.csv"), "Image Index,reason\n");
}

TEST_F(Prepare, TheManifestSaysWhatIsThere) {
  const PrepareResult result = prepare(options_);
  const nlohmann::json manifest = nlohmann::json::parse(text("manifest.json"));
  EXPECT_EQ(manifest.at("format"), "densetree-data");
  EXPECT_EQ(manifest.at("version"), kDataVersion);
  EXPECT_EQ(manifest.at("images"), kImages);
  EXPECT_EQ(manifest.at("image_size"), kSize);
  EXPECT_EQ(manifest.at("images_xxh64"), hash_text(xxh64(text("images.npy"))));
  EXPECT_EQ(manifest.at("index_xxh64"), hash_text(xxh64(text("index.csv"))));
  const CsvTable table = CsvTable::parse(text("index.csv"), "index.csv");
  for (const Side side : kSides) {
    std::size_t images = 0;
    for (std::size_t i = 0; i < table.rows(); ++i) images += table.row(i)[3] == name_of(side);
    const nlohmann::json& split = manifest.at("splits").at(std::string(name_of(side)));
    EXPECT_EQ(split.at("images"), images);
    EXPECT_EQ(split.at("patients"), images / kPerPatient);
    EXPECT_EQ(result.sides[static_cast<std::size_t>(side)].images, images);
    EXPECT_GT(images, 0u);
  }
}

TEST_F(Prepare, AnyNumberOfJobsAndAnyInterruptionGiveTheSameBytes) {
  options_.jobs = 1;
  prepare(options_);
  const auto want = contents();
  EXPECT_EQ(want.size(), 4u);  // nothing else lies there
  for (const int jobs : {2, 7}) {
    fs::remove_all(options_.out);
    options_.jobs = jobs;
    prepare(options_);
    EXPECT_EQ(contents(), want) << jobs << " jobs";
  }
  fs::remove_all(options_.out);
  EXPECT_EQ(prepare_until(0).outcome, PrepareResult::Outcome::kStopped);
  EXPECT_EQ(prepare_until(0).decoded, 0u);
  prepare(options_);
  EXPECT_EQ(contents(), want);
}

// 40 more images, larger ones, so that a stop comes in the middle.
TEST_F(Prepare, ContinuesWhatWasStopped) {
  std::string table = read_file(options_.labels);
  for (int i = 0; i < 40; ++i) {
    GreyImage image{700, 700, std::vector<std::uint8_t>(490000, static_cast<std::uint8_t>(i))};
    std::ofstream(in_ / "a" / name_of_image(50 + i, 0)) << encode_png(image, 1);
    table += fmt::format("{},Mass,{}\n", name_of_image(50 + i, 0), 50 + i);
  }
  write_file(options_.labels, table);
  options_.size = 300;
  prepare(options_);
  const auto want = contents();
  fs::remove_all(options_.out);
  std::size_t decoded = 0;
  for (int i = 0; i < 1000; ++i) {
    std::atomic<bool> stop = false;
    PrepareOptions options = options_;
    options.stop = &stop, options.jobs = 1;
    std::jthread stopper([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      stop = true;
    });
    const PrepareResult result = prepare(options);
    decoded += result.decoded;
    if (result.outcome == PrepareResult::Outcome::kDone) break;
    EXPECT_FALSE(fs::exists(options_.out / "images.npy"));
    EXPECT_FALSE(fs::exists(options_.out / "manifest.json"));
  }
  EXPECT_EQ(decoded, kImages + 40);  // each once
  EXPECT_EQ(contents(), want);
}

TEST_F(Prepare, SurvivesATornJournalAndLostRows) {
  prepare(options_);
  const auto want = contents();
  fs::remove_all(options_.out);
  prepare_until(0);
  const fs::path journal = options_.out / ".partial" / "journal";
  const std::string title = read_file(journal);
  for (const std::string& tail :
       {std::string("3"), std::string("99999\n"), std::string("x\n"), std::string("\0\0\0", 3)}) {
    std::ofstream(journal, std::ios::app) << tail;
    EXPECT_EQ(prepare_until(0).decoded, 0u);
    EXPECT_EQ(read_file(journal), title);
  }
  fs::resize_file(options_.out / ".partial" / "images.npy", 100);
  EXPECT_EQ(notes().size(), 1u);  // starts afresh, and says so
  EXPECT_EQ(contents(), want);
}

TEST_F(Prepare, OtherSettingsStartAfreshAndSaySo) {
  prepare_until(0);
  options_.split.seed = 9;
  const std::vector<std::string> said = notes();
  ASSERT_EQ(said.size(), 1u);
  expect_contains(said[0], "starts afresh");
  EXPECT_EQ(result_.decoded, kImages);
  EXPECT_EQ(contents().size(), 4u);
}

TEST_F(Prepare, AFinishedDataSetIsReplacedOnlyWhenTold) {
  prepare(options_);
  const auto want = contents();
  options_.split.seed = 10;
  expect_contains(error_of([&] { prepare(options_); }), "holds a finished data set already");
  write_file(options_.out / "manifest.json", "{\"format\": \"mine\"}");
  expect_contains(error_of([&] { prepare(options_); }), "is no manifest of a data set");
  write_file(options_.out / "manifest.json", "{\"format\": 1, \"fingerprint\": []}");
  expect_contains(error_of([&] { prepare(options_); }), "is no manifest of a data set");
  fs::remove(options_.out / "manifest.json");
  expect_contains(error_of([&] { prepare(options_); }), "images.npy: is there already");
  EXPECT_EQ(text("index.csv"), want.at("index.csv"));
  options_.replace = true;
  prepare(options_);
  EXPECT_NE(text("index.csv"), want.at("index.csv"));
}

TEST_F(Prepare, ADamagedDataSetIsMadeAnew) {
  prepare(options_);
  const auto want = contents();
  std::string images = text("images.npy");
  images.back() = static_cast<char>(images.back() ^ 1);
  write_file(options_.out / "images.npy", images);
  const std::vector<std::string> said = notes();
  ASSERT_EQ(said.size(), 1u);
  expect_contains(said[0], "images.npy: damaged");
  EXPECT_EQ(contents(), want);
}

TEST_F(Prepare, AFinishedDataSetIsLeftAlone) {
  prepare(options_);
  const auto want = contents();
  const auto written = fs::last_write_time(options_.out / "images.npy");
  const PrepareResult again = prepare(options_);
  EXPECT_EQ(again.outcome, PrepareResult::Outcome::kAlreadyDone);
  EXPECT_EQ(again.images, kImages);
  EXPECT_EQ(again.decoded, 0u);
  EXPECT_EQ(again.sides[0].patients, nlohmann::json::parse(text("manifest.json"))["splits"]["train"]["patients"]);
  EXPECT_EQ(fs::last_write_time(options_.out / "images.npy"), written);
  EXPECT_EQ(contents(), want);
  fs::resize_file(options_.out / "images.npy", 500);  // cut short: made again
  const std::vector<std::string> said = notes();
  ASSERT_EQ(said.size(), 1u);
  expect_contains(said[0], "cannot be used");
  EXPECT_EQ(contents(), want);
  write_png(in_ / "b" / name_of_image(2, 0), picture(77, 7));  // a new file is noticed
  expect_contains(error_of([&] { prepare(options_); }), "of other settings, table or files");
  options_.replace = true;
  EXPECT_EQ(prepare(options_).outcome, PrepareResult::Outcome::kDone);
  EXPECT_NE(contents(), want);
}

TEST_F(Prepare, WhatIsNotTakenIsListedWithTheReason) {
  const std::string good = read_file(in_ / "a" / "deep" / name_of_image(1, 0));
  write_file(in_ / "a" / "deep" / name_of_image(1, 0), good.substr(0, good.size() / 2));
  write_file(in_ / "a" / "deep" / name_of_image(1, 1), "");
  fs::remove(in_ / "b" / name_of_image(2, 0));
  write_file(in_ / "a" / name_of_image(2, 1), good);
  write_file(in_ / "b" / "stranger.PNG", good);
  write_file(in_ / "b" / "readme.txt", "not an image");
  const PrepareResult result = prepare(options_);
  EXPECT_EQ(result.images, kImages - 4);
  EXPECT_EQ(result.rejected, 5u);
  const CsvTable table = rejected();
  ASSERT_EQ(table.rows(), 5u);
  const std::array<std::pair<std::string, std::string>, 5> want = {
      {{name_of_image(1, 0), "cut short"},
       {name_of_image(1, 1), "is empty"},
       {name_of_image(2, 0), "no file of that name"},
       {name_of_image(2, 1), (in_ / "a" / name_of_image(2, 1)).string() + " and " + (in_ / "b").string()},
       {"stranger.PNG", "no row in the label table"}}};
  for (std::size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(table.row(i)[0], want[i].first);
    expect_contains(table.row(i)[1], want[i].second);
  }
  // The rows that are there belong to the index.
  const CsvTable index = CsvTable::parse(text("index.csv"), "index.csv");
  const std::string images = text("images.npy");
  ASSERT_EQ(index.rows(), kImages - 4);
  EXPECT_EQ(index.row(0)[0], name_of_image(3, 0));
  ASSERT_EQ(images.size(), 128 + index.rows() * kSize * kSize);
  const GreyImage first = resize_area(picture(3, 0), kSize);
  EXPECT_EQ(std::memcmp(images.data() + 128, first.pixels.data(), kSize * kSize), 0);
  EXPECT_EQ(nlohmann::json::parse(text("manifest.json"))["images_xxh64"], hash_text(xxh64(images)));
  EXPECT_EQ(contents().size(), 4u);
}

TEST_F(Prepare, WhatCouldNotBeReadIsTriedAgain) {
  const fs::path file = in_ / "a" / "deep" / name_of_image(1, 0);
  const std::string good = read_file(file);
  const auto time = fs::last_write_time(file);
  const auto replace = [&](const std::string& text) {
    std::ofstream(file) << text;
    fs::last_write_time(file, time);
  };
  replace(std::string(good.size(), 'x'));
  options_.strict = true;
  error_of([&] { prepare(options_); });
  replace(good);  // the same size and time: the work continues
  options_.strict = false;
  for (const std::string& note : notes()) expect_contains(note, "continues with");
  EXPECT_EQ(result_.images, kImages);
  EXPECT_EQ(result_.rejected, 0u);
}

TEST_F(Prepare, StrictTurnsEachRejectionIntoAnError) {
  options_.strict = true;
  const fs::path bad = in_ / "b" / name_of_image(2, 0);
  write_file(bad, "no image");
  const std::string message = error_of([&] { prepare(options_); });
  expect_contains(message, name_of_image(2, 0));
  expect_contains(message, "neither a PNG nor a JPEG");
  EXPECT_FALSE(fs::exists(options_.out / "manifest.json"));
  fs::remove(bad);
  expect_contains(error_of([&] { prepare(options_); }), "no file of that name");
  write_png(bad, picture(2, 0));
  EXPECT_EQ(prepare(options_).rejected, 0u);
}

TEST_F(Prepare, FollowsListsAndRejectsWhatIsInNone) {
  std::string train_val, test;
  for (int patient = 1; patient < kPatients; ++patient) {
    for (int number = 0; number < kPerPatient; ++number) {
      (patient <= 8 ? train_val : test) += name_of_image(patient, number) + "\n";
    }
  }
  write_file(options_.split.train_val_list = folder_ / "train_val.txt", train_val);
  write_file(options_.split.test_list = folder_ / "test.txt", test + "typed.png\n");
  std::string notes;
  const PrepareResult result = prepare(options_, [&](const PrepareProgress& at) { notes += at.note; });
  expect_contains(notes, "names are no image of");
  expect_contains(notes, "is 'typed.png'");
  EXPECT_EQ(result.sides[2].patients, 3u);
  EXPECT_EQ(result.sides[1].patients, 2u);
  EXPECT_EQ(result.rejected, 2u);
  expect_contains(rejected().row(0)[1], "in neither");

  for (int number = 0; number < kPerPatient; ++number) {
    test += name_of_image(kPatients, number) + "\n";
  }
  options_.strict = true;
  write_file(options_.split.test_list, test + "typed.png\n");
  expect_contains(error_of([&] { prepare(options_); }), "is 'typed.png'; without strict mode they are left out");
  write_file(options_.split.test_list, test);
  options_.replace = true;
  EXPECT_EQ(prepare(options_).rejected, 0u);
}

TEST_F(Prepare, BadSettingsAndFoldersAreErrors) {
  const auto error_with = [&](auto change) {
    PrepareOptions options = options_;
    change(options);
    return error_of([&] { prepare(options); });
  };
  expect_contains(error_with([](auto& o) { o.size = 0; }), "size is 0; it must be 1 to 16384");
  expect_contains(error_with([](auto& o) { o.jobs = -1; }), "jobs is -1");
  expect_contains(error_with([](auto& o) { o.images = {}; }), "no image folder");
  expect_contains(error_with([&](auto& o) { o.images = {in_ / "absent"}; }), "absent");
  expect_contains(error_with([&](auto& o) { o.images = {o.labels}; }), "table.csv");
  make_folder(folder_ / "empty");
  expect_contains(error_with([&](auto& o) { o.images = {folder_ / "empty"}; }), "none of the 24 images");
  expect_contains(error_with([&](auto& o) { o.labels = folder_ / "absent.csv"; }), "absent.csv");
  expect_contains(error_with([&](auto& o) { o.out = o.labels / "data"; }), "table.csv");
  expect_contains(error_with([&](auto& o) { o.out = "/proc/densetree"; }), "/proc/densetree");
  EXPECT_FALSE(fs::exists(options_.out));
}

TEST_F(Prepare, NothingReadableIsAnError) {
  for (const auto& entry : fs::recursive_directory_iterator(in_)) {
    if (entry.is_regular_file()) std::ofstream(entry.path()) << "junk";
  }
  expect_contains(error_of([&] { prepare(options_); }), "none of the 24 images can be read");
  EXPECT_FALSE(fs::exists(options_.out / "manifest.json"));
}

TEST_F(Prepare, LinksInCirclesAndFoldersGivenTwiceAreSearchedOnce) {
  fs::create_directory_symlink(in_, in_ / "a" / "circle");
  fs::create_symlink(in_ / "nowhere.png", in_ / "a" / "broken.png");
  options_.images = {in_, in_ / "a", in_};
  EXPECT_EQ(prepare(options_).images, kImages);
}

// A limit on file sizes acts as a full disk does.
TEST_F(Prepare, AFullDiskIsAnErrorThatLeavesNothingUnderAFinalName) {
  options_.size = 100;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 100000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = error_of([&] { prepare(options_); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  expect_contains(message, "images.npy");
  expect_contains(message, "240128 bytes are needed");
  EXPECT_EQ(contents().count("images.npy"), 0u);
  EXPECT_EQ(contents().count("manifest.json"), 0u);
  EXPECT_EQ(prepare(options_).images, kImages);
  EXPECT_EQ(contents().size(), 4u);
}

TEST_F(Prepare, TwoRunsOnOneFolderAreKeptApart) {
  RowStore busy(options_.out / ".partial", "x", 4, kSize);
  expect_contains(error_of([&] { prepare(options_); }), "another prepare is at work");
}

TEST(PrepareNih, PacksTheOriginals) {
  DENSETREE_NEEDS_SHARED("data/nih-1024");
  const TemporaryFolder folder;
  PrepareOptions options;
  const fs::path source = shared_folder() / "data/nih-1024";
  options.images = {source / "images"}, options.labels = source / "Data_Entry_2017.csv", options.out = folder / "data";
  const PrepareResult result = prepare(options);
  EXPECT_EQ(result.images, 43u);
  EXPECT_EQ(result.rejected, 0u);
  const GreyImage first = resize_area(decode_image(source / "images/00000129_000.png"), 256);
  const std::string images = read_file(options.out / "images.npy");
  ASSERT_EQ(images.size(), 128u + 43 * 65536);
  EXPECT_EQ(std::memcmp(images.data() + 128, first.pixels.data(), 65536), 0);
}

TEST(NpyHeader, IsNumPys) {
  const std::string header = npy_header("|u1", std::array<std::size_t, 3>{43, 256, 256});
  EXPECT_EQ(header.size() % 64, 0u);
  EXPECT_EQ(header.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  expect_contains(header, "{'descr': '|u1', 'fortran_order': False, 'shape': (43, 256, 256), }");
  EXPECT_EQ(header.back(), '\n');
  expect_contains(npy_header("<f4", std::array<std::size_t, 1>{5}), "'shape': (5,), }");
}

}  // namespace
}  // namespace densetree::data
