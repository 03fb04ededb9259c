// The index of a data set, and images that are known again by their pixels.
#include "data/data_index.h"

#include "engine/io/file.h"

#include "tests/data/files.h"
#include "tests/error_of.h"

namespace densetree::data {
namespace {

// A row whose pixels have the hash `pixels`.
DataRow row(const std::string& image, std::uint64_t pixels, Side side, FindingSet findings = 0) {
  return {image, 7, findings, side, pixels};
}

TEST(DataIndex, RoundTrip) {
  std::vector<DataRow> rows{row("a.png", 0, Side::kTrain), row("b, or c.png", UINT64_MAX, Side::kVal, 5),
                            row("d.png", 0x123456789abcdef0, Side::kTest, 1)};
  EXPECT_EQ(parse_data_index(data_index_csv(rows), "x"), rows);
  rows[1].pixels.reset();
  EXPECT_EQ(parse_data_index(data_index_csv(rows), "x"), rows);
}

TEST(DataIndex, OfOtherPrograms) {
  const std::vector<DataRow> rows =
      parse_data_index("split,view,Image Index,Finding Labels,Patient ID\nval,PA,a.png,Mass|Nodule,3\n", "x");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].side, Side::kVal);
  EXPECT_FALSE(rows[0].pixels.has_value());
}

TEST(DataIndex, FaultsNameTheLine) {
  const std::string head = "Image Index,Patient ID,Finding Labels,split,pixels_xxh64\n";
  for (const char* bad : {"a.png,x,Mass,train,", "a.png,1,Mess,train,", "a.png,1,Mass,trian,", "a.png,1,Mass,train,xyz",
                          "a.png,1,Mass,train,1234567890abcdef0"}) {
    EXPECT_NE(error_of([&] { parse_data_index(head + bad + "\n", "index.csv"); }).find("index.csv:2"),
              std::string::npos)
        << bad;
  }
}

TEST(FindConflict, NothingInCommonIsNone) {
  EXPECT_EQ(find_conflict({}, {}), "");
  const std::vector<DataRow> known{row("a.png", 1, Side::kTrain)}, same_name{row("a.png", 2, Side::kTest)};
  EXPECT_EQ(find_conflict(known, same_name), "");
  EXPECT_EQ(find_conflict(known, known), "");
}

// Under whatever name, and in a data set of whatever other images.
TEST(FindConflict, KnowsImagesByTheirPixels) {
  const std::vector<DataRow> known{row("a.png", 1, Side::kTrain), row("b.png", 2, Side::kTest)},
      rows{row("new.png", 9, Side::kTest), row("renamed.png", 1, Side::kTest), row("b.png", 2, Side::kTest)};
  const std::string conflict = find_conflict(known, rows);
  EXPECT_NE(conflict.find("1 of these 3 images"), std::string::npos) << conflict;
  EXPECT_NE(conflict.find("renamed.png, in 'train', not 'test'"), std::string::npos) << conflict;
}

TEST(FindConflict, TellsSidesBeforeFindings) {
  const std::vector<DataRow> known{row("a.png", 1, Side::kTest, 1), row("b.png", 2, Side::kVal)};
  std::vector<DataRow> rows{row("a.png", 1, Side::kTest, 2)};
  EXPECT_NE(find_conflict(known, rows).find("'Atelectasis', not 'Cardiomegaly'"), std::string::npos);
  rows.push_back(row("b.png", 2, Side::kTest));
  EXPECT_NE(find_conflict(known, rows).find("b.png, in 'val', not 'test'"), std::string::npos);
}

// Blank images, which are the same to the byte, on different sides.
TEST(FindConflict, TellsTwinsApartByName) {
  const std::vector<DataRow> known{row("a.png", 1, Side::kTrain), row("b.png", 1, Side::kTest)};
  for (const std::vector<DataRow>& rows :
       {std::vector<DataRow>{known[0]}, {known[1]}, {known[1], known[0]}, {row("c.png", 1, Side::kTest)}}) {
    EXPECT_EQ(find_conflict(known, rows), "") << rows[0].image;
  }
  EXPECT_NE(find_conflict(known, std::vector{row("a.png", 1, Side::kTest)}), "");
  EXPECT_NE(find_conflict(known, std::vector{row("c.png", 1, Side::kVal)}), "");
}

TEST(United, KeepsWhatWasTrainedOn) {
  const std::vector<DataRow> known{row("a.png", 1, Side::kTrain), row("b.png", 2, Side::kTest),
                                   row("c.png", 3, Side::kVal)},
      rows{row("a.png", 1, Side::kTest), row("b.png", 2, Side::kTrain, 4), row("d.png", 5, Side::kTest)};
  const std::vector<DataRow> both = united(known, rows),
                             right{row("a.png", 1, Side::kTrain), row("b.png", 2, Side::kTrain, 4),
                                   row("d.png", 5, Side::kTest), row("c.png", 3, Side::kVal)};
  EXPECT_EQ(both, right);
}

// Renamed, or beside a twin of another name.
TEST(United, KnowsImagesByTheirPixels) {
  const std::vector<DataRow> known{row("a.png", 1, Side::kTrain)}, rows{row("renamed.png", 1, Side::kTest)};
  const std::vector<DataRow> both = united(known, rows);
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0].side, Side::kTrain);
  EXPECT_NE(find_conflict(both, rows), "");
  const std::vector<DataRow> twins{row("a.png", 1, Side::kTrain), row("b.png", 1, Side::kTest)};
  EXPECT_EQ(united(twins, twins), twins);
}

TEST(KnownRows, MustHaveTheirHashes) {
  const TemporaryFolder folder;
  write_file(folder / "data.csv", "Image Index,Patient ID,Finding Labels,split\na.png,1,Mass,train\n");
  EXPECT_NE(error_of([&] { read_known_rows(folder / "data.csv"); }).find("image a.png has no pixels_xxh64"),
            std::string::npos);
}

}  // namespace
}  // namespace densetree::data
