#include "tree/calibration.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "engine/io/file.h"
#include "kernels/core/error.h"
#include "metrics/patients.h"
#include "tests/metrics/random_set.h"

namespace densetree::tree {
namespace {

namespace fs = std::filesystem;

LabelTree small_tree() {
  return LabelTree::parse(
      "[labels]\nL0 = [\"Mass\"]\nL1 = [\"Nodule\"]\nL2 = [\"Edema\"]\n[tree]\nRoot = [\"Lesion\", \"L2\"]\n"
      "Lesion = [\"L0\", \"L1\"]\n",
      "small tree");
}

metrics::ScoredImages small_set(std::uint64_t seed = 3, std::size_t images = 600) {
  metrics::RandomSet shape;
  shape.images = images, shape.labels = 3, shape.patients = 200;
  return metrics::random_set(seed, shape);
}

class CalibrationTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              (std::string("calibration_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    path_ = folder_ / "c.json";
  }
  void TearDown() override { fs::remove_all(folder_); }

  // The text of a good file with `from` replaced by `to` must be refused with a message that names the file.
  void expect_refused(const std::string& from, const std::string& to, const std::string& wanted) {
    SCOPED_TRACE(from + " -> " + to);
    std::string text = calibration_json(fit(*device_, small_tree(), {.bins = 5}, small_set(), "scores.csv"));
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos);
    write_file(path_, text.replace(at, from.size(), to));
    try {
      read_calibration(path_);
      ADD_FAILURE() << "read, but should say: " << wanted;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("c.json"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(wanted), std::string::npos) << error.what();
    }
  }

