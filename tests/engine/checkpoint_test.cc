#include "engine/checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "engine/io/file.h"
#include "kernels/core/error.h"
#include "tests/error_of.h"
#include "tests/shared_data.h"

namespace densetree {
namespace {

namespace fs = std::filesystem;

class Checkpoint : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              (std::string("checkpoint_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    path_ = folder_ / "w.safetensors";
  }
  void TearDown() override { fs::remove_all(folder_); }

  // A file of float tensors filled with their position, and int64 counters.
  TensorFile file_of(const std::vector<ExpectedTensor>& tensors,
                     const std::map<std::string, std::string>& metadata = {}) {
    std::vector<std::vector<float>> values;
    const std::int64_t counter = 5;
    TensorWriter writer;
    for (const ExpectedTensor& t : tensors) {
      std::int64_t elements = 1;
      for (const std::int64_t d : t.shape) {
        elements *= d;
      }
      const bool counts = t.name.ends_with("num_batches_tracked");
      values.emplace_back(static_cast<std::size_t>(elements), static_cast<float>(values.size()));
      writer.add(t.name, counts ? TensorType::kInt64 : TensorType::kFloat32, t.shape,
                 counts ? static_cast<const void*>(&counter) : values.back().data());
    }
    for (const auto& [key, value] : metadata) {
      writer.set_metadata(key, value);
    }
    writer.write(path_);
    return TensorFile::open(path_);
  }

  fs::path folder_, path_;
};

void expect_says(const std::string& text, const std::string& wanted) {
  EXPECT_NE(text.find(wanted), std::string::npos) << text << "\nshould say: " << wanted;
}

const std::vector<ExpectedTensor>& network() {
  static const std::vector<ExpectedTensor> tensors = {
      {"features.conv0.weight", {4, 3, 7, 7}},
      {"features.norm0.weight", {4}},
      {"features.norm0.num_batches_tracked", {}},
      {"features.denseblock1.denselayer1.norm1.weight", {4}},
      {"features.denseblock1.denselayer1.conv2.weight", {2, 8, 3, 3}},
      {"features.transition1.norm.weight", {6}},
      {"classifier.weight", {14, 6}},
      {"classifier.bias", {14}},
  };
  return tensors;
}

std::vector<ExpectedTensor> network_with_labels(std::int64_t labels) {
  std::vector<ExpectedTensor> tensors = network();
  tensors[6].shape[0] = tensors[7].shape[0] = labels;
  return tensors;
}

TEST(CanonicalName, UnderstandsOtherPrograms) {
  const std::pair<const char*, const char*> names[] = {
      {"features.conv0.weight", "features.conv0.weight"},
      {"features.denseblock4.denselayer16.norm.1.running_mean", "features.denseblock4.denselayer16.norm1.running_mean"},
      {"features.denseblock1.denselayer1.conv.2.weight", "features.denseblock1.denselayer1.conv2.weight"},
      {"features.denseblock1.denselayer1.norm1.weight", "features.denseblock1.denselayer1.norm1.weight"},
      {"features.transition1.norm.weight", "features.transition1.norm.weight"},
      {"module.densenet121.features.denseblock2.denselayer3.conv.1.weight",
       "features.denseblock2.denselayer3.conv1.weight"},
      {"module.densenet121.classifier.0.weight", "classifier.weight"},
      {"model.classifier.bias", "classifier.bias"},
      {"state_dict.module.features.norm5.bias", "features.norm5.bias"},
      {"_orig_mod.features.norm5.bias", "features.norm5.bias"},
      {"module._orig_mod.features.norm5.bias", "features.norm5.bias"},
      {"model.features._orig_mod.norm5.bias", "features.norm5.bias"},
      {"densenet.features.norm5.bias", "densenet.features.norm5.bias"},
      {"densenet121", "densenet121"},
      {"module.", ""},
      {"denselayer1.norm.", "denselayer1.norm."},
      {"norm.1.denselayer1", "norm.1.denselayer1"},
  };
  for (const auto& [stored, wanted] : names) {
    EXPECT_EQ(canonical_name(stored), wanted) << stored;
  }
}

TEST_F(Checkpoint, FillsEveryTensorInTheNetworksOrder) {
  std::vector<ExpectedTensor> reversed(network().rbegin(), network().rend());
  reversed.push_back({"optimizer.m", {3}});
  reversed.push_back({"progress.best", {1}});
  const TensorFile file = file_of(reversed);
  const LoadPlan plan = match_tensors(file, network());
  ASSERT_EQ(plan.tensors.size(), network().size());
  for (std::size_t i = 0; i < network().size(); ++i) {
    EXPECT_EQ(plan.tensors[i]->name, network()[i].name);
  }
  ASSERT_EQ(plan.own.size(), 2u);
  EXPECT_EQ(plan.own[0]->name, "optimizer.m");
  EXPECT_TRUE(plan.notes.empty());
  EXPECT_FALSE(plan.new_classifier);
}

TEST_F(Checkpoint, ReadsCheXNetsNames) {
  std::vector<ExpectedTensor> foreign;
  for (ExpectedTensor t : network()) {
    if (t.name.ends_with("num_batches_tracked")) {
      continue;  // written before it existed
    }
    t.name = std::regex_replace(t.name, std::regex("(norm|conv)([12])\\."), "$1.$2.");
    t.name = std::regex_replace(t.name, std::regex("^classifier"), "classifier.0");
    t.name = "module.densenet121." + t.name;
    foreign.push_back(t);
  }
  ASSERT_EQ(foreign[2].name, "module.densenet121.features.denseblock1.denselayer1.norm.1.weight");
  const TensorFile file = file_of(foreign);
  const LoadPlan plan = match_tensors(file, network());
  for (std::size_t i = 0; i < network().size(); ++i) {
    if (network()[i].name.ends_with("num_batches_tracked")) {
      EXPECT_EQ(plan.tensors[i], nullptr);
    } else {
      ASSERT_NE(plan.tensors[i], nullptr) << network()[i].name;
      EXPECT_EQ(canonical_name(plan.tensors[i]->name), network()[i].name);
    }
  }
  ASSERT_EQ(plan.notes.size(), 1u);
  expect_says(plan.notes[0], "7 of 7 tensors were read under other names");
}

TEST_F(Checkpoint, ListsWhatDiffers) {
  std::vector<ExpectedTensor> other = network();
  other[0].shape = {4, 1, 7, 7};
  other[1].name = "features.norm0.gamma";
  const TensorFile file = file_of(other, {{"densetree.arch", "densenet169"}});
  const std::string text = error_of([&] { match_tensors(file, network()); });
  expect_says(text,
              "w.safetensors: its weights (its metadata says densenet169) do not fit this network: of 8 tensors 1 are "
              "missing and 1 have another shape or type, and 1 of the file are not wanted");
  expect_says(text, "missing (1):\n    features.norm0.weight [4]");
  expect_says(text, "features.conv0.weight: stored F32 [4, 1, 7, 7], wanted float [4, 3, 7, 7]");
  expect_says(text, "unexpected (1):\n    features.norm0.gamma [4]");
}

TEST_F(Checkpoint, CutsLongLists) {
  std::vector<ExpectedTensor> many;
  for (int i = 0; i < 50; ++i) {
    many.push_back({fmt::format("other.{}", i), {1}});
  }
  const TensorFile file = file_of(many);
  const std::string text = error_of([&] { match_tensors(file, network()); });
  expect_says(text, "unexpected (50)");
  expect_says(text, "… and 40 more");
  EXPECT_LT(std::count(text.begin(), text.end(), '\n'), 30);
}

TEST_F(Checkpoint, RefusesTwoTensorsForOneName) {
  std::vector<ExpectedTensor> twice = network();
  twice.push_back({"module.classifier.bias", {14}});
  const TensorFile file = file_of(twice);
  expect_says(error_of([&] { match_tensors(file, network()); }), "both stand for 'classifier.bias'");
}

TEST_F(Checkpoint, RefusesWrongTypes) {
  const std::vector<std::int64_t> zeros(14);
  TensorWriter writer;
  writer.add("classifier.bias", TensorType::kInt64, {14}, zeros.data());
  writer.add("norm.num_batches_tracked", TensorType::kInt64, {2}, zeros.data());
  writer.write(path_);
  const TensorFile file = TensorFile::open(path_);
  const std::vector<ExpectedTensor> expected = {{"classifier.bias", {14}}, {"norm.num_batches_tracked", {}}};
  const std::string text = error_of([&] { match_tensors(file, expected); });
  expect_says(text, "classifier.bias: stored I64 [14], wanted float [14]");
  expect_says(text, "norm.num_batches_tracked: stored I64 [2], wanted one number");
}

// As a file has them that was converted to one type as a whole.
TEST_F(Checkpoint, TakesCountersThatAreFloats) {
  const float count = 7;
  TensorWriter writer;
  writer.add("norm.num_batches_tracked", TensorType::kFloat32, {}, &count);
  writer.write(path_);
  const TensorFile file = TensorFile::open(path_);
  EXPECT_NO_THROW(match_tensors(file, std::vector<ExpectedTensor>{{"norm.num_batches_tracked", {}}}));
}

TEST_F(Checkpoint, NumbersThatAreNotFiniteAreNamed) {
  const std::vector<double> numbers{1, -INFINITY}, loss{INFINITY};
  TensorWriter writer;
  writer.add("progress.losses", TensorType::kFloat64, {1}, loss.data());
  writer.add("a.weight", TensorType::kFloat64, {2}, numbers.data());
  writer.write(path_);
  expect_says(error_of([&] { check_finite(TensorFile::open(path_)); }), "'a.weight' holds -inf");
}

TEST_F(Checkpoint, AnotherClassifierOnlyWhereAllowed) {
  const TensorFile file = file_of(network_with_labels(1000));
  expect_says(error_of([&] { match_tensors(file, network()); }),
              "classifier.bias: stored F32 [1000], wanted float [14]");
  const LoadPlan plan = match_tensors(file, network(), LoadPolicy::kAllowNewClassifier);
  EXPECT_TRUE(plan.new_classifier);
  EXPECT_EQ(plan.tensors[6], nullptr);
  EXPECT_EQ(plan.tensors[7], nullptr);
  EXPECT_NE(plan.tensors[0], nullptr);
  ASSERT_EQ(plan.notes.size(), 1u);
  expect_says(plan.notes[0], "the stored classifier has 1000 outputs and this network 14");
}

TEST_F(Checkpoint, KeepsAFittingClassifierAndRefusesOtherFeatures) {
  {
    const TensorFile file = file_of(network());
    EXPECT_FALSE(match_tensors(file, network(), LoadPolicy::kAllowNewClassifier).new_classifier);
  }
  std::vector<ExpectedTensor> wider = network_with_labels(20);
  wider[6].shape[1] = 12;  // more features: another architecture, not another label count
  const TensorFile file = file_of(wider);
  expect_says(error_of([&] { match_tensors(file, network(), LoadPolicy::kAllowNewClassifier); }), "[20, 12]");
}

TEST_F(Checkpoint, HeadlessWeightsOnlyWhereAllowed) {
  const TensorFile file = file_of({network().begin(), network().end() - 2});
  expect_says(error_of([&] { match_tensors(file, network()); }), "missing (2)");
  const LoadPlan plan = match_tensors(file, network(), LoadPolicy::kAllowNewClassifier);
  EXPECT_TRUE(plan.new_classifier);
  expect_says(plan.notes.at(0), "no classifier");
}

TEST_F(Checkpoint, TheReferenceFitsItself) {
  DENSETREE_NEEDS_SHARED("reference/tiny-mse/weights.safetensors");
  const TensorFile file = TensorFile::open(shared_folder() / "reference/tiny-mse/weights.safetensors");
  std::vector<ExpectedTensor> expected;
  for (const TensorInfo& t : file.tensors()) {
    expected.push_back({t.name, t.shape});
  }
  EXPECT_EQ(match_tensors(file, expected).tensors.size(), file.tensors().size());
}

CheckpointMeta some_meta() {
  CheckpointMeta meta;
  meta.arch = "growth=8,blocks=2-3-4-2,init=16";
  meta.labels = {"Mass", "Größe \"x\""};
  meta.preprocessing.image_size = 64;
  meta.preprocessing.pixel_max = 65535;
  meta.preprocessing.normalization.std[2] = 0.1f;
  meta.step = 1'234'567'890'123;
  meta.epoch = 7;
  meta.extra = {{"note", "mine"}};
  return meta;
}

TEST_F(Checkpoint, MetadataComesBackExactly) {
  const CheckpointMeta meta = some_meta();
  const TensorFile file = file_of({}, meta.to_metadata());
  ASSERT_TRUE(has_checkpoint_meta(file));
  const CheckpointMeta back = CheckpointMeta::from(file);
  EXPECT_EQ(back.arch, meta.arch);
  EXPECT_EQ(back.labels, meta.labels);
  EXPECT_EQ(back.preprocessing.source_size, 256);
  EXPECT_EQ(back.preprocessing.image_size, 64);
  EXPECT_EQ(back.preprocessing.pixel_max, 65535);
  for (int c = 0; c < kInputChannels; ++c) {
    EXPECT_EQ(back.preprocessing.normalization.mean[c], meta.preprocessing.normalization.mean[c]);
    EXPECT_EQ(back.preprocessing.normalization.std[c], meta.preprocessing.normalization.std[c]);
  }
  EXPECT_EQ(back.step, meta.step);
  EXPECT_EQ(back.epoch, 7);
  EXPECT_EQ(back.extra, meta.extra);
}

TEST_F(Checkpoint, RefusesMetadataThatMakesNoSense) {
  const auto refused = [&](const std::string& key, const std::string& value, const std::string& wanted) {
    SCOPED_TRACE(key + " = " + value);
    auto metadata = some_meta().to_metadata();
    metadata[key] = value;
    const TensorFile file = file_of({}, metadata);
    expect_says(error_of([&] { CheckpointMeta::from(file); }), wanted);
  };
  refused("densetree.version", "2", "written by a newer densetree; this one reads up to 1");
  refused("densetree.version", "0", "does not exist");
  refused("densetree.version", "one", "whole number");
  refused("densetree.step", "-1", "whole number from 0");
  refused("densetree.step", "99999999999999999999", "whole number from 0");
  refused("densetree.epoch", "1.5", "whole number from 0");
  refused("densetree.arch", "", "architecture is empty");
  refused("densetree.labels", "[", "not valid JSON");
  refused("densetree.labels", "{}", "list of names");
  refused("densetree.labels", "[1]", "names only");
  refused("densetree.labels", "[]", "no labels");
  refused("densetree.labels", R"(["a","a"])", "'a' is there twice");
  refused("densetree.preprocessing", "[]", "should be an object");
  refused("densetree.preprocessing", "{}", "lacks 'source_size'");
  const auto with = [](const std::string& size, const std::string& range, const std::string& std,
                       const std::string& more = "") {
    return R"({"source_size":256,"mean":[0,0,0],"image_size":)" + size + R"(,"pixel_range":)" + range + R"(,"std":)" +
           std + more + "}";
  };
  refused("densetree.preprocessing", with("0", "[0,255]", "[1,1,1]"), "image size of 0");
  refused("densetree.preprocessing", with("-4", "[0,255]", "[1,1,1]"), "'image_size' should be a size");
  refused("densetree.preprocessing", with("1e9", "[0,255]", "[1,1,1]"), "'image_size' should be a size");
  refused("densetree.preprocessing", with("64", "[255,0]", "[1,1,1]"), "pixel range 255 to 0");
  refused("densetree.preprocessing", with("64", "[0]", "[1,1,1]"), "'pixel_range' should be 2 numbers");
  refused("densetree.preprocessing", with("64", "[0,255]", "[1,0,1]"), "deviation of channel 1");
  refused("densetree.preprocessing", with("64", "[0,255]", R"(["a",1,1])"), "'std' should be 3 numbers");
  refused("densetree.preprocessing", with("64", "[0,255]", "[1,1,1]", R"(,"crop":1)"), "'crop', which this version");
  refused("densetree.preprocessing", with("64", "[0,1e999]", "[1,1,1]"), "not valid JSON");
}

TEST_F(Checkpoint, RefusesMissingKeysAndPlainWeights) {
  const auto whole = some_meta().to_metadata();
  for (const char* key : {"densetree.arch", "densetree.labels", "densetree.preprocessing", "densetree.step"}) {
    auto metadata = whole;
    metadata.erase(key);
    const TensorFile file = file_of({}, metadata);
    expect_says(error_of([&] { CheckpointMeta::from(file); }), key);
  }
  const TensorFile plain = file_of({}, {{"format", "pt"}});
  EXPECT_FALSE(has_checkpoint_meta(plain));
  expect_says(error_of([&] { CheckpointMeta::from(plain); }), "plain weights");
}

TEST_F(Checkpoint, RefusesToWriteNonsense) {
  CheckpointMeta meta = some_meta();
  meta.labels = {"\xff"};
  expect_says(error_of([&] { meta.to_metadata(); }), "UTF-8");
  meta = some_meta();
  meta.extra["densetree.step"] = "3";
  expect_says(error_of([&] { meta.to_metadata(); }), "densetree.step");
  meta = some_meta();
  meta.preprocessing.normalization.std[0] = 0;
  expect_says(error_of([&] { meta.to_metadata(); }), "deviation of channel 0");
}

// A checkpoint cut at any place is an Error, never a crash and never half a network.
TEST_F(Checkpoint, TornFilesAreRefused) {
  file_of(network(), some_meta().to_metadata());
  const std::string whole = read_file(path_);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, std::size_t{100}, whole.size() / 2, whole.size() - 1}) {
    write_file(path_, whole.substr(0, size));
    EXPECT_THROW(TensorFile::open(path_), Error) << size;
  }
}

}  // namespace
}  // namespace densetree
