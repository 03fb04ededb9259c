#include "nn/run_config.h"

#include <gtest/gtest.h>

#include "engine/io/file.h"
#include "kernels/core/error.h"
#include "tests/error_of.h"

namespace densetree::nn {
namespace {

namespace fs = std::filesystem;

class RunConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              (std::string("run_config_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    file_ = folder_ / "config.toml";
  }
  void TearDown() override { fs::remove_all(folder_); }

  TrainOptions read() const {
    TrainOptions options;
    read_run_config(options, file_, [](const Setting&) { return true; });
    return options;
  }
  std::string fault(const std::string& text) const {
    write_file(file_, text);
    return error_of([&] { read(); });
  }

  fs::path folder_, file_;
};

TrainOptions unusual() {
  TrainOptions o;
  o.arch = parse_architecture("growth=8,blocks=2-2,init=8");
  o.loss = LossKind::kBce;
  o.precision = Precision::kBFloat16;
  o.memory = MemoryMode::kStore;
  o.batch_norm = BatchNorm::kFactored;
  o.lr = 0.1 + 0.2;  // 0.30000000000000004
  o.schedule.kind = ScheduleKind::kPlateau;
  o.schedule.gamma = 1.0 / 3;
  o.augment.rotation = 1.1f;
  o.balanced = true;
  o.capture = false;
  o.init = "a \"quoted\" \\ path\x7F\n";
  o.seed = std::numeric_limits<std::int64_t>::max();
  return o;
}

TEST_F(RunConfigTest, ComesBackAsItWas) {
  const TrainOptions o = unusual();
  write_file(file_, run_config(o, "data # 1", "tree.toml"));
  const TrainOptions back = read();
  EXPECT_EQ(run_config(back, "data # 1", "tree.toml"), run_config(o, "data # 1", "tree.toml"));
  EXPECT_EQ(back.lr, o.lr);
  EXPECT_EQ(back.schedule.gamma, o.schedule.gamma);
  EXPECT_EQ(back.augment.rotation, o.augment.rotation);
  EXPECT_EQ(back.init, o.init);
  EXPECT_EQ(back.seed, o.seed);
  EXPECT_EQ(back.precision, o.precision);
  EXPECT_EQ(back.arch.name, o.arch.name);
  EXPECT_FALSE(back.capture);
}

TEST_F(RunConfigTest, HasEverySettingOfTraining) {
  const std::string text = run_config({}, "d", "");
  int settings = 0;
  const TrainOptions options;
  TrainOptions::settings(options, [&](const auto&, const Setting& setting) {
    EXPECT_NE(text.find(fmt::format("\n{} = ", setting.name)), std::string::npos) << setting.name;
    ++settings;
  });
  EXPECT_GE(settings, 27);
}

TEST_F(RunConfigTest, OfAnEarlierVersionLacksSettings) {
  write_file(file_, "seed = 3\n[train]\ndata = \"d\"\nlr = 0.5\n");
  const TrainOptions options = read();
  EXPECT_EQ(options.lr, 0.5);
  EXPECT_EQ(options.seed, 3u);
  EXPECT_EQ(options.batch_size, TrainOptions{}.batch_size);
  TrainOptions same;
  same.seed = 3, same.lr = 0.5;
  const std::vector<std::string> missing = check_same_settings(same, file_);
  EXPECT_EQ(std::count(missing.begin(), missing.end(), "batch-size"), 1);
  EXPECT_EQ(std::count(missing.begin(), missing.end(), "lr") + std::count(missing.begin(), missing.end(), "epochs"), 0);
  same.batch_size = 16;
  EXPECT_NE(error_of([&] { check_same_settings(same, file_); }).find("begun with batch-size = 128, not 16"),
            std::string::npos);
}

TEST_F(RunConfigTest, SaysWhatIsWrongAndWhere) {
  EXPECT_NE(fault("seed = 1\n[train]\nlr = 2\n").find("config.toml:3: lr is 2; it must be more than 0 and at most 1"),
            std::string::npos);
  EXPECT_NE(fault("seed = 1\n[train]\nlearning = 2\n").find("config.toml:3: 'learning' is no setting of a run"),
            std::string::npos);
  EXPECT_NE(fault("seed = 1\n[train]\nweight_decay = 2\n").find("run; did you mean 'weight-decay'?"),
            std::string::npos);
  EXPECT_NE(fault("seed = 1\n[eval]\ndraws = 2\n").find("config.toml:2: 'eval' is no setting of a run"),
            std::string::npos);
  EXPECT_NE(fault("[train]\nlr = 0.5\n").find("it has no seed"), std::string::npos);
  EXPECT_NE(fault("seed = 1\n[train\n").find("config.toml:2: "), std::string::npos);
}

TEST_F(RunConfigTest, OnlySomeSettingsMayChange) {
  TrainOptions o = unusual();
  write_file(file_, run_config(o, "d", ""));
  EXPECT_NO_THROW(check_same_settings(o, file_));
  o.epochs = 99, o.memory = MemoryMode::kShared, o.workers = 2, o.checkpoint_steps = 5, o.capture = true;
  EXPECT_NO_THROW(check_same_settings(o, file_));
  o.lr = 0.3;
  EXPECT_NE(error_of([&] {
              check_same_settings(o, file_);
            }).find("config.toml: the run was begun with lr = 0.30000000000000004, not 0.3; resume it"),
            std::string::npos);
  o = unusual(), o.seed = 4;
  EXPECT_NE(error_of([&] { check_same_settings(o, file_); }).find("begun with seed = 9223372036854775807, not 4"),
            std::string::npos);
}

// A run that was begun on a machine of more cores can be resumed with fewer workers.
TEST_F(RunConfigTest, WhatMayChangeNeedNotFitHere) {
  write_file(file_, "seed = 1\n[train]\nworkers = 100000\n");
  EXPECT_NO_THROW(check_same_settings({}, file_));
  TrainOptions options;
  EXPECT_NO_THROW(
      read_run_config(options, file_, [](const Setting& s) { return std::string_view(s.name) != "workers"; }));
  EXPECT_THROW(read(), Error);
}

}  // namespace
}  // namespace densetree::nn
