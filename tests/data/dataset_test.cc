#include "data/dataset.h"

#include <gtest/gtest.h>

#include "tests/data/tiny_dataset.h"

namespace densetree::data {
namespace {

class DatasetTest : public testing::Test {
 protected:
  void SetUp() override { write_tiny_dataset(folder_.path(), 20, 6); }
  std::string opening_error() {
    return error_of([&] { Dataset dataset(folder_.path()); });
  }
  void change_manifest(const std::string& key, const nlohmann::json& value) {
    auto manifest = nlohmann::json::parse(read_file(folder_ / "manifest.json"));
    manifest[key] = value;
    write_file(folder_ / "manifest.json", manifest.dump());
  }

  TemporaryFolder folder_;
};

TEST_F(DatasetTest, GivesRowsAndPixels) {
  const Dataset dataset(folder_.path());
  ASSERT_EQ(dataset.size(), 20);
  EXPECT_EQ(dataset.image_size(), 6);
  for (std::int64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(dataset.row(i).patient, i / 2);
    EXPECT_EQ(dataset.row(i).findings, FindingSet{1} << (i % 14));
    const auto pixels = dataset.pixels(i);
    ASSERT_EQ(pixels.size(), 36u);
    EXPECT_EQ(pixels[0], tiny_pixel(i, 0));
    EXPECT_EQ(pixels[35], tiny_pixel(i, 35));
  }
  EXPECT_EQ(dataset.row(3).image, "00000001_001.png");
  EXPECT_EQ(dataset.rows_of("val"), (std::vector<std::int64_t>{6, 7, 16, 17}));
  EXPECT_EQ(dataset.rows_of(Side::kTrain).size(), 12u);
  EXPECT_NO_THROW(dataset.verify());
}

TEST_F(DatasetTest, UnknownSplitNamesTheThree) {
  const Dataset dataset(folder_.path());
  const std::string message = error_of([&] { dataset.rows_of("validation"); });
  expect_contains(message, "validation");
  expect_contains(message, "train");
}

TEST_F(DatasetTest, RowOutOfRange) {
  const Dataset dataset(folder_.path());
  error_of([&] { dataset.pixels(20); });
  error_of([&] { dataset.pixels(-1); });
}

TEST_F(DatasetTest, MissingFilesSayWhatToRun) {
  for (const char* name : {"images.npy", "index.csv", "manifest.json"}) {
    write_tiny_dataset(folder_.path(), 20, 6);
    std::filesystem::remove(folder_ / name);
    const std::string message = opening_error();
    expect_contains(message, name);
    expect_contains(message, "densetree prepare");
  }
  error_of([&] { Dataset dataset(folder_ / "absent"); });
}

TEST_F(DatasetTest, ImagesCutShortOrLong) {
  const std::string whole = read_file(folder_ / "images.npy");
  write_file(folder_ / "images.npy", whole.substr(0, whole.size() - 1));
  std::string message = opening_error();
  expect_contains(message, fmt::format("{} bytes are there, {} should be", whole.size() - 1, whole.size()));
  write_file(folder_ / "images.npy", whole + "x");
  expect_contains(opening_error(), "added");
  for (const std::size_t bytes : {0, 5, 8, 9, 11, 40}) {  // inside the header
    write_file(folder_ / "images.npy", whole.substr(0, bytes));
    expect_contains(opening_error(), "images.npy");
  }
}

TEST_F(DatasetTest, ImagesOfAnotherTypeShapeOrOrder) {
  const std::string pixels(720, 'x');
  const std::pair<std::string, std::string> cases[] = {
      {npy_header("(20, 6, 6)", "<f4"), "<f4"},
      {npy_header("(20, 36)"), "(20, 36)"},
      {npy_header("(10, 12, 6)"), "(10, 12, 6)"},
      {npy_header("(20, 6, 6)", "|u1", "True"), "Fortran"},
      {npy_header("(20, 6, -6)"), "whole number"},
      {npy_header("(99999999999999999999, 6, 6)"), "whole number"},
      {npy_header("(20, 6, 6"), "images.npy"},
      {npy_header("(20, 6, 6)", "|u1", "Maybe"), "fortran_order"},
      {npy_header("(20, 6, 6), 'shape': (20, 6, 6)"), "repeated"},
  };
  for (const auto& [header, part] : cases) {
    write_file(folder_ / "images.npy", header + pixels);
    expect_contains(opening_error(), part);
  }
  std::string other = npy_header("(20, 6, 6)");
  other[6] = 9;
  write_file(folder_ / "images.npy", other + pixels);
  expect_contains(opening_error(), "format 9");
}

TEST_F(DatasetTest, ReadsNumpyFormatTwo) {
  const std::string one = read_file(folder_ / "images.npy");
  const std::string two =
      std::string("\x93NUMPY\x02\x00", 8) + one.substr(8, 2) + std::string(2, '\0') + one.substr(10);
  write_file(folder_ / "images.npy", two);
  EXPECT_EQ(Dataset(folder_.path()).pixels(19)[35], tiny_pixel(19, 35));
}

TEST_F(DatasetTest, AnotherVersionOrFormat) {
  change_manifest("version", kDataVersion + 1);
  expect_contains(opening_error(), fmt::format("version {}", kDataVersion + 1));
  change_manifest("version", kDataVersion);
  change_manifest("format", "something");
  expect_contains(opening_error(), "something");
}

TEST_F(DatasetTest, DamagedManifest) {
  const std::string whole = read_file(folder_ / "manifest.json");
  for (const std::string& text :
       {std::string(), whole.substr(0, whole.size() / 2), std::string("[]"), std::string("{}")}) {
    write_file(folder_ / "manifest.json", text);
    expect_contains(opening_error(), "manifest.json");
  }
}

TEST_F(DatasetTest, CountsThatDisagree) {
  write_file(folder_ / "index.csv", tiny_index(18));
  expect_contains(opening_error(), "18 rows");
  std::string moved = tiny_index(20);
  moved.replace(moved.find(",val"), 4, ",test");
  write_file(folder_ / "index.csv", moved);
  expect_contains(opening_error(), "split 'val'");
  write_tiny_dataset(folder_.path(), 20, 6);
  change_manifest("images", 21);
  expect_contains(opening_error(), "(21, 6, 6)");
}

TEST_F(DatasetTest, IndexFaultsNameTheLine) {
  std::string text = tiny_index(20);
  text.replace(text.find("Cardiomegaly"), 12, "Cardiomegalo");
  write_file(folder_ / "index.csv", text);
  std::string message = opening_error();
  expect_contains(message, "index.csv:3");
  expect_contains(message, "Cardiomegalo");
  text = tiny_index(20);
  text.replace(text.find(",0,"), 3, ",O,");
  write_file(folder_ / "index.csv", text);
  expect_contains(opening_error(), "index.csv:2");
}

// Even where all the numbers still agree.
TEST_F(DatasetTest, AnIndexThatWasChangedIsRefused) {
  std::string text = tiny_index(20);
  text.replace(text.find("Cardiomegaly"), 12, "Hernia");
  write_file(folder_ / "index.csv", text);
  const std::string message = opening_error();
  expect_contains(message, "index.csv: was changed after it was written");
}

TEST_F(DatasetTest, VerifyNamesTheImageWhereTheIndexKnowsThePixels) {
  const Dataset before(folder_.path());
  const std::string index = data_index_csv(before.rows_with_pixels(before.all_rows()));
  change_manifest("index_xxh64", hash_text(xxh64(std::string_view(index))));
  write_file(folder_ / "index.csv", index);
  const Dataset dataset(folder_.path());
  EXPECT_EQ(dataset.row(7).pixels, before.rows_with_pixels(std::vector<std::int64_t>{7})[0].pixels);
  EXPECT_NO_THROW(dataset.verify());
  std::string file = read_file(folder_ / "images.npy");
  file[file.size() - 36] = static_cast<char>(file[file.size() - 36] ^ 1);
  write_file(folder_ / "images.npy", file);
  const Dataset damaged(folder_.path());
  expect_contains(error_of([&] { damaged.verify(); }), "00000009_001.png, at 19");
}

TEST_F(DatasetTest, VerifyFindsAChangedByte) {
  std::string file = read_file(folder_ / "images.npy");
  file.back() = static_cast<char>(file.back() ^ 1);
  write_file(folder_ / "images.npy", file);
  const Dataset dataset(folder_.path());
  expect_contains(error_of([&] { dataset.verify(); }), "images.npy");
}

}  // namespace
}  // namespace densetree::data
