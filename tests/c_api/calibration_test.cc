// Calibrations through the C interface: the numbers of tree::Calibration, in the order of images.
#include <cmath>
#include <fstream>

#include "kernels/device.h"
#include "tests/c_api/handles.h"
#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"
#include "tests/nn/temporary.h"
#include "tree/answer.h"
#include "tree/calibration.h"

namespace densetree::test {
namespace {

constexpr const char* kTree = R"([labels]
Mass = ["Mass"]
Nodule = ["Nodule"]
Edema = ["Edema"]

[tree]
Opacity = ["Mass", "Nodule"]
Abnormal = ["Opacity", "Edema"]
)";
constexpr std::size_t kImages = 400, kLeaves = 3, kNodes = 5;

class CCalibrationTest : public DeviceTest {
 protected:
  CCalibrationTest() {
    tree_file_ = (folder_ / "tree.toml").string();
    std::ofstream(tree_file_) << kTree;
    const std::vector<float> drawn = random_floats(kImages * kLeaves, 4, 0, 1);
    const std::vector<float> luck = random_floats(kImages * kLeaves, 5, 0, 1);
    for (std::size_t i = 0; i < drawn.size(); ++i) {
      scores_.push_back(drawn[i]);
      targets_.push_back(luck[i] < drawn[i] * drawn[i] ? 1.0f : 0.0f);
    }
    targets_[17] = NAN;
    for (std::size_t i = 0; i < kImages; ++i) {
      patients_.push_back(static_cast<std::int64_t>(i / 2));
    }
    expect_ok(densetree_calibration_params_init(&params_, sizeof params_));
    params_.tree = tree_file_.c_str();
    params_.bins = 8;
  }

  Handle<densetree_calibration> fit() {
    densetree_calibration* made = nullptr;
    expect_ok(densetree_calibration_fit(engine_.get(), &params_, scores_.data(), scores_.size(), targets_.data(),
                                        targets_.size(), patients_.data(), patients_.size(), &made));
    return Handle<densetree_calibration>(made);
  }

