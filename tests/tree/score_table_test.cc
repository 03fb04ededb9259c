#include "tree/score_table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/io/file.h"
#include "kernels/core/error.h"
#include "tests/tree/random_set.h"

namespace densetree::tree {
namespace {

namespace fs = std::filesystem;

class ScoreTableTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              (std::string("score_table_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    path_ = folder_ / "s.csv";
  }
  void TearDown() override { fs::remove_all(folder_); }

  void expect_refused(const std::string& text, const std::string& wanted) {
    SCOPED_TRACE(text);
    write_file(path_, text);
    try {
      read_score_table(path_, data::LabelSet());
      ADD_FAILURE() << "read, but should say: " << wanted;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(wanted), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("s.csv"), std::string::npos) << error.what();
    }
  }

  fs::path folder_, path_;
};

TEST_F(ScoreTableTest, ReadsLabelsInTheSetsOrderWithOrWithoutPrefix) {
  write_file(path_, "Age,Hernia,Image Index,prob_Mass\n30,0.25,a.png,1\n40,1e-3,b.png,0\n");
  const ScoreTable table = read_score_table(path_, data::LabelSet());
  EXPECT_EQ(table.labels, (std::vector<std::string>{"Mass", "Hernia"}));
  EXPECT_EQ(table.images, (std::vector<std::string>{"a.png", "b.png"}));
  EXPECT_EQ(table.scores, (std::vector<double>{1, 0.25, 0, 1e-3}));
  EXPECT_EQ(table.lines, (std::vector<std::size_t>{2, 3}));
}

TEST_F(ScoreTableTest, NamesFileLineAndColumnOfABadScore) {
  const std::string head = "Image Index,prob_Mass\na.png,0.5\nb.png,";
  for (const char* bad : {"nan", "inf", "-0.1", "1.5", "", "0.5x", "1e999", "high", "0,5"}) {
    const bool two_fields = std::string(bad) == "0,5";
    expect_refused(head + bad + "\n",
                   two_fields ? "s.csv:3" : "s.csv:3: column 'prob_Mass' is '" + std::string(bad) + "'");
  }
}

TEST_F(ScoreTableTest, RefusesColumnsItCannotPlace) {
  expect_refused("image,prob_Mass\na.png,0.5\n", "Image Index");
  expect_refused("Image Index,score\na.png,0.5\n", "no column is called after a label");
  expect_refused("Image Index,prob_Mass,prob_Mas\na.png,0.5,0.5\n", "column 'prob_Mas' is not after a label");
  expect_refused("Image Index,prob_Mass,Mass\na.png,0.5,0.5\n", "both 'Mass' and 'prob_Mass'");
  expect_refused("Image Index,prob_Mass\n", "no scores");
  expect_refused("Image Index,prob_Mass\na.png,0.5\nb.png,0.1\na.png,0.5\n",
                 "s.csv:4: image 'a.png' is there already, at line 2");
  expect_refused("Image Index,prob_Mass\n,0.5\n", "no name");
}

data::LabelTable truth() {
  data::LabelTable table;
  table.source = "truth.csv";
  table.entries = {{"c.png", 3, data::parse_findings("Mass|Hernia", "t"), 2},
                   {"a.png", 1, data::parse_findings("No Finding", "t"), 3},
                   {"b.png", 2, data::parse_findings("Hernia", "t"), 4}};
  return table;
}

TEST_F(ScoreTableTest, JoinsByImage) {
  write_file(path_, "Image Index,prob_Mass,prob_Hernia\nb.png,0.5,0.6\nc.png,0.7,0.8\n");
  const ScoredImages set = join(read_score_table(path_, data::LabelSet()), truth(), data::LabelSet());
  EXPECT_EQ(set.images, (std::vector<std::string>{"b.png", "c.png"}));
  EXPECT_EQ(set.patients, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(set.targets, (std::vector<float>{0, 1, 1, 1}));
  EXPECT_NO_THROW(set.check_values("s.csv"));
}

TEST_F(ScoreTableTest, JoinsMergedLabels) {
  const data::LabelSet merged({{"Mass_Hernia", {"Mass", "Hernia"}}});
  write_file(path_, "Image Index,prob_Mass_Hernia\na.png,0.5\nb.png,0.7\n");
  EXPECT_EQ(join(read_score_table(path_, merged), truth(), merged).targets, (std::vector<float>{0, 1}));
}

TEST_F(ScoreTableTest, SaysHowManyImagesHaveNoTruth) {
  write_file(path_, "Image Index,prob_Mass\na.png,0.5\nx.png,0.5\ny.png,0.5\n");
  try {
    join(read_score_table(path_, data::LabelSet()), truth(), data::LabelSet());
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("2 of its 3 images are not in truth.csv; the first is 'x.png' at line 3"),
              std::string::npos)
        << error.what();
  }
}

TEST_F(ScoreTableTest, WrittenScoresComeBackExactly) {
  ScoredImages set = random_set(1, {});
  set.labels = {"Mass", "Hernia"};
  set.images[3] = "odd, \"name\".png";
  set.scores[0] = 0.1 + 0.2, set.scores[1] = 5e-324;
  write_file(path_, score_csv(set));
  const ScoreTable table = read_score_table(path_, data::LabelSet());
  EXPECT_EQ(table.scores, set.scores);
  EXPECT_EQ(table.images, set.images);
}

TEST(ScoredImagesTest, RefusesValuesThatMakeNoSense) {
  const auto refused = [](const auto& spoil) {
    ScoredImages set = random_set(1, {});
    spoil(set);
    EXPECT_THROW(set.check_values("set"), Error);
  };
  EXPECT_NO_THROW(random_set(1, {}).check_values("set"));
  refused([](ScoredImages& s) { s.scores[5] = std::numeric_limits<double>::quiet_NaN(); });
  refused([](ScoredImages& s) { s.scores[5] = 1.0000001; });
  refused([](ScoredImages& s) { s.targets[5] = 0.5f; });
  refused([](ScoredImages& s) { s.targets.pop_back(); });
  refused([](ScoredImages& s) { s.patients.pop_back(); });
  refused([](ScoredImages& s) { s = {}; });
}

}  // namespace
}  // namespace densetree::tree
