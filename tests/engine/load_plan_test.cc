#include "engine/load_plan.h"

#include <cmath>

#include "kernels/core/error.h"
#include "tests/engine/tensor_files.h"
#include "tests/error_of.h"

namespace densetree {
namespace {

using LoadPlanTest = TensorFiles;

// Of a network whose tensors other programs stored behind "module.".
TensorNames names() {
  return {
      [](std::string_view stored) { return std::string(stored.starts_with("module.") ? stored.substr(7) : stored); },
      "classifier."};
}

std::vector<ExpectedTensor> network_with_labels(std::int64_t labels) {
  std::vector<ExpectedTensor> tensors = network();
  tensors[6].shape[0] = tensors[7].shape[0] = labels;
  return tensors;
}

TEST_F(LoadPlanTest, FillsEveryTensorInTheNetworksOrder) {
  std::vector<ExpectedTensor> reversed(network().rbegin(), network().rend());
  reversed.push_back({"optimizer.m", {3}});
  reversed.push_back({"progress.best", {1}});
  const TensorFile file = file_of(reversed);
  const LoadPlan plan = match_tensors(file, network(), names());
  ASSERT_EQ(plan.tensors.size(), network().size());
  for (std::size_t i = 0; i < network().size(); ++i) {
    EXPECT_EQ(plan.tensors[i]->name, network()[i].name);
  }
  ASSERT_EQ(plan.own.size(), 2u);
  EXPECT_EQ(plan.own[0]->name, "optimizer.m");
  EXPECT_TRUE(plan.notes.empty());
  EXPECT_FALSE(plan.new_classifier);
}

TEST_F(LoadPlanTest, ListsWhatDiffers) {
  std::vector<ExpectedTensor> other = network();
  other[0].shape = {4, 1, 7, 7};
  other[1].name = "features.norm0.gamma";
  const TensorFile file = file_of(other, {{"densetree.arch", "densenet169"}});
  const std::string text = error_of([&] { match_tensors(file, network(), names()); });
  expect_says(text,
              "w.safetensors: its weights (its metadata says densenet169) do not fit this network: of 8 tensors 1 are "
              "missing and 1 have another shape or type, and 1 of the file are not wanted");
  expect_says(text, "missing (1):\n    features.norm0.weight [4]");
  expect_says(text, "features.conv0.weight: stored F32 [4, 1, 7, 7], wanted float [4, 3, 7, 7]");
  expect_says(text, "unexpected (1):\n    features.norm0.gamma [4]");
}

TEST_F(LoadPlanTest, CutsLongLists) {
  std::vector<ExpectedTensor> many;
  for (int i = 0; i < 50; ++i) {
    many.push_back({fmt::format("other.{}", i), {1}});
  }
  const TensorFile file = file_of(many);
  const std::string text = error_of([&] { match_tensors(file, network(), names()); });
  expect_says(text, "unexpected (50)");
  expect_says(text, "… and 40 more");
  EXPECT_LT(std::count(text.begin(), text.end(), '\n'), 30);
}

TEST_F(LoadPlanTest, RefusesTwoTensorsForOneName) {
  std::vector<ExpectedTensor> twice = network();
  twice.push_back({"module.classifier.bias", {14}});
  const TensorFile file = file_of(twice);
  expect_says(error_of([&] { match_tensors(file, network(), names()); }), "both stand for 'classifier.bias'");
}

TEST_F(LoadPlanTest, RefusesWrongTypes) {
  const std::vector<std::int64_t> zeros(14);
  TensorWriter writer;
  writer.add("classifier.bias", TensorType::kInt64, {14}, zeros.data());
  writer.add("norm.num_batches_tracked", TensorType::kInt64, {2}, zeros.data());
  writer.write(path_);
  const TensorFile file = TensorFile::open(path_);
  const std::vector<ExpectedTensor> expected = {{"classifier.bias", {14}}, {"norm.num_batches_tracked", {}}};
  const std::string text = error_of([&] { match_tensors(file, expected, names()); });
  expect_says(text, "classifier.bias: stored I64 [14], wanted float [14]");
  expect_says(text, "norm.num_batches_tracked: stored I64 [2], wanted one number");
}

// As a file has them that was converted to one type as a whole.
TEST_F(LoadPlanTest, TakesCountersThatAreFloats) {
  const float count = 7;
  TensorWriter writer;
  writer.add("norm.num_batches_tracked", TensorType::kFloat32, {}, &count);
  writer.write(path_);
  const TensorFile file = TensorFile::open(path_);
  EXPECT_NO_THROW(match_tensors(file, std::vector<ExpectedTensor>{{"norm.num_batches_tracked", {}}}, names()));
}

TEST_F(LoadPlanTest, NumbersThatAreNotFiniteAreNamed) {
  const std::vector<double> numbers{1, -INFINITY}, loss{INFINITY};
  TensorWriter writer;
  writer.add("progress.losses", TensorType::kFloat64, {1}, loss.data());
  writer.add("a.weight", TensorType::kFloat64, {2}, numbers.data());
  writer.write(path_);
  expect_says(error_of([&] { check_finite(TensorFile::open(path_)); }), "'a.weight' holds -inf");
}

TEST_F(LoadPlanTest, AnotherClassifierOnlyWhereAllowed) {
  const TensorFile file = file_of(network_with_labels(1000));
  expect_says(error_of([&] { match_tensors(file, network(), names()); }),
              "classifier.bias: stored F32 [1000], wanted float [14]");
  const LoadPlan plan = match_tensors(file, network(), names(), LoadPolicy::kAllowNewClassifier);
  EXPECT_TRUE(plan.new_classifier);
  EXPECT_EQ(plan.tensors[6], nullptr);
  EXPECT_EQ(plan.tensors[7], nullptr);
  EXPECT_NE(plan.tensors[0], nullptr);
  ASSERT_EQ(plan.notes.size(), 1u);
  expect_says(plan.notes[0], "the stored classifier has 1000 outputs and this network 14");
}

TEST_F(LoadPlanTest, KeepsAFittingClassifierAndRefusesOtherFeatures) {
  {
    const TensorFile file = file_of(network());
    EXPECT_FALSE(match_tensors(file, network(), names(), LoadPolicy::kAllowNewClassifier).new_classifier);
  }
  std::vector<ExpectedTensor> wider = network_with_labels(20);
  wider[6].shape[1] = 12;  // more features: another architecture, not another label count
  const TensorFile file = file_of(wider);
  expect_says(error_of([&] { match_tensors(file, network(), names(), LoadPolicy::kAllowNewClassifier); }), "[20, 12]");
}

TEST_F(LoadPlanTest, HeadlessWeightsOnlyWhereAllowed) {
  const TensorFile file = file_of({network().begin(), network().end() - 2});
  expect_says(error_of([&] { match_tensors(file, network(), names()); }), "missing (2)");
  const LoadPlan plan = match_tensors(file, network(), names(), LoadPolicy::kAllowNewClassifier);
  EXPECT_TRUE(plan.new_classifier);
  expect_says(plan.notes.at(0), "no classifier");
}

TEST_F(LoadPlanTest, ReadsOtherNames) {
  std::vector<ExpectedTensor> renamed = network();
  renamed[1].name = "module." + renamed[1].name;
  renamed[6].name = "module." + renamed[6].name;
  const TensorFile file = file_of(renamed);
  const LoadPlan plan = match_tensors(file, network(), names());
  EXPECT_EQ(plan.tensors[1]->name, renamed[1].name);
  EXPECT_EQ(plan.tensors[6]->name, renamed[6].name);
  ASSERT_EQ(plan.notes.size(), 1u);
  expect_says(plan.notes[0], "2 of 8 tensors were read under other names, such as '" + renamed[1].name + "' as '" +
                                 network()[1].name + "'");
}

}  // namespace
}  // namespace densetree
