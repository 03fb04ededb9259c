#include "metrics/score_table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/io/file.h"
#include "kernels/core/error.h"
#include "tests/metrics/random_set.h"

namespace densetree::metrics {
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

  // What some of the labels' columns give.
  ScoreTable read(const std::string& text, const data::LabelSet& labels = {}) {
    write_file(path_, text);
    return read_score_table(path_, labels, MissingLabels::kLeftOut);
  }

  void expect_refused(const std::string& text, const std::string& wanted,
                      MissingLabels allowed = MissingLabels::kLeftOut) {
    SCOPED_TRACE(text);
    write_file(path_, text);
    try {
      read_score_table(path_, data::LabelSet(), allowed);
      ADD_FAILURE() << "read, but should say: " << wanted;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(wanted), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("s.csv"), std::string::npos) << error.what();
    }
  }

  fs::path folder_, path_;
};

TEST_F(ScoreTableTest, ReadsLabelsInTheSetsOrderWithOrWithoutPrefix) {
  const ScoreTable table = read("Age,Hernia,Image Index,prob_Mass\n30,0.25,a.png,1\n40,1e-3,b.png,0\n");
  EXPECT_EQ(table.labels, (std::vector<std::string>{"Mass", "Hernia"}));
  EXPECT_EQ(table.images, (std::vector<std::string>{"a.png", "b.png"}));
  EXPECT_EQ(table.scores, (std::vector<double>{1, 0.25, 0, 1e-3}));
  EXPECT_EQ(table.lines, (std::vector<std::size_t>{2, 3}));
}

TEST_F(ScoreTableTest, TakesScoresThatArePlainlyNumbers) {
  for (const char* half : {" 0.5", "0.5 ", "+0.5", ".5", "5E-1", "\"0.5\""}) {
    EXPECT_EQ(read("Image Index,Mass\na.png," + std::string(half) + "\n").scores, std::vector<double>{0.5}) << half;
  }
  for (const char* zero : {"0", "-0", "-0.0", "1e-400"}) {
    const std::vector<double> scores = read("Image Index,Mass\na.png," + std::string(zero) + "\n").scores;
    EXPECT_EQ(scores, std::vector<double>{0}) << zero;
    EXPECT_FALSE(std::signbit(scores[0])) << zero;  // bins are found by a score's bits
  }
}

TEST_F(ScoreTableTest, NamesFileLineAndColumnOfABadScore) {
  const std::string head = "Image Index,prob_Mass\na.png,0.5\nb.png,";
  for (const char* bad : {"nan", "NaN", "inf", "-0.1", "1.5", "", " ", "0.5x", "1e999", "high", "0x1p-1", "97.3"}) {
    expect_refused(head + bad + "\n",
                   "s.csv:3: column 'prob_Mass' is '" + std::string(bad) + "'; a score is a number from 0 to 1");
  }
  expect_refused(head + "\"0,5\"\n",
                 "s.csv:3: column 'prob_Mass' is '0,5'; a score is a number from 0 to 1, with a "
                 "decimal point");
  expect_refused(head + "50%\n", "column 'prob_Mass' is '50%'; a score is a number from 0 to 1, not a percentage");
  expect_refused(head + "0,5\n", "s.csv:3: has 3 fields; the header has 2; a field that holds a comma needs quotes");
}

TEST_F(ScoreTableTest, RefusesColumnsItCannotPlace) {
  expect_refused("image,prob_Mass\na.png,0.5\n", "Image Index");
  expect_refused("Image Index,score\na.png,0.5\n", "no column is called after a label");
  expect_refused("Image Index,prob_mas\na.png,0.5\n", "column 'prob_mas' looks like label 'Mass'; rename it");
  expect_refused("Image Index,prob_Mass,Mass\na.png,0.5,0.5\n", "both 'Mass' and 'prob_Mass'");
  expect_refused("Image Index,prob_Mass\n", "no scores");
  expect_refused("Image Index,prob_Mass\na.png,0.5\nb.png,0.1\na.png,0.5\n",
                 "s.csv:4: image 'a.png' is there already, at line 2");
  expect_refused("Image Index,prob_Mass\n,0.5\n", "no name");
}

