#include "nn/tensor_names.h"

#include <regex>

#include "tests/engine/tensor_files.h"
#include "tests/shared_data.h"

namespace densetree::nn {
namespace {

using TensorNamesTest = TensorFiles;

TEST(TensorNames, UnderstandsOtherPrograms) {
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

TEST_F(TensorNamesTest, ReadsCheXNetsNames) {
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
  const LoadPlan plan = match_tensors(file, network(), densenet_names());
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

TEST_F(TensorNamesTest, TheReferenceFitsItself) {
  DENSETREE_NEEDS_SHARED("reference/tiny-mse/weights.safetensors");
  const TensorFile file = TensorFile::open(shared_folder() / "reference/tiny-mse/weights.safetensors");
  std::vector<ExpectedTensor> expected;
  for (const TensorInfo& t : file.tensors()) {
    expected.push_back({t.name, t.shape});
  }
  EXPECT_EQ(match_tensors(file, expected, densenet_names()).tensors.size(), file.tensors().size());
}

}  // namespace
}  // namespace densetree::nn
