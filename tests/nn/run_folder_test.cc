// A run that is moved away under its training, while another takes its name.
#include "nn/run_folder.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>

#include "tests/error_of.h"
#include "tests/nn/temporary.h"

namespace densetree::test {
namespace {

namespace fs = std::filesystem;
using nn::Begin;
using nn::RunFolder;

class RunFolderTest : public testing::Test {
 protected:
  // What each of the calls that write says, once the run was moved.
  static void expect_refusal(const std::function<void()>& call) {
    const std::string message = error_of(call);
    EXPECT_NE(message.find("was moved away"), std::string::npos) << message;
  }
  TemporaryFolder folder_;
};

TEST_F(RunFolderTest, WritesNothingIntoAnotherThatTookItsName) {
  RunFolder run(folder_ / "run", Begin::kNew);
  AtomicFile begun = run.open(run.config());
  fs::rename(folder_ / "run", folder_ / "moved");
  RunFolder other(folder_ / "run", Begin::kNew);
  other.write(other.config(), "other");
  begun.write("ours");
  begun.commit();
  EXPECT_EQ(read_file(folder_ / "moved/config.toml"), "ours");
  expect_refusal([&] { run.write(run.config(), "ours"); });
  expect_refusal([&] { run.clear(); });
  EXPECT_EQ(read_file(other.config()), "other");
}

TEST_F(RunFolderTest, LeavesAnotherThatIsStillEmpty) {
  auto run = std::make_unique<RunFolder>(folder_ / "run", Begin::kNew);
  fs::rename(folder_ / "run", folder_ / "moved");
  const RunFolder other(folder_ / "run", Begin::kNew);
  run.reset();
  EXPECT_TRUE(fs::exists(folder_ / "run"));
  other.write(other.config(), "other");
}

TEST_F(RunFolderTest, AFolderOfNothingIsNotLeftBehind) {
  { const RunFolder run(folder_ / "run", Begin::kNew); }
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

TEST_F(RunFolderTest, ClearsAllButTheLock) {
  RunFolder run(folder_ / "run", Begin::kNew);
  run.write(run.last(), "weights");
  run.write(run.data(), "rows");
  run.clear();
  EXPECT_FALSE(fs::exists(run.last()) || fs::exists(run.data()));
  run.write(run.config(), "settings");
}

}  // namespace
}  // namespace densetree::test
