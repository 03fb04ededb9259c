#include "engine/checkpoint_meta.h"

#include "engine/io/file.h"
#include "kernels/core/error.h"
#include "tests/engine/tensor_files.h"
#include "tests/error_of.h"

namespace densetree {
namespace {

using CheckpointMetaTest = TensorFiles;

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

TEST_F(CheckpointMetaTest, MetadataComesBackExactly) {
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

TEST_F(CheckpointMetaTest, RefusesMetadataThatMakesNoSense) {
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

TEST_F(CheckpointMetaTest, RefusesMissingKeysAndPlainWeights) {
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

TEST_F(CheckpointMetaTest, RefusesToWriteNonsense) {
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
TEST_F(CheckpointMetaTest, TornFilesAreRefused) {
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
