// The tape's schedule and lifetimes, on operations that are made up for each test: y = factor · x over four floats.
#include "engine/tape.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "engine/arena.h"
#include "kernels/core/error.h"

namespace densetree {
namespace {

using Context = densetree::Run;  // inside a fixture, Run is a function of GoogleTest

constexpr std::int64_t kCount = 4;
constexpr Shape kShape{1, kCount, 1, 1};

class ScriptedOperation final : public Operation {
 public:
  using Step = std::function<void(const Context&)>;
  ScriptedOperation(std::string name, Uses forward_uses, Step forward, std::optional<Uses> backward_uses = {},
                    Step backward = {})
      : Operation(std::move(name)),
        forward_uses_(std::move(forward_uses)),
        backward_uses_(std::move(backward_uses)),
        forward_(std::move(forward)),
        backward_(std::move(backward)) {}

  Uses forward_uses() const override { return forward_uses_; }
  void forward(const Context& run) override { forward_(run); }
  std::optional<Uses> backward_uses() override { return backward_uses_; }
  void backward(const Context& run) override { backward_(run); }

 private:
  Uses forward_uses_;
  std::optional<Uses> backward_uses_;
  Step forward_, backward_;
};

class TapeTest : public testing::Test {
 protected:
  static constexpr bool kOverwrites = true, kAccumulates = false;

  Tensor tensor(const std::string& name, std::int64_t channels = kCount) {
    return tape_.tensor(name, {1, channels, 1, 1}, Layout::kPlanar);
  }
  Tensor input(const std::string& name) {
    const Tensor x = tensor(name);
    tape_.keep(x.storage);
    return x;
  }
  void add(
      const std::string& name, const Uses& forward, ScriptedOperation::Step step = [](const Context&) {},
      const std::optional<Uses>& backward = {}, ScriptedOperation::Step back = [](const Context&) {}) {
    tape_.add(std::make_unique<ScriptedOperation>(name, forward, std::move(step), backward, std::move(back)));
  }

  // y = factor · x, and its backward dx = or += factor · dy.
  void add_scale(const std::string& name, const Tensor& x, float factor, const Tensor& y, bool overwrites) {
    const Tensor dx = tape_.gradient(x), dy = tape_.gradient(y);
    Uses uses{.reads = {dy.storage}};
    if (overwrites) {
      uses.writes = {dx.storage};
    } else {
      uses.accumulates = dx;
    }
    add(
        name, {.reads = {x.storage}, .writes = {y.storage}},
        [=](const Context& run) { scale(run, x, factor, y, false); }, uses,
        [=](const Context& run) { scale(run, dy, factor, dx, run.mode == GradMode::kAccumulate); });
  }
  // A loss: dx = 1.
  void add_loss(const Tensor& x) {
    const Tensor dx = tape_.gradient(x);
    add("loss", {.reads = {x.storage}, .writes = {dx.storage}}, [dx](const Context& run) { fill(run, dx, 1); });
  }
  static void scale(const Context& run, const Tensor& x, float factor, const Tensor& y, bool add_to) {
    const View from = run.view(x), to = run.view(y);
    for (std::int64_t c = 0; c < to.c; ++c) {
      const float value = factor * from.as<float>()[from.offset(0, c, 0)];
      float& target = to.as<float>()[to.offset(0, c, 0)];
      target = add_to ? target + value : value;
    }
  }
  static void fill(const Context& run, const Tensor& x, float value) {
    const View to = run.view(x);
    for (std::int64_t c = 0; c < to.c; ++c) {
      to.as<float>()[to.offset(0, c, 0)] = value;
    }
  }

  void freeze_and_bind() {
    tape_.freeze(true);
    arena_ = std::make_unique<Arena>(*device_, tape_.bytes());
    tape_.bind(arena_->at(0));
  }
  void set(const Tensor& x, float value) { std::fill_n(static_cast<float*>(tape_.address(x.storage)), kCount, value); }
  std::vector<float> values(const Tensor& x) const {
    const auto* at = static_cast<const float*>(tape_.address(x.storage));
    return {at, at + x.storage_shape.c};
  }
  static std::vector<float> all(float value) { return std::vector<float>(kCount, value); }

