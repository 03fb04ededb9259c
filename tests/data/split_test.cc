#include "data/split.h"

#include <gtest/gtest.h>

#include <map>

#include "engine/io/file.h"
#include "tests/data/files.h"
#include "tests/shared_data.h"

namespace densetree::data {
namespace {

// Patients 1 … count with `images` images each.
LabelTable table_of(int count, int images) {
  LabelTable table{"t.csv", {}};
  for (int patient = 1; patient <= count; ++patient) {
    for (int i = 0; i < images; ++i) {
      table.entries.push_back({fmt::format("{:08}_{:03}.png", patient, i), patient, 0, table.entries.size() + 2});
    }
  }
  return table;
}

std::map<std::int64_t, Side> by_patient(const LabelTable& table, const SplitOptions& options) {
  const std::vector<std::optional<Side>> sides = split_by_patient(table, options);
  EXPECT_EQ(sides.size(), table.entries.size());
  std::map<std::int64_t, Side> of;
  for (std::size_t i = 0; i < sides.size(); ++i) {
    EXPECT_TRUE(sides[i].has_value());
    const auto [found, fresh] = of.emplace(table.entries[i].patient, *sides[i]);
    EXPECT_EQ(found->second, *sides[i]) << "patient " << found->first << " stands on two sides";
  }
  return of;
}

std::array<int, 3> counts(const std::map<std::int64_t, Side>& of) {
  std::array<int, 3> count{};
  for (const auto& [patient, side] : of) ++count[static_cast<std::size_t>(side)];
  return count;
}

TEST(Split, TakesFractionsOfPatients) {
  EXPECT_EQ(counts(by_patient(table_of(1000, 3), {})), (std::array{640, 160, 200}));
  SplitOptions options;
  options.test_fraction = 0, options.val_fraction = 0.5;
  EXPECT_EQ(counts(by_patient(table_of(10, 2), options)), (std::array{5, 5, 0}));
  options.val_fraction = 0;
  EXPECT_EQ(counts(by_patient(table_of(10, 2), options)), (std::array{10, 0, 0}));
  EXPECT_EQ(counts(by_patient(table_of(3, 1), {})), (std::array{1, 1, 1}));
}

TEST(Split, DependsOnPatientsAndSeedOnly) {
  LabelTable table = table_of(200, 2);
  const auto first = by_patient(table, {});
  EXPECT_EQ(by_patient(table, {}), first);
  std::reverse(table.entries.begin(), table.entries.end());
  EXPECT_EQ(by_patient(table, {}), first);
  EXPECT_EQ(by_patient(table_of(200, 5), {}), first);
  SplitOptions options;
  options.seed = 2;
  EXPECT_NE(by_patient(table, options), first);
}

TEST(Split, RefusesWhatCannotBeSplit) {
  SplitOptions options;
  options.test_fraction = 1;
  expect_contains(error_of([&] { split_by_patient(table_of(9, 1), options); }),
                  "test-fraction is 1; it must be at least 0 and below 1");
  options.test_fraction = 0.2, options.val_fraction = -0.1;
  expect_contains(error_of([&] { split_by_patient(table_of(9, 1), options); }), "val-fraction is -0.1");
  options.val_fraction = std::nan("");
  EXPECT_THROW(split_by_patient(table_of(9, 1), options), Error);
  expect_contains(error_of([&] { split_by_patient(table_of(2, 4), {}); }), "2 patients are too few");
  options = {};
  options.test_list = "x";
  expect_contains(error_of([&] { split_by_patient(table_of(9, 1), options); }), "only one list");
}

class SplitByList : public testing::Test {
 protected:
  SplitByList() { options_.train_val_list = folder_ / "train_val_list.txt", options_.test_list = folder_ / "test.txt"; }
  void lists(const std::string& train_val, const std::string& test) {
    write_file(options_.train_val_list, train_val);
    write_file(options_.test_list, test);
  }
  std::string error() {
    return error_of([&] { split_by_patient(table_, options_); });
  }