  fs::path folder_, path_;
  std::unique_ptr<Device> device_ = make_device("cpu", 1);
};

TEST_F(CalibrationTest, ReadBackItGivesTheSameBits) {
  const metrics::ScoredImages set = small_set();
  CalibrationSettings with_priors{.bins = 7, .alpha = 0.5, .prior = Prior::kEqual, .monotone = false};
  with_priors.node_priors["Lesion"] = 0.123;
  for (const CalibrationSettings& settings : {CalibrationSettings{}, CalibrationSettings::paper(), with_priors}) {
    Calibration calibration = fit_and_choose(*device_, small_tree(), settings, set, "scores.csv",
                                             parse_threshold_request("precision:0.3,delta:0.4"), 0.5, 1, 1);
    calibration.choice->nodes[0].threshold = -std::numeric_limits<double>::infinity();
    calibration.choice->nodes[1].threshold.reset();
    write_file(path_, calibration_json(calibration));
    const Calibration again = read_calibration(path_);
    EXPECT_EQ(again.histograms, calibration.histograms);
    EXPECT_EQ(again.settings, calibration.settings);
    EXPECT_EQ(again.tree.to_toml(), calibration.tree.to_toml());
    EXPECT_EQ(again.images, calibration.images);
    EXPECT_EQ(again.source, "scores.csv");
    EXPECT_EQ(again.chosen_thresholds("c"), calibration.chosen_thresholds("c"));
    EXPECT_EQ(calibration_json(again), calibration_json(calibration));
    EXPECT_EQ(again.posteriors(*device_, set.scores).values, calibration.posteriors(*device_, set.scores).values);
  }
}

TEST_F(CalibrationTest, ChoosingPatientsAreNotFittedOn) {
  const metrics::ScoredImages set = small_set();
  const Calibration calibration =
      fit_and_choose(*device_, small_tree(), {}, set, "scores.csv", parse_threshold_request("miss:0.1"), 0.25, 9, 1);
  const auto [choosing, fitting] = metrics::draw_patients(metrics::number_patients(set.patients), 0.25, 9);
  EXPECT_EQ(choosing.size() + fitting.size(), set.images.size());
  EXPECT_EQ(calibration.images, static_cast<std::int64_t>(fitting.size()));
  std::set<std::int64_t> a, b;
  for (const std::uint32_t i : choosing) b.insert(set.patients[i]);
  for (const std::uint32_t i : fitting) a.insert(set.patients[i]);
  for (const std::int64_t patient : b) EXPECT_FALSE(a.contains(patient));
  EXPECT_EQ(calibration.choice->images, static_cast<std::int64_t>(b.size()));  // one image each
  EXPECT_NEAR(static_cast<double>(b.size()), 0.25 * static_cast<double>(a.size() + b.size()), 1);
}

TEST_F(CalibrationTest, RefusesAnythingItWouldNotHaveWritten) {
  expect_refused("\"version\": 1", "\"version\": 2", "is of version 2");
  expect_refused("densetree calibration", "something", "is no calibration");
  expect_refused("{", "", "is no JSON");
  expect_refused("\"bins\": 5", "\"bins\": 0", "bins is 0; it must be 1 to 1024");
  expect_refused("\"bins\": 5", "\"bins\": 5.5", "'bins' must be a whole number");
  expect_refused("\"bins\": 5", "\"bims\": 5", "has the unknown entry 'bims'");
  expect_refused("\"quantile\"", "\"quartile\"", "binning 'quartile' is unknown; use quantile or uniform");
  expect_refused("\"posterior\": [", "\"posterior\": [2,", "'posterior' must be");
  expect_refused("\"positives\": [", "\"positives\": [7,", "counts for");
  expect_refused("\"positives\": [", "\"positives\": [-1,", "must be a list of counts");
  expect_refused("\"edges\": [", "\"edges\": [0.9999999,", "must rise from 0 to 1");
  expect_refused("\"Lesion\": {", "\"Legion\": {", "lacks 'Lesion'");
  expect_refused("\"images\": 600", "\"images\": \"many\"", "'images' must be a whole number");
  expect_refused("Lesion = ", "L2 = ", "its tree");
  write_file(path_, "[1, 2]");
  EXPECT_THROW(read_calibration(path_), Error);
  EXPECT_THROW(read_calibration(folder_ / "absent.json"), Error);
}

TEST_F(CalibrationTest, RefusesBadSettingsAndSets) {
  const auto refused = [&](const CalibrationSettings& settings, const metrics::ScoredImages& set,
                           const std::string& wanted) {
    SCOPED_TRACE(wanted);
    try {
      fit(*device_, small_tree(), settings, set, "scores.csv");
      ADD_FAILURE() << "fitted";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(wanted), std::string::npos) << error.what();
    }
  };
  refused({.bins = 0}, small_set(), "bins is 0; it must be 1 to 1024");
  refused({.bins = kMaxBins + 1}, small_set(), "bins is 1025");
  refused({.alpha = -1}, small_set(), "alpha is -1");
  refused({.alpha = 1e300}, small_set(), "alpha is 1e+300; it must be 0 to 1000000000");
  refused({.alpha = std::numeric_limits<double>::quiet_NaN()}, small_set(), "alpha");
  refused({.node_priors = {{"Nobody", 0.5}}}, small_set(), "'Nobody', which is no node");
  refused({.node_priors = {{"Root", 1.0}}}, small_set(), "between 0 and 1");
  metrics::ScoredImages set = small_set();
  set.labels[1] = "Other";
  refused({}, set, "its labels are L0, Other, L2");
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), -0.1, 1.5}) {
    set = small_set();
    set.scores[4] = bad;
    refused({}, set, "the score of L1 for image image1.png is");
  }
  refused({}, metrics::ScoredImages{}, "there is no image");
}

TEST_F(CalibrationTest, OnePatientCannotBothFitAndChoose) {
  metrics::ScoredImages set = small_set();
  std::fill(set.patients.begin(), set.patients.end(), 5);
  EXPECT_NO_THROW(fit(*device_, small_tree(), {}, set, "scores.csv"));
  EXPECT_THROW(
      fit_and_choose(*device_, small_tree(), {}, set, "scores.csv", parse_threshold_request("miss:0.1"), 0.5, 1, 1),
      Error);
}

TEST_F(CalibrationTest, ANodeWithoutPositivesIsNeverProbable) {
  metrics::ScoredImages set = small_set();
  for (std::size_t i = 0; i < set.targets.size(); i += 3) {
    set.targets[i] = 0;
  }
  const Calibration calibration = fit(*device_, small_tree(), {}, set, "scores.csv");
  const NodeTable<double> posteriors = calibration.posteriors(*device_, set.scores);
  for (const double p : posteriors.node(0)) {
    EXPECT_EQ(p, 0);
  }
}

}  // namespace
}  // namespace densetree::tree