  // "A B loss | B' loss< B<": forward, ' made again, < backward.
  std::string schedule() const {
    std::string text;
    for (const Tape::Step& step : tape_.schedule()) {
      text += (text.empty() ? "" : " ") + tape_.operation_name(step.operation);
      text += step.phase == Tape::Phase::kRecompute ? "'" : step.phase == Tape::Phase::kBackward ? "<" : "";
    }
    return text;
  }
  GradMode mode_of(const std::string& name) const {
    for (const Tape::Step& step : tape_.schedule()) {
      if (step.phase == Tape::Phase::kBackward && tape_.operation_name(step.operation) == name) {
        return step.mode;
      }
    }
    fail("no backward of {}", name);
  }
  void expect_freeze_error(const std::string& word) {
    try {
      tape_.freeze(true);
      ADD_FAILURE() << "freeze() accepted it";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }

  std::unique_ptr<Device> device_ = make_device("cpu", 1);
  Tape tape_{*device_};
  std::unique_ptr<Arena> arena_;
};

// ---- Schedule and gradients ------------------------------------------------------------------------

TEST_F(TapeTest, RunsForwardInOrderAndBackwardInReverse) {
  const Tensor x = input("x"), y = tensor("y"), z = tensor("z");
  add_scale("A", x, 2, y, kOverwrites);
  add_scale("B", y, 3, z, kOverwrites);
  add_loss(z);
  tape_.keep(z.storage);
  tape_.keep(tape_.gradient(x).storage);
  freeze_and_bind();
  EXPECT_EQ(schedule(), "A B loss B< A<");
  set(x, 5);
  tape_.run();
  EXPECT_EQ(values(z), all(30));
  EXPECT_EQ(values(tape_.gradient(x)), all(6));
}

TEST_F(TapeTest, TheFirstWriterOfAGradientOverwritesAndTheOthersAdd) {
  const Tensor x = input("x"), y = tensor("y"), z = tensor("z");
  add_scale("A", x, 2, y, kAccumulates);
  add_scale("B", x, 3, z, kAccumulates);
  add_loss(y);
  add_loss(z);
  tape_.keep(tape_.gradient(x).storage);
  freeze_and_bind();
  EXPECT_EQ(mode_of("B"), GradMode::kOverwrite);
  EXPECT_EQ(mode_of("A"), GradMode::kAccumulate);
  for (int step = 0; step < 2; ++step) {  // what the last step left behind does not matter
    set(tape_.gradient(x), 1000);
    tape_.run();
    EXPECT_EQ(values(tape_.gradient(x)), all(5));
  }
}

TEST_F(TapeTest, GradientsOfSlicesAreTrackedByChannel) {
  const Tensor x = input("x"), narrow = tensor("narrow", 2), wide = tensor("wide");
  add_scale("narrow", x.slice(0, 2), 2, narrow, kAccumulates);
  add_scale("wide", x, 3, wide, kAccumulates);
  add_loss(narrow);
  add_loss(wide);
  tape_.keep(tape_.gradient(x).storage);
  freeze_and_bind();
  EXPECT_EQ(mode_of("wide"), GradMode::kOverwrite);
  EXPECT_EQ(mode_of("narrow"), GradMode::kAccumulate);
  tape_.run();
  EXPECT_EQ(values(tape_.gradient(x)), (std::vector<float>{5, 5, 3, 3}));
}

TEST_F(TapeTest, ASliceWhoseOtherHalfWasWrittenCountsAsNew) {
  const Tensor x = input("x"), low = tensor("low", 2), high = tensor("high", 2);
  add_scale("low", x.slice(0, 2), 2, low, kAccumulates);
  add_scale("high", x.slice(2, 2), 3, high, kAccumulates);
  add_loss(low);
  add_loss(high);
  tape_.keep(tape_.gradient(x).storage);
  freeze_and_bind();
  EXPECT_EQ(mode_of("low"), GradMode::kOverwrite);
  EXPECT_EQ(mode_of("high"), GradMode::kOverwrite);
  tape_.run();
  EXPECT_EQ(values(tape_.gradient(x)), (std::vector<float>{2, 2, 3, 3}));
}

TEST_F(TapeTest, ForwardAloneHasNoBackward) {
  const Tensor x = input("x"), y = tensor("y");
  add_scale("A", x, 2, y, kOverwrites);
  tape_.keep(y.storage);
  tape_.freeze(false);
  EXPECT_EQ(schedule(), "A");
}

// ---- Making again ----------------------------------------------------------------------------------

// x -> A -> a -> B -> b -> C -> c, where the backwards of B and C read their inputs.
class RecomputeTest : public TapeTest {
 protected:
  void build() {
    add_product("A", x_, a_, false);
    add_product("B", a_, b_, true);
    add_product("C", b_, c_, true);
    add_loss(c_);
    tape_.keep(c_.storage);
    tape_.keep(tape_.gradient(x_).storage);
  }
  // y = 2·x, whose backward dx = 2·dy + 0·x reads x where it says so.
  void add_product(const std::string& name, const Tensor& x, const Tensor& y, bool reads_input) {
    const Tensor dx = tape_.gradient(x), dy = tape_.gradient(y);
    Uses uses{.reads = {dy.storage}, .writes = {dx.storage}};
    if (reads_input) {
      uses.reads.push_back(x.storage);
    }
    add(
        name, {.reads = {x.storage}, .writes = {y.storage}},
        [=, this](const Context& run) {
          counts_[name + (run.recompute ? " again" : "")] += 1;
          scale(run, x, 2, y, false);
        },
        uses,
        [=](const Context& run) {
          scale(run, dy, 2, dx, false);
          if (reads_input) {
            scale(run, x, 0, dx, true);  // NaN where x is not what it was
          }
        });
  }