  TemporaryFolder folder_;
  std::string tree_file_;
  std::vector<double> scores_;
  std::vector<float> targets_;
  std::vector<std::int64_t> patients_;
  densetree_calibration_params params_;
  Handle<densetree_engine> engine_ = make_engine(GetParam().c_str());
};

TEST_P(CCalibrationTest, GivesTheNumbersOfTheClasses) {
  params_.choose = "precision:0.6,delta:0.2";
  const Handle<densetree_calibration> calibration = fit();
  const std::string file = (folder_ / "calibration.json").string();
  expect_ok(densetree_calibration_write(calibration.get(), file.c_str()));
  const tree::Calibration classes = tree::read_calibration(file);  // as the program reads it
  densetree_calibration* made = nullptr;
  expect_ok(densetree_calibration_read(engine_.get(), file.c_str(), &made));
  const Handle<densetree_calibration> read(made);

  densetree_calibration_info info{};
  info.size = sizeof info;
  expect_ok(densetree_calibration_get_info(read.get(), &info));
  EXPECT_EQ(info.nodes, static_cast<std::int64_t>(kNodes));
  EXPECT_EQ(info.leaves, static_cast<std::int64_t>(kLeaves));
  EXPECT_EQ(info.images, classes.images);
  EXPECT_EQ(info.patients, classes.patients);
  EXPECT_EQ(info.has_thresholds, 1);
  densetree_node node{};
  node.size = sizeof node;
  for (std::int64_t v = 0; v < info.nodes; ++v) {
    expect_ok(densetree_calibration_get_node(read.get(), v, &node));
    EXPECT_EQ(node.name, classes.tree.node(static_cast<std::int32_t>(v)).name);
    EXPECT_EQ(node.parent, classes.tree.node(static_cast<std::int32_t>(v)).parent);
  }
  EXPECT_EQ(result_of(densetree_calibration_get_node(read.get(), info.nodes, &node)).code, DENSETREE_NOT_FOUND);

  std::vector<double> posteriors(kImages * kNodes), thresholds(kNodes);
  expect_ok(densetree_calibration_posteriors(read.get(), scores_.data(), scores_.size(), posteriors.data(),
                                             posteriors.size()));
  expect_ok(densetree_calibration_thresholds(read.get(), thresholds.data(), thresholds.size()));
  EXPECT_EQ(thresholds, classes.chosen_thresholds(""));
  const tree::NodeTable<double> expected = classes.posteriors(device(), scores_);
  std::size_t answered = 0;
  for (std::size_t i = 0; i < kImages; ++i) {
    const double* const row = posteriors.data() + i * kNodes;
    for (std::size_t v = 0; v < kNodes; ++v) {
      EXPECT_EQ(row[v], expected.at(v, i));
    }
    std::vector<std::uint8_t> reported(kNodes, 9);
    expect_ok(densetree_calibration_answer(read.get(), row, kNodes, i % 2 == 0 ? nullptr : thresholds.data(),
                                           i % 2 == 0 ? 0 : kNodes, reported.data(), reported.size()));
    const tree::Answer answer = tree::answer(classes.tree, {row, kNodes}, thresholds);
    std::vector<std::uint8_t> nodes(kNodes, 0);
    for (const tree::Report& report : answer.reports) {
      nodes[static_cast<std::size_t>(report.node)] = 1;
    }
    EXPECT_EQ(reported, nodes);
    answered += answer.reports.size();
    std::size_t length = 0;
    expect_ok(densetree_calibration_report(read.get(), row, kNodes, nullptr, 0, nullptr, 0, &length));
    std::string text(length, '?');
    expect_ok(densetree_calibration_report(read.get(), row, kNodes, nullptr, 0, text.data(), length + 1, &length));
    std::string lines;
    for (const std::string& sentence : tree::sentences(classes.tree, answer)) {
      lines += sentence + "\n";
    }
    EXPECT_EQ(text, lines);
    EXPECT_EQ(
        result_of(densetree_calibration_report(read.get(), row, kNodes, nullptr, 0, text.data(), length, &length)).code,
        DENSETREE_INVALID_ARGUMENT);
  }
  EXPECT_GT(answered, 0u);
}

TEST_P(CCalibrationTest, WithoutChosenThresholdsTheyAreGiven) {
  const Handle<densetree_calibration> calibration = fit();
  const std::vector<double> posteriors{0.9, 0.1, 0.2, 0.9, 0.9}, thresholds(kNodes, 0.5);
  std::vector<std::uint8_t> reported(kNodes);
  Result result = result_of(
      densetree_calibration_answer(calibration.get(), posteriors.data(), kNodes, nullptr, 0, reported.data(), kNodes));
  EXPECT_EQ(result.code, DENSETREE_FAILED);
  EXPECT_NE(result.message.find("holds no thresholds"), std::string::npos) << result.message;
  expect_ok(densetree_calibration_answer(calibration.get(), posteriors.data(), kNodes, thresholds.data(), kNodes,
                                         reported.data(), kNodes));
  EXPECT_EQ(reported, (std::vector<std::uint8_t>{1, 0, 0, 0, 0}));
}

TEST_P(CCalibrationTest, ModelsOfOtherLabelsAreFound) {
  const Handle<densetree_calibration> calibration = fit();
  const Handle<densetree_model> other = make_model(engine_.get());
  const Result result = result_of(densetree_calibration_check_model(calibration.get(), other.get()));
  EXPECT_EQ(result.code, DENSETREE_FAILED);
  EXPECT_NE(result.message.find("Fibrosis"), std::string::npos) << result.message;
  densetree_model_params params = model_params();
  const char* const names[] = {"Mass", "Nodule", "Edema"};
  params.label_names = names;
  params.labels = 3;
  const Handle<densetree_model> same = make_model(engine_.get(), params);
  expect_ok(densetree_calibration_check_model(calibration.get(), same.get()));
}

INSTANTIATE_TEST_SUITE_P(Any, CCalibrationTest, testing::ValuesIn(available_devices()), device_label);

}  // namespace
}  // namespace densetree::test
