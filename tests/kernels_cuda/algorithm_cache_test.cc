// The file of fastest algorithms: what is stored is found again, and no file is ever an error.
#include "kernels/cuda/algorithm_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/cuda/tuner.h"

namespace densetree::cuda {
namespace {

namespace fs = std::filesystem;

class AlgorithmCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              fmt::format("densetree-{}-{}", ::getpid(), testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path file() const { return folder_ / "below" / "algorithms.txt"; }
  void write(const std::string& text) const {
    fs::create_directories(file().parent_path());
    std::ofstream(file(), std::ios::binary) << text;
  }
  std::string text() const {
    std::ostringstream content;
    content << std::ifstream(file(), std::ios::binary).rdbuf();
    return content.str();
  }

  fs::path folder_;
};

TEST_F(AlgorithmCacheTest, RemembersBetweenRuns) {
  AlgorithmCache(file()).store("b", "engine 2, 3=4");
  AlgorithmCache cache(file());
  EXPECT_EQ(cache.find("b"), "engine 2, 3=4");
  EXPECT_EQ(cache.find("a"), std::nullopt);
  cache.store("a", "proposal 1");
  cache.store("b", "engine 5,");
  EXPECT_EQ(cache.find("b"), "engine 5,");
  EXPECT_EQ(text(), "densetree algorithms 1\na\tproposal 1\nb\tengine 5,\n");
  EXPECT_EQ(AlgorithmCache(file()).find("b"), "engine 5,");
}

TEST_F(AlgorithmCacheTest, KeepsWhatOthersStored) {
  AlgorithmCache one(file()), two(file());
  one.store("a", "1");
  two.store("b", "2");
  one.store("c", "3");
  two.store("a", "4");
  EXPECT_EQ(text(), "densetree algorithms 1\na\t4\nb\t2\nc\t3\n");
}

TEST_F(AlgorithmCacheTest, DamagedAndForeignFilesCountAsEmptyAndAreReplaced) {
  for (const std::string& bad :
       {std::string(), std::string("something else\na\t1\n"), std::string("densetree algorithms 2\na\t1\n"),
        std::string("densetree algorithms 1\na\t1"), std::string("densetree algorithms 1\na\t1\nno tab\n"),
        std::string("densetree algorithms 1\na\t1\n\tno key\n"), std::string("densetree algorithms 1\na\t1\nx\t\n"),
        std::string("densetree algorithms 1\na\t1\n\n"), std::string("densetree algorithms 1\na\t1\t2\n"),
        std::string("densetree algorithms 1\na\t1\nb\t\0\n", 31)}) {
    write(bad);
    AlgorithmCache cache(file());
    EXPECT_EQ(cache.find("a"), std::nullopt) << bad;
    cache.store("z", "9");
    EXPECT_EQ(text(), "densetree algorithms 1\nz\t9\n") << bad;
  }
}

TEST_F(AlgorithmCacheTest, WithoutAFileItRemembersForItself) {
  AlgorithmCache cache("");
  cache.store("a", "1");
  EXPECT_EQ(cache.find("a"), "1");
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(AlgorithmCacheTest, WhatCannotBeWrittenIsNoError) {
  write("not a folder");
  AlgorithmCache below_a_file(file() / "algorithms.txt");
  below_a_file.store("a", "1");
  EXPECT_EQ(below_a_file.find("a"), "1");
  EXPECT_EQ(text(), "not a folder");

  fs::remove(file());
  fs::create_directories(file() / "in the way");
  AlgorithmCache a_folder(file());
  a_folder.store("a", "1");
  EXPECT_EQ(a_folder.find("a"), "1");
  std::set<fs::path> left;
  for (const fs::directory_entry& entry : fs::directory_iterator(file().parent_path())) {
    left.insert(entry.path());
  }
  EXPECT_EQ(left, std::set<fs::path>{file()});  // no file half written
}

TEST_F(AlgorithmCacheTest, RefusesWhatWouldBreakLines) {
  AlgorithmCache cache(file());
  EXPECT_THROW(cache.store("a\nb", "1"), Error);
  EXPECT_THROW(cache.store("a", "1\t2"), Error);
  EXPECT_THROW(cache.store("", "1"), Error);
  EXPECT_FALSE(fs::exists(file()));
}

TEST_F(AlgorithmCacheTest, TimesOnceAndTakesTheFastest) {
  const std::vector<std::string> names{"engine 1,", "engine 2,", "engine 3,"};
  const std::vector<double> seconds{3e-3, 1e-3, 2e-3};
  std::vector<std::size_t> timed;
  const auto time = [&](std::size_t index) { return timed.push_back(index), seconds[index]; };
  AlgorithmCache cache(file());
  EXPECT_EQ(choose_algorithm(cache, "key", names, time), 1u);
  EXPECT_EQ(timed, (std::vector<std::size_t>{0, 1, 2}));
  AlgorithmCache next_run(file());
  EXPECT_EQ(choose_algorithm(next_run, "key", names, time), 1u);
  EXPECT_EQ(timed.size(), 3u);
  // In another order the name counts, and a name that is no longer proposed does not.
  EXPECT_EQ(choose_algorithm(next_run, "key", std::vector<std::string>{"engine 2,", "engine 1,"}, time), 0u);
  EXPECT_EQ(timed.size(), 3u);
  EXPECT_EQ(choose_algorithm(next_run, "key", std::vector<std::string>{"engine 4,", "engine 5,"}, time), 1u);
  EXPECT_EQ(timed.size(), 5u);
  EXPECT_EQ(AlgorithmCache(file()).find("key"), "engine 5,");
}

TEST_F(AlgorithmCacheTest, OneAlgorithmIsNoChoice) {
  AlgorithmCache cache(file());
  const auto never = [](std::size_t) -> double { throw Error("timed"); };
  EXPECT_EQ(choose_algorithm(cache, "key", std::vector<std::string>{"only"}, never), 0u);
  EXPECT_FALSE(fs::exists(file()));
  EXPECT_THROW(choose_algorithm(cache, "key", {}, never), Error);
}

TEST(AlgorithmCache, FileFollowsTheVariables) {
  EXPECT_EQ(AlgorithmCache::file_for("/own", "/xdg", "/home/me"), "/own/algorithms.txt");
  EXPECT_EQ(AlgorithmCache::file_for("", "/xdg", "/home/me"), "");
  EXPECT_EQ(AlgorithmCache::file_for(nullptr, "/xdg", "/home/me"), "/xdg/densetree/algorithms.txt");
  EXPECT_EQ(AlgorithmCache::file_for(nullptr, "", "/home/me"), "/home/me/.cache/densetree/algorithms.txt");
  EXPECT_EQ(AlgorithmCache::file_for(nullptr, nullptr, nullptr), "");
}

TEST(AlgorithmCache, KeysTellApartWhatMatters) {
  ConvolutionShape shape;
  shape.input = {16, 128, 56, 56}, shape.out_channels = 32, shape.kernel = 3, shape.padding = 1;
  const AlgorithmHost host{"NVIDIA H200", 9, 0, "cuDNN 91900"};
  EXPECT_EQ(algorithm_key(host, shape, "forward"),
            "NVIDIA H200 9.0; cuDNN 91900; conv 3x3 stride 1 (16, 128, 56, 56) -> 32 padding 1; forward; fp32");
  std::set<std::string> keys{algorithm_key(host, shape, "forward"), algorithm_key(host, shape, "backward data")};
  for (const AlgorithmHost& other :
       {AlgorithmHost{"NVIDIA H100", 9, 0, "cuDNN 91900"}, AlgorithmHost{"NVIDIA H200", 9, 1, "cuDNN 91900"},
        AlgorithmHost{"NVIDIA H200", 9, 0, "cuDNN 91901"}}) {
    keys.insert(algorithm_key(other, shape, "forward"));
  }
  const auto add = [&](const auto& change) {
    ConvolutionShape other = shape;
    change(other);
    keys.insert(algorithm_key(host, other, "forward"));
  };
  add([](ConvolutionShape& other) { other.input.n = 17; });
  add([](ConvolutionShape& other) { other.input.c = 64; });
  add([](ConvolutionShape& other) { other.input.h = 28; });
  add([](ConvolutionShape& other) { other.input.w = 28; });
  add([](ConvolutionShape& other) { other.out_channels = 64; });
  add([](ConvolutionShape& other) { other.kernel = 5; });
  add([](ConvolutionShape& other) { other.stride = 2; });
  add([](ConvolutionShape& other) { other.padding = 0; });
  add([](ConvolutionShape& other) { other.precision = Precision::kTensorFloat32; });
  EXPECT_EQ(keys.size(), 2u + 3 + 9);
}

TEST(Tuner, IsAskedForByOne) {
  EXPECT_FALSE(wants_tuning(nullptr));
  EXPECT_FALSE(wants_tuning(""));
  EXPECT_FALSE(wants_tuning("0"));
  EXPECT_TRUE(wants_tuning("1"));
  EXPECT_THROW(wants_tuning("yes"), Error);
}

}  // namespace
}  // namespace densetree::cuda