  Tensor x_ = input("x"), a_ = tensor("a"), b_ = tensor("b"), c_ = tensor("c");
  std::map<std::string, int> counts_;
};

TEST_F(RecomputeTest, WhatIsKeptIsNotMadeAgain) {
  build();
  freeze_and_bind();
  EXPECT_EQ(schedule(), "A B C loss C< B< A<");
}

TEST_F(RecomputeTest, DroppedStoragesAreMadeAgainOnceBeforeTheFirstReader) {
  tape_.drop_after_forward(a_.storage);
  tape_.drop_after_forward(b_.storage);
  build();
  freeze_and_bind();
  EXPECT_EQ(schedule(), "A B C loss A' B' C< B< A<");
  tape_.set_poison(true);
  set(x_, 1);
  for (int step = 1; step <= 3; ++step) {
    tape_.run();
    EXPECT_EQ(values(c_), all(8));
    EXPECT_EQ(values(tape_.gradient(x_)), all(8));
    EXPECT_EQ(counts_["A"], step);
    EXPECT_EQ(counts_["A again"], step);
    EXPECT_EQ(counts_["B again"], step);
    EXPECT_EQ(counts_["C again"], 0);
  }
}

TEST_F(RecomputeTest, OnlyWhatADroppedStorageNeedsIsMadeAgain) {
  tape_.drop_after_forward(b_.storage);
  build();
  freeze_and_bind();
  EXPECT_EQ(schedule(), "A B C loss B' C< B< A<");
}

TEST_F(RecomputeTest, ADroppedStorageIsAliveInTwoSpans) {
  tape_.drop_after_forward(b_.storage);
  build();
  freeze_and_bind();
  int spans = 0;
  for (const Planner::Buffer& buffer : tape_.planner().buffers()) {
    if (buffer.name == "b") {
      ++spans;
      EXPECT_EQ(buffer.first, 1);  // B
      EXPECT_EQ(buffer.last, 2);   // C
    } else if (buffer.name == "b (again)") {
      ++spans;
      EXPECT_EQ(buffer.first, 4);  // B'
      EXPECT_EQ(buffer.last, 5);   // C<
    }
  }
  EXPECT_EQ(spans, 2);
}

// ---- Errors ----------------------------------------------------------------------------------------

TEST_F(TapeTest, RefusesToReadWhatNothingWrote) {
  const Tensor x = tensor("x"), y = tensor("y");  // x is neither kept nor made
  add_scale("A", x, 2, y, kOverwrites);
  add_loss(y);
  expect_freeze_error("'A' reads 'x' before anything wrote it");
}

TEST_F(TapeTest, RefusesToReadBeforeTheWriter) {
  const Tensor x = input("x"), y = tensor("y"), z = tensor("z");
  add_scale("B", y, 2, z, kOverwrites);
  add_scale("A", x, 2, y, kOverwrites);
  expect_freeze_error("'B' reads 'y' before anything wrote it");
}

TEST_F(TapeTest, RefusesTwoWritersThatOverwriteAGradient) {
  const Tensor x = input("x"), y = tensor("y"), z = tensor("z");
  add_scale("A", x, 2, y, kOverwrites);
  add_scale("B", x, 3, z, kOverwrites);
  add_loss(y);
  add_loss(z);
  expect_freeze_error("two consumers whose backward overwrites it");
}

TEST_F(TapeTest, RefusesToOverwriteWhatWasAccumulated) {
  const Tensor x = input("x"), y = tensor("y"), z = tensor("z");
  add_scale("A", x, 2, y, kOverwrites);
  add_scale("B", x, 3, z, kAccumulates);
  add_loss(y);
  add_loss(z);
  expect_freeze_error("two consumers whose backward overwrites it");
}

TEST_F(TapeTest, RefusesAGradientThatNothingWrites) {
  const Tensor x = input("x"), y = tensor("y"), z = tensor("z");
  add_scale("A", x, 2, y, kOverwrites);
  add_scale("B", y, 3, z, kOverwrites);  // no loss on z
  expect_freeze_error("'grad z', which no consumer wrote");
}

TEST_F(TapeTest, RefusesAWiderWriterAfterANarrowerOne) {
  const Tensor x = input("x"), narrow = tensor("narrow", 2), wide = tensor("wide");
  add_scale("wide", x, 3, wide, kAccumulates);
  add_scale("narrow", x.slice(0, 2), 2, narrow, kAccumulates);
  add_loss(wide);
  add_loss(narrow);
  expect_freeze_error("written in part when a wider writer comes");
}

TEST_F(TapeTest, RefusesToFreezeTwiceAndToRunUnbound) {
  EXPECT_THROW(tape_.freeze(true), Error);  // nothing on it
  const Tensor x = input("x"), y = tensor("y");
  add_scale("A", x, 2, y, kOverwrites);
  add_loss(y);
  tape_.freeze(true);
  EXPECT_THROW(tape_.freeze(true), Error);
  EXPECT_THROW(tape_.run(), Error);
}

TEST_F(TapeTest, RefusesChannelsBeyondATensor) {
  const Tensor x = input("x");
  EXPECT_THROW(x.slice(2, 3), Error);
  EXPECT_THROW(x.slice(0, 0), Error);
  EXPECT_EQ(x.slice(1, 3).slice(1, 1).first, 2);
}

// ---- Poison ----------------------------------------------------------------------------------------

// B's backward reads a; says_so: whether its uses admit it.
class PoisonTest : public TapeTest {
 protected:
  std::vector<float> gradient_of_input(bool says_so) {
    // Far larger than the rest, so that nothing that is alive takes its place.
    const Tensor x = input("x"), a = tensor("a", 1024).slice(0, kCount), b = tensor("b");
    add_scale("A", x, 2, a, kOverwrites);
    const Tensor da = tape_.gradient(a), db = tape_.gradient(b);
    Uses uses{.reads = {db.storage}, .writes = {da.storage}};
    if (says_so) {
      uses.reads.push_back(a.storage);
    }
    add(
        "B", {.reads = {a.storage}, .writes = {b.storage}}, [=](const Context& run) { scale(run, a, 3, b, false); },
        uses, [=](const Context& run) { scale(run, a, 1, da, false); });
    add_loss(b);
    tape_.keep(tape_.gradient(x).storage);
    freeze_and_bind();
    tape_.set_poison(true);
    set(x, 1);
    tape_.run();
    return values(tape_.gradient(x));
  }
};

TEST_F(PoisonTest, LeavesWhatIsStillReadAlone) {
  EXPECT_EQ(gradient_of_input(true), all(4));
}

TEST_F(PoisonTest, MakesAReadTooLateNaN) {
  for (const float value : gradient_of_input(false)) {
    EXPECT_TRUE(std::isnan(value)) << value;
  }
}

TEST_F(PoisonTest, FillsWorkspaceAfterItsOperation) {
  const Tensor x = input("x"), y = tensor("y");
  std::vector<float> found;
  float* workspace = nullptr;
  add("A", {.reads = {x.storage}, .writes = {y.storage}, .workspace = kCount * sizeof(float)}, [&](const Context& run) {
    workspace = static_cast<float*>(run.workspace);
    std::fill_n(workspace, kCount, 1.0f);
  });
  add("B", {.reads = {y.storage}}, [&](const Context&) { found.assign(workspace, workspace + kCount); });
  tape_.freeze(false);
  arena_ = std::make_unique<Arena>(*device_, tape_.bytes());
  tape_.bind(arena_->at(0));
  tape_.set_poison(true);
  tape_.run_forward();
  ASSERT_EQ(found.size(), static_cast<std::size_t>(kCount));
  for (const float value : found) {
    EXPECT_TRUE(std::isnan(value));
  }
}

}  // namespace
}  // namespace densetree
