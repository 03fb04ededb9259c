#include "report/results.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/io/csv.h"
#include "engine/io/file.h"
#include "kernels/core/error.h"
#include "report/tables.h"
#include "tests/metrics/random_set.h"
#include "tests/shared_data.h"

namespace densetree::report {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class ResultsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              (std::string("results_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_;
};

metrics::EvaluationOptions quick() {
  metrics::EvaluationOptions options;
  options.draws = 64;
  return options;
}

// A public network's scores on the official test split: scikit-learn's numbers for every label.
TEST_F(ResultsTest, EqualsScikitLearnOnRealScores) {
  DENSETREE_NEEDS_SHARED("data/scores/densenet121-nih-scores.csv.gz");
  DENSETREE_NEEDS_SHARED("data/nih-full/Data_Entry_2017_v2020.csv.gz");
  const metrics::ScoredImages set = metrics::join(
      metrics::read_score_table(shared_folder() / "data/scores/densenet121-nih-scores.csv.gz", data::LabelSet()),
      data::read_label_table(shared_folder() / "data/nih-full/Data_Entry_2017_v2020.csv.gz"), data::LabelSet());
  const metrics::Evaluation evaluation = metrics::evaluate(set, quick());
  write_results(folder_ / "out", set, evaluation, nullptr, {});
  const CsvTable expected = CsvTable::read(shared_folder() / "data/scores/expected.csv");
  const json metrics = json::parse(read_file(folder_ / "out/metrics.json"));
  ASSERT_EQ(expected.rows(), evaluation.labels.size());
  for (std::size_t row = 0; row < expected.rows(); ++row) {
    const auto cell = [&](const char* name) { return expected.row(row)[expected.column(name)]; };
    const json& got = metrics["labels"][cell("label")];
    EXPECT_EQ(got["positives"].get<long>(), std::stol(cell("positives")));
    EXPECT_EQ(got["images"].get<long>(), std::stol(cell("images")));
    EXPECT_NEAR(got["auroc"].get<double>(), std::stod(cell("auroc")), 1e-12) << cell("label");
    EXPECT_NEAR(got["average_precision"].get<double>(), std::stod(cell("average_precision")), 1e-12) << cell("label");
    EXPECT_LT(got["auroc_interval"][0].get<double>(), got["auroc"].get<double>());
    EXPECT_GT(got["auroc_interval"][1].get<double>(), got["auroc"].get<double>());
  }
}

TEST_F(ResultsTest, WritesWhatTheInterfacePromises) {
  metrics::ScoredImages set = metrics::random_set(7, {});
  set.labels = {"Mass", "Hernia"};
  const metrics::Evaluation evaluation = metrics::evaluate(set, quick());
  write_results(folder_ / "a" / "b", set, evaluation, nullptr, {});
  const json metrics = json::parse(read_file(folder_ / "a/b/metrics.json"));
  EXPECT_EQ(metrics["images"], 200);
  EXPECT_EQ(metrics["bootstrap"]["draws"], 64);
  double mean = 0;
  for (const std::string label : {"Mass", "Hernia"}) {
    for (const char* metric : {"auroc", "average_precision", "brier"}) {
      const double value = metrics["labels"][label][metric].get<double>();
      const json& interval = metrics["labels"][label][std::string(metric) + "_interval"];
      ASSERT_EQ(interval.size(), 2u);
      EXPECT_LT(interval[0].get<double>(), value);
      EXPECT_GT(interval[1].get<double>(), value);
    }
    mean += metrics["labels"][label]["auroc"].get<double>() / 2;
  }
  EXPECT_DOUBLE_EQ(metrics["mean_auroc"].get<double>(), mean);
  EXPECT_LT(metrics["mean_auroc_interval"][0].get<double>(), mean);
  EXPECT_GT(metrics["mean_auroc_interval"][1].get<double>(), mean);
  const metrics::ScoreTable again =
      metrics::read_score_table(folder_ / "a/b/scores.csv", data::LabelSet(), metrics::MissingLabels::kLeftOut);
  EXPECT_EQ(again.scores, set.scores);
  const CsvTable roc = CsvTable::read(folder_ / "a/b/curves/roc.csv");
  EXPECT_EQ(roc.row(0), (std::vector<std::string>{"Mass", "inf", "0", "0"}));
  EXPECT_EQ(roc.row(roc.rows() - 1)[3], "1");
  const CsvTable pr = CsvTable::read(folder_ / "a/b/curves/precision_recall.csv");
  EXPECT_EQ(pr.row(pr.rows() - 1)[pr.column("recall")], "1");
}

TEST_F(ResultsTest, UndefinedIsNull) {
  metrics::ScoredImages set = metrics::random_set(7, {});
  for (std::size_t i = 0; i < set.targets.size(); i += 2) {
    set.targets[i] = 0;  // the first label has no positive
  }
  const metrics::Evaluation evaluation = metrics::evaluate(set, quick());
  const json metrics = json::parse(metrics_json(evaluation));
  const json& label = metrics["labels"]["L0"];
  for (const char* key : {"auroc", "auroc_interval", "average_precision", "average_precision_interval"}) {
    ASSERT_TRUE(label.contains(key)) << key;
    EXPECT_TRUE(label[key].is_null()) << key;
  }
  EXPECT_TRUE(label["brier"].is_number());
  EXPECT_EQ(metrics["mean_auroc"], metrics["labels"]["L1"]["auroc"]);
  EXPECT_EQ(metrics["mean_auroc_interval"], metrics["labels"]["L1"]["auroc_interval"]);
  EXPECT_NE(text_table(evaluation).find("undefined"), std::string::npos);

  for (float& target : set.targets) {
    target = std::numeric_limits<float>::quiet_NaN();
  }
  const json nothing = json::parse(metrics_json(metrics::evaluate(set, quick())));
  EXPECT_TRUE(nothing["mean_auroc"].is_null());
  EXPECT_TRUE(nothing["labels"]["L1"]["brier"].is_null());
  EXPECT_EQ(nothing["labels"]["L1"]["images"], 0);
}

TEST_F(ResultsTest, CountsDrawsWithoutAClass) {
  metrics::RandomSet shape;
  shape.images = 30, shape.patients = 10, shape.labels = 1, shape.missing = 0;
  metrics::ScoredImages set = metrics::random_set(5, shape);
  for (std::size_t i = 0; i < set.targets.size(); ++i) {
    set.targets[i] = i == 4;  // one positive: a third of the draws miss its patient
  }
  const metrics::Evaluation evaluation = metrics::evaluate(set, quick());
  EXPECT_GT(evaluation.labels[0].undefined_draws, 5);
  EXPECT_LT(evaluation.labels[0].undefined_draws, 50);
  EXPECT_TRUE(evaluation.labels[0].auroc.interval.has_value());
}

TEST_F(ResultsTest, SameBytesForAnyNumberOfThreads) {
  const metrics::ScoredImages set = metrics::random_set(9, {});
  metrics::EvaluationOptions one = quick(), four = quick();
  one.threads = 1, four.threads = 4;
  EXPECT_EQ(metrics_json(metrics::evaluate(set, one)), metrics_json(metrics::evaluate(set, four)));
  metrics::EvaluationOptions other = quick();
  other.seed = 2;
  EXPECT_NE(metrics_json(metrics::evaluate(set, one)), metrics_json(metrics::evaluate(set, other)));
}

TEST_F(ResultsTest, WithoutDrawsThereAreNoIntervals) {
  metrics::EvaluationOptions options;
  options.draws = 0;
  const json metrics = json::parse(metrics_json(metrics::evaluate(metrics::random_set(9, {}), options)));
  EXPECT_FALSE(metrics.contains("bootstrap"));
  EXPECT_FALSE(metrics["labels"]["L0"].contains("auroc_interval"));
  EXPECT_TRUE(metrics["mean_auroc"].is_number());
}

TEST_F(ResultsTest, RefusesBadValues) {
  metrics::ScoredImages set = metrics::random_set(9, {});
  set.scores[3] = 2;
  EXPECT_THROW(metrics::evaluate(set, quick()), Error);
  metrics::EvaluationOptions options = quick();
  options.curve_points = 2;
  EXPECT_THROW(metrics::evaluate(metrics::random_set(9, {}), options), Error);
}

TEST_F(ResultsTest, OfALabelTreeAreWrittenToo) {
  const tree::LabelTree label_tree = tree::LabelTree::parse(
      "[labels]\nL0 = [\"Mass\"]\nL1 = [\"Nodule\"]\nL2 = [\"Edema\"]\n[tree]\nRoot = [\"Lesion\", \"L2\"]\n"
      "Lesion = [\"L0\", \"L1\"]\n",
      "small tree");
  const metrics::RandomSet shape{.images = 600, .labels = 3, .patients = 200};
  const std::unique_ptr<Device> device = make_device("cpu", 1);
  const metrics::ScoredImages set = metrics::random_set(4, shape), test = metrics::random_set(5, shape);
  const tree::Calibration calibration =
      tree::fit_and_choose(*device, label_tree, {.bins = 8}, set, "scores.csv",
                           tree::parse_threshold_request("precision:0.3,delta:0.4"), 0.5, 1, 1);
  const metrics::EvaluationOptions options{.draws = 32};
  const tree::TreeEvaluation along = tree::evaluate_tree(*device, calibration, test, {0.5, 0.95}, options, "t");
  ASSERT_EQ(along.at.size(), 3u);
  EXPECT_EQ(along.at[1].name, "0.95");
  EXPECT_EQ(along.at[2].name, "chosen");
  EXPECT_EQ(along.nodes.size(), 5u);
  write_results(folder_ / "out", test, metrics::evaluate(test, options), &along, {"t", {}});
  const std::string metrics = read_file(folder_ / "out/metrics.json");
  for (const char* key :
       {"\"nodes\"", "\"Lesion\"", "\"ece\"", "\"0.95\"", "\"persist\"", "\"auc_at_t\"", "\"chosen\""}) {
    EXPECT_NE(metrics.find(key), std::string::npos) << key;
  }
  EXPECT_TRUE(fs::exists(folder_ / "out/posteriors.csv"));
  EXPECT_TRUE(fs::exists(folder_ / "out/curves/reliability.csv"));
  // An evaluation without a calibration takes its place whole.
  write_results(folder_ / "out", test, metrics::evaluate(test, options), nullptr, {"t", {}});
  EXPECT_FALSE(fs::exists(folder_ / "out/posteriors.csv"));
  EXPECT_THROW(tree::evaluate_tree(*device, calibration, test, {0.0}, options, "t"), Error);
  EXPECT_THROW(tree::evaluate_tree(*device, calibration, metrics::random_set(1, {}), {0.5}, options, "t"), Error);
}

}  // namespace
}  // namespace densetree::report