  TemporaryFolder folder_;
  SplitOptions options_;
  LabelTable table_ = table_of(6, 2);
};

TEST_F(SplitByList, FollowsTheListsAndCarvesValidationByPatient) {
  std::string train_val;
  for (int patient = 1; patient <= 4; ++patient)
    train_val += fmt::format("{0:08}_000.png\r\n{0:08}_001.png\r\n", patient);
  lists(train_val, "\n00000005_000.png\n00000005_001.png\nelsewhere.png");
  options_.val_fraction = 0.25;
  const std::vector<std::optional<Side>> sides = split_by_patient(table_, options_);
  int val = 0;
  for (std::size_t i = 0; i < 8; i += 2) {
    EXPECT_EQ(sides[i], sides[i + 1]);
    EXPECT_NE(sides[i], Side::kTest);
    val += sides[i] == Side::kVal;
  }
  EXPECT_EQ(val, 1);
  EXPECT_EQ(sides[8], Side::kTest);
  EXPECT_EQ(sides[9], Side::kTest);
  EXPECT_EQ(sides[10], std::nullopt);  // in no list
}

TEST_F(SplitByList, RefusesAPatientOnTwoSides) {
  lists("00000001_000.png\n00000002_000.png\n", "00000003_000.png\n00000002_001.png\n");
  const std::string message = error();
  expect_contains(message, "patient 2 stands on two sides");
  expect_contains(message, "00000002_000.png in " + options_.train_val_list.string() + ":2");
  expect_contains(message, "00000002_001.png in " + options_.test_list.string() + ":2");
}

// What editors and spreadsheets leave beside the names is no part of them.
TEST_F(SplitByList, LeavesOutMarksAndBlanks) {
  lists(
      "\xEF\xBB\xBF"
      "00000001_000.png\t\r\n00000002_000.png \t \n00000003_000.png\n",
      "\xEF\xBB\xBF"
      "00000004_000.png\t\t\n");
  std::vector<std::string> unmatched;
  const std::vector<std::optional<Side>> sides = split_by_patient(table_, options_, &unmatched);
  EXPECT_TRUE(unmatched.empty());
  EXPECT_TRUE(sides[0] && sides[2] && sides[4]);
  EXPECT_EQ(sides[6], Side::kTest);
}

TEST_F(SplitByList, ReadsWhatEditorsSave) {
  std::string wide = "\xFF\xFE";
  for (const char c : std::string("00000004_000.png\r\n")) {
    wide += {c, '\0'};
  }
  lists("00000001_000.png\r00000002_000.png\r\r00000003_000.png", wide);
  std::vector<std::string> unmatched;
  const std::vector<std::optional<Side>> sides = split_by_patient(table_, options_, &unmatched);
  EXPECT_TRUE(unmatched.empty());
  EXPECT_TRUE(sides[0] && sides[2] && sides[4]);
  EXPECT_EQ(sides[6], Side::kTest);
}

TEST_F(SplitByList, SaysWhichNamesMatchNothing) {
  lists("00000001_000.png\n00000002_000.png\n", "00000004_000.png\nb.png\na.png\n");
  std::vector<std::string> unmatched;
  split_by_patient(table_, options_, &unmatched);
  ASSERT_EQ(unmatched.size(), 1u);
  expect_contains(unmatched[0], "test.txt: 2 of its 3 names are no image of t.csv; the first, in line 2, is 'b.png'");
  for (const char* form : {"images/{}\n", "{} 0 1 0\n", "{},Effusion\n"}) {  // paths; CheXNet's and others' labels
    lists("00000001_000.png\n", fmt::format(fmt::runtime(form), "00000004_000.png"));
    expect_contains(error(), "test.txt: 1 of its 1 names are no image of t.csv");
    expect_contains(error(), "a list has file names as `Image Index` has them, one a line, and nothing else");
  }
}

TEST_F(SplitByList, RefusesBadLists) {
  lists("00000001_000.png\n", "00000002_000.png\n00000001_000.png\n");
  expect_contains(error(), "image 00000001_000.png is also in");
  lists("00000001_000.png\n", "\r\n\n");
  expect_contains(error(), "test.txt: is empty");
  lists("elsewhere.png\n", "00000001_000.png\n");
  expect_contains(error(), "1 of its 1 names are no image of t.csv; the first, in line 1, is 'elsewhere.png'");
  lists("00000001_000.png\n", "00000002_000.png\n");
  std::filesystem::remove(options_.test_list);
  expect_contains(error(), "test.txt");
}

TEST(Split, SplitsTheWholeOfNihByPatient) {
  DENSETREE_NEEDS_SHARED("data/nih-full");
  const LabelTable table = read_label_table(shared_folder() / "data/nih-full/Data_Entry_2017_v2020.csv.gz");
  EXPECT_EQ(counts(by_patient(table, {})), (std::array{19715, 4929, 6161}));
}

}  // namespace
}  // namespace densetree::data