TEST_F(ScoreTableTest, RefusesMissingLabelsUnlessTheyMayBeLeftOut) {
  const std::string text = "Image Index,Age,prob_Mass,Sex\na.png,30,0.5,F\n";
  const std::string missing =
      "13 of 14 labels have no column: Atelectasis, Cardiomegaly, Effusion, Infiltration, Nodule, Pneumonia, "
      "Pneumothorax, Consolidation, Edema, Emphysema, Fibrosis, Pleural_Thickening, Hernia";
  expect_refused(text,
                 missing +
                     "; left out are the columns that are no label: Age, Sex; `densetree eval "
                     "--allow-missing-labels` leaves them out",
                 MissingLabels::kRefused);
  EXPECT_EQ(read(text).notes, (std::vector<std::string>{"left out are the columns that are no label: Age, Sex",
                                                        missing + "; they are left out"}));
  const data::LabelSet two({{"Mass", {"Mass"}}, {"Hernia", {"Hernia"}}});
  write_file(path_, "Image Index,prob_Mass,Hernia\na.png,0.5,0.5\n");
  EXPECT_TRUE(read_score_table(path_, two, MissingLabels::kRefused).notes.empty());
}

TEST_F(ScoreTableTest, NamesColumnsThatLookLikeALabel) {
  for (const std::string near :
       {"Pleural Thickening", "pleural-thickening", "Pleural_thickening", "PLEURAL_THICKENING",
        "prob_Pleural Thickening", "Prob_Pleural_Thickening", "prob-Pleural_Thickening", "PleuralThickening",
        "prob_PleuralThickening", "Pleural_Thickenning", "p_Pleural_Thickening"}) {
    const std::string text = "Image Index,Mass," + near + "\na.png,0.5,0.5\n";
    const std::string note = "column '" + near + "' looks like label 'Pleural_Thickening'; rename it";
    expect_refused(text, note, MissingLabels::kRefused);
    const ScoreTable table = read(text);
    EXPECT_EQ(table.labels, std::vector<std::string>{"Mass"});
    ASSERT_FALSE(table.notes.empty());
    EXPECT_EQ(table.notes.front(), note);
  }
  for (const std::string same : {"Pleural_Thickening ", " Pleural_Thickening", "prob_Pleural_Thickening\t"}) {
    EXPECT_EQ(read("Image Index ," + same + "\na.png,0.5\n").labels, std::vector<std::string>{"Pleural_Thickening"});
  }
}

TEST_F(ScoreTableTest, AColumnLooksLikeNoLabelThatHasOne) {
  EXPECT_EQ(read("Image Index,Mass,mass,Mass2,\na.png,0.5,0.5,1,\n").notes.front(),
            "left out are the columns that are no label: mass, Mass2");
  expect_refused("Image Index,Mass,Mass \na.png,0.5,0.5\n", "has two columns 'Mass'");
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
  const ScoreTable scores = read("Image Index,prob_Mass,prob_Hernia\nb.png,0.5,0.6\nc.png,0.7,0.8\n");
  const ScoredImages set = join(scores, truth(), data::LabelSet());
  EXPECT_EQ(set.images, (std::vector<std::string>{"b.png", "c.png"}));
  EXPECT_EQ(set.patients, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(set.targets, (std::vector<float>{0, 1, 1, 1}));
  EXPECT_NO_THROW(set.check_values("s.csv"));
}

TEST_F(ScoreTableTest, JoinsMergedLabels) {
  const data::LabelSet merged({{"Mass_Hernia", {"Mass", "Hernia"}}});
  const ScoreTable scores = read("Image Index,prob_Mass_Hernia\na.png,0.5\nb.png,0.7\n", merged);
  EXPECT_EQ(join(scores, truth(), merged).targets, (std::vector<float>{0, 1}));
}

TEST_F(ScoreTableTest, SaysHowManyImagesHaveNoTruth) {
  const ScoreTable scores = read("Image Index,prob_Mass\na.png,0.5\nx.png,0.5\ny.png,0.5\n");
  try {
    join(scores, truth(), data::LabelSet());
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
  const ScoreTable table = read(score_csv(set));
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
}  // namespace densetree::metrics
