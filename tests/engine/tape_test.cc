// The tape's program: order, gradients, what is made again, lifetimes. On operations of the CPU over four channels of
// one pixel: y = factor · x (a linear layer with a diagonal), copies, and losses.
#include "engine/tape.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "engine/arena.h"
#include "kernels/core/error.h"
#include "tests/kernels/unbound.h"

namespace densetree {
namespace {

constexpr std::int64_t kCount = 4;

class TapeTest : public testing::Test {
 protected:
  Tensor tensor(const std::string& name, std::int64_t channels = kCount) {
    return tape_.tensor(name, {1, channels, 1, 1}, Layout::kPlanar);
  }
  Tensor input(const std::string& name) {
    const Tensor x = tensor(name);
    tape_.keep(x.storage);
    return x;
  }
  // Weights of a diagonal and no bias, at the end of the flat weights.
  Array<float> weights(std::int64_t channels, float factor) {
    const auto first = static_cast<std::int64_t>(weights_.size());
    for (std::int64_t i = 0; i < channels * channels; ++i) {
      weights_.push_back(i % (channels + 1) == 0 ? factor : 0);
    }
    weights_.resize(weights_.size() + channels);
    return tape_.external<float>("weights", first, channels * channels + channels);
  }
  // y = factor · x. Its backward reads x for the gradient of its weights.
  void add_scale(const std::string& name, const Tensor& x, float factor, const Tensor& y) {
    add_scale(name, x, weights(x.c, factor), y);
  }
  void add_scale(const std::string& name, const Tensor& x, const Array<float>& wb, const Tensor& y) {
    tape_.add(name, op::Linear{.x = x, .w = wb.slice(0, x.c * x.c), .b = wb.slice(x.c * x.c, x.c), .y = y});
  }
  Tensor scaled(const std::string& name, const Tensor& x, float factor) {
    const Tensor y = tensor(name, x.c);
    add_scale(name, x, factor, y);
    return y;
  }
  Tensor copied(const std::string& name, const Tensor& x) {
    const Tensor y = tensor(name, x.c);
    tape_.add(name, op::Copy{.x = x, .y = y});
    return y;
  }
  // The same again: y = x, by an operation whose gradient can only overwrite.
  Tensor pooled(const std::string& name, const Tensor& x) {
    const Tensor y = tensor(name, x.c);
    tape_.add(name, op::AveragePool{.kernel = 1, .x = x, .y = y});
    return y;
  }
  // Whose gradient on z is (sigmoid(z) − 1) / channels; its place.
  Tensor add_loss(const Tensor& z) {
    const Array<float> targets = tape_.array<float>("targets", z.c);
    const Array<double> loss = tape_.array<double>("loss", 1);
    const Tensor dz = tensor("grad of loss", z.c);
    tape_.keep(targets.storage);
    tape_.keep(loss.storage);
    tape_.keep(dz.storage);
    targets_.push_back(targets);
    tape_.add("loss", op::Loss{.kind = LossKind::kBce, .z = z, .y = targets, .loss = loss, .dz = dz});
    return dz;
  }
  Tensor kept_gradient(const Tensor& x) {
    const Tensor dx = tape_.gradient(x);
    tape_.keep(dx.storage);
    return dx;
  }

  void freeze(bool with_backward = true) {
    if (!weights_.empty()) {
      tape_.make_gradients("weights", "gradients", static_cast<std::int64_t>(weights_.size()));
    }
    tape_.freeze(with_backward);
  }
  void bind() {
    persistent_.add("weights", weights_.size() * sizeof(float));
    persistent_.add("norm", sizeof(double));
    arena_ = std::make_unique<Arena>(*device_, persistent_.bytes() + tape_.bytes());
    persistent_.place(arena_->at(0));
    tape_.bind(arena_->at(persistent_.bytes()), persistent_);
    std::copy(weights_.begin(), weights_.end(), static_cast<float*>(persistent_.at("weights")));
    for (const Array<float>& targets : targets_) {
      std::fill_n(tape_.address(targets), targets.count, 1.0f);
    }
  }
  void freeze_and_bind() {
    freeze();
    bind();
  }
  void set(const Tensor& x, float value) { std::fill_n(static_cast<float*>(tape_.address(x)), x.c, value); }
  std::vector<float> values(const Tensor& x) const {
    const auto* at = static_cast<const float*>(tape_.address(x));
    return {at, at + x.c};
  }
  std::vector<float> weight_gradients() const {
    const auto all = const_cast<Tape&>(tape_).external<float>("weights", 0, static_cast<std::int64_t>(weights_.size()));
    const float* at = tape_.address(tape_.gradient(all));
    return {at, at + all.count};
  }
  static std::vector<float> all(float value) { return std::vector<float>(kCount, value); }
  static float loss_gradient(float z, std::int64_t channels = kCount) {
    return static_cast<float>((1 / (1 + std::exp(-double{z})) - 1) / static_cast<double>(channels));
  }
  static void expect_near(const std::vector<float>& values, const std::vector<float>& expected) {
    ASSERT_EQ(values.size(), expected.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(values[i], expected[i], 1e-6) << i;
    }
  }

  // "A B loss B' B< A<": forward, ' recomputed, < backward, ? clip, ! update.
  std::string program() const {
    const std::map<Phase, std::string> marks{{Phase::kForward, ""},
                                             {Phase::kRecompute, "'"},
                                             {Phase::kBackward, "<"},
                                             {Phase::kClip, "?"},
                                             {Phase::kUpdate, "!"}};
    std::string text;
    for (const Step& step : tape_.steps()) {
      text += (text.empty() ? "" : " ") + step.name + marks.at(step.phase);
    }
    return text;
  }
  static void expect_error(const std::function<void()>& call, const std::string& word) {
    try {
      call();
      ADD_FAILURE() << "no Error; one that says '" << word << "' was expected";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }

  void start_anew() {
    tape_ = Tape(*device_);
    persistent_ = {};
    weights_.clear();
    targets_.clear();
  }

  std::unique_ptr<Device> device_ = make_device("cpu", 1);
  Tape tape_{*device_};
  Persistent persistent_;
  std::unique_ptr<Arena> arena_;
  std::vector<float> weights_;
  std::vector<Array<float>> targets_;
};

// ---- Program and gradients -------------------------------------------------------------------------

TEST_F(TapeTest, RunsForwardInOrderAndBackwardInReverse) {
  const Tensor x = input("x"), y = scaled("A", x, 2), z = scaled("B", y, 3);
  add_loss(z);
  tape_.keep(z.storage);
  const Tensor dx = kept_gradient(x);
  freeze_and_bind();
  EXPECT_EQ(program(), "A B loss B< A<");
  set(x, 0.5f);
  tape_.run();
  EXPECT_EQ(values(z), all(3));
  expect_near(values(dx), all(6 * loss_gradient(3)));
}

// Whatever the two operations are: some overwrite gradients only, some can add.
TEST_F(TapeTest, TheGradientOfATensorWithTwoReadersIsTheirSum) {
  const Tensor x = input("x");
  const Tensor a = scaled("A", x, 2), b = copied("B", x), c = scaled("C", x, 3), d = copied("D", x);
  for (const Tensor& y : {a, b, c, d}) {
    add_loss(y);
  }
  const Tensor dx = kept_gradient(x);
  freeze_and_bind();
  for (int step = 0; step < 2; ++step) {  // what the last step left behind does not matter
    set(x, 1);
    set(dx, 1000);
    tape_.run();
    expect_near(values(dx), all(2 * loss_gradient(2) + 2 * loss_gradient(1) + 3 * loss_gradient(3)));
  }
}

TEST_F(TapeTest, TwoLossesAndAReaderOfTheSameTensorAddUp) {
  const Tensor x = input("x"), y = copied("A", x);
  const Tensor z = scaled("B", y, 2);
  add_loss(y);
  add_loss(z);
  add_loss(y);
  const Tensor dx = kept_gradient(x);
  freeze_and_bind();
  set(x, 1);
  tape_.run();
  expect_near(values(dx), all(2 * loss_gradient(1) + 2 * loss_gradient(2)));
}

// Of a slice and of the whole, in either order, by operations that can add and by some that cannot.
TEST_F(TapeTest, GradientsOfSlicesAreTrackedByChannel) {
  for (const bool narrow_first : {true, false}) {
    for (const bool adds : {true, false}) {
      SCOPED_TRACE(fmt::format("{} {}", narrow_first, adds));
      start_anew();
      const Tensor x = input("x");
      const auto read = [&](const std::string& name, const Tensor& part, float factor) {
        return scaled(name, adds ? copied(name + " in", part) : pooled(name + " in", part), factor);
      };
      Tensor narrow, wide;
      if (narrow_first) {
        narrow = read("narrow", x.slice(0, 2), 2);
        wide = read("wide", x, 3);
      } else {  // backward comes to the narrow one first, and what it leaves out has to be cleared
        wide = read("wide", x, 3);
        narrow = read("narrow", x.slice(0, 2), 2);
      }
      add_loss(narrow);
      add_loss(wide);
      const Tensor dx = kept_gradient(x);
      freeze_and_bind();
      for (int step = 0; step < 2; ++step) {
        set(x, 1);
        set(dx, 1000);
        tape_.run();
        const float one = 3 * loss_gradient(3), both = one + 2 * loss_gradient(2, 2);
        expect_near(values(dx), {both, both, one, one});
      }
    }
  }
}

TEST_F(TapeTest, ChannelsThatNobodyReadHaveNoGradient) {
  const Tensor x = input("x"), y = copied("A", x), part = scaled("C", pooled("B", y.slice(1, 2)), 2);
  add_loss(part);
  const Tensor dx = kept_gradient(x);
  freeze_and_bind();
  set(x, 1);
  set(dx, 1000);
  tape_.run();
  const float one = 2 * loss_gradient(2, 2);
  expect_near(values(dx), {0, one, one, 0});
}

TEST_F(TapeTest, WeightsThatTwoLayersShareGetTheSum) {
  const Tensor x = input("x"), y = tensor("y"), z = tensor("z");
  const Array<float> shared = weights(kCount, 2);
  add_scale("A", x, shared, y);
  add_scale("B", y, shared, z);
  const Tensor dz = add_loss(z);
  freeze_and_bind();
  set(x, 0.25f);
  tape_.run();
  const float g = values(dz)[0];
  // B: dz · y, A: 2 · dz · x, both on every element; biases dz + 2 · dz.
  std::vector<float> expected(kCount * kCount, g * 0.5f + 2 * g * 0.25f);
  expected.resize(expected.size() + kCount, 3 * g);
  expect_near(weight_gradients(), expected);
}

TEST_F(TapeTest, ConstantsGetNoGradient) {
  const Tensor x = input("x"), y = scaled("A", x, 2);
  tape_.set_constant(x.storage);
  add_loss(y);
  freeze_and_bind();
  EXPECT_FALSE(std::get<op::LinearGradient>(tape_.steps().back().operation).dx.present());
}

TEST_F(TapeTest, ForwardAloneHasNoBackward) {
  const Tensor y = scaled("A", input("x"), 2);
  tape_.keep(y.storage);
  freeze(false);
  EXPECT_EQ(program(), "A");
}

TEST_F(TapeTest, UpdatesFollowBackwardAndClippingIsLeftOutWhereNotAskedFor) {
  const Tensor x = input("x"), y = scaled("A", x, 2);
  add_loss(y);
  const auto norm = tape_.external<double>("norm", 0, 1);
  const Tensor dx = kept_gradient(x);
  Array<float> g;
  g.storage = dx.storage;
  g.count = kCount;
  tape_.add_update("norm", Phase::kClip, op::L2Norm{.g = g, .norm = norm});
  tape_.add_update("clear", Phase::kUpdate, op::Clear{.y = dx});
  freeze_and_bind();
  EXPECT_EQ(program(), "A loss A< norm? clear!");
  auto& value = *static_cast<double*>(persistent_.at("norm"));
  value = -1;
  set(x, 1);
  tape_.run(false);
  EXPECT_EQ(value, -1);
  EXPECT_EQ(values(dx), all(0));
  tape_.run(true);
  EXPECT_NEAR(value, std::abs(2 * 2 * loss_gradient(2)), 1e-6);
}

// ---- Recomputing -----------------------------------------------------------------------------------

// x -> A -> a -> B -> b -> C -> c, where each backward reads the input of its operation.
class RecomputeTest : public TapeTest {
 protected:
  void build(const std::vector<std::string>& dropped) {
    a_ = scaled("A", x_, 2), b_ = scaled("B", a_, 2), c_ = scaled("C", b_, 2);
    for (const auto& [name, storage] : {std::pair{"a", a_.storage}, {"b", b_.storage}}) {
      if (std::find(dropped.begin(), dropped.end(), name) != dropped.end()) {
        tape_.drop_after_forward(storage);
      }
    }
    add_loss(c_);
    tape_.keep(c_.storage);
    dx_ = kept_gradient(x_);
    freeze_and_bind();
  }
  std::vector<float> results() {
    set(x_, 0.125f);
    tape_.run();
    std::vector<float> numbers = weight_gradients();
    for (const Tensor& t : {c_, dx_}) {
      const std::vector<float> more = values(t);
      numbers.insert(numbers.end(), more.begin(), more.end());
    }
    return numbers;
  }

  Tensor x_ = input("x"), a_, b_, c_, dx_;
};

TEST_F(RecomputeTest, WhatIsKeptIsNotMadeAgain) {
  build({});
  EXPECT_EQ(program(), "A B C loss C< B< A<");
}

TEST_F(RecomputeTest, OnlyWhatADroppedStorageNeedsIsMadeAgain) {
  build({"b"});
  EXPECT_EQ(program(), "A B C loss B' C< B< A<");
}

TEST_F(RecomputeTest, DroppedStoragesAreMadeAgainOnceBeforeTheFirstReaderWithTheSameBits) {
  build({});
  const std::vector<float> expected = results();
  start_anew();
  x_ = input("x");
  build({"a", "b"});
  EXPECT_EQ(program(), "A B C loss A' B' C< B< A<");
  tape_.set_poison(true);
  for (int step = 0; step < 3; ++step) {
    EXPECT_EQ(results(), expected);
  }
}

TEST_F(RecomputeTest, MakingAgainRunsTheKernelOfTheFirstTime) {
  build({"b"});
  EXPECT_EQ(tape_.steps()[4].phase, Phase::kRecompute);
  EXPECT_EQ(tape_.steps()[4].kernel, tape_.steps()[1].kernel);
}

TEST_F(RecomputeTest, ADroppedStorageIsAliveInTwoSpans) {
  build({"b"});
  int spans = 0;
  for (const Planner::Buffer& buffer : tape_.planner().buffers()) {
    if (buffer.name == "B") {
      ++spans;
      EXPECT_EQ(buffer.first, 1);  // B
      EXPECT_EQ(buffer.last, 2);   // C
    } else if (buffer.name == "B (recomputed)") {
      ++spans;
      EXPECT_EQ(buffer.first, 4);  // B'
      EXPECT_EQ(buffer.last, 5);   // C<
    }
  }
  EXPECT_EQ(spans, 2);
}

TEST_F(TapeTest, WhatSeveralOperationsWriteCannotBeMadeAgain) {
  const Tensor x = input("x"), y = tensor("y");
  tape_.add("A", op::Copy{.x = x.slice(0, 2), .y = y.slice(0, 2)});
  tape_.add("B", op::Copy{.x = x.slice(2, 2), .y = y.slice(2, 2)});
  add_loss(scaled("C", y, 2));
  tape_.drop_after_forward(y.storage);
  expect_error([&] { freeze(); }, "'y' is written by several operations");
}

// ---- Errors ----------------------------------------------------------------------------------------

TEST_F(TapeTest, RefusesToReadWhatNothingWrote) {
  const Tensor x = tensor("x");  // neither kept nor made
  expect_error([&] { scaled("A", x, 2); }, "'A' reads 'x' before anything wrote it");
}

TEST_F(TapeTest, RefusesAGradientThatNothingWrites) {
  scaled("B", scaled("A", input("x"), 2), 3);  // no loss
  expect_error([&] { freeze(); }, "the backward of 'B' reads the gradient of 'B', which no consumer wrote");
}

// The backward of a reader would see what the tensor has become.
TEST_F(TapeTest, RefusesToChangeWhatHasBeenRead) {
  const Tensor x = input("x"), y = copied("A", x);
  scaled("B", y, 2);
  expect_error([&] { tape_.add("C", op::Add{.x = x, .y = y}); }, "'C' changes 'A', which an operation before it reads");
}

TEST_F(TapeTest, RefusesToOverwriteWhatIsWritten) {
  const Tensor x = input("x"), y = tensor("y");
  tape_.add("A", op::Copy{.x = x.slice(0, 3), .y = y.slice(0, 3)});
  tape_.add("B", op::Copy{.x = x.slice(3, 1), .y = y.slice(3, 1)});
  expect_error([&] { tape_.add("C", op::Copy{.x = x.slice(0, 2), .y = y.slice(2, 2)}); },
               "'C' overwrites channels of 'y' that are written already");
}

TEST_F(TapeTest, RefusesToDropWhatNothingMakesAndWhatAnUpdateUses) {
  const Tensor x = input("x"), y = scaled("A", x, 2);
  tape_.drop_after_forward(x.storage);
  tape_.drop_after_forward(y.storage);
  add_loss(y);
  expect_error([&] { tape_.add_update("B", Phase::kUpdate, op::Clear{.y = y}); }, "'B' uses 'A', which is dropped");
  expect_error([&] { freeze(); }, "'x' is dropped, and no operation makes it");
}

TEST_F(TapeTest, RefusesToShareAPartOfWeights) {
  for (const std::int64_t first : {0, 4, 8}) {
    start_anew();
    const Tensor x = input("x"), y = tensor("y", kCount), z = tensor("z", 2);
    const Array<float> w = weights(kCount, 2);
    tape_.add("A", op::Linear{.x = x, .w = w.slice(0, 16), .b = w.slice(16, 4), .y = y});
    tape_.add("B", op::Linear{.x = y, .w = w.slice(first, 8), .b = w.slice(16, 2), .y = z});
    add_loss(z);
    expect_error([&] { freeze(); }, "'A' shares a part of its weights");
  }
}

TEST_F(TapeTest, RefusesToTrainThroughWhatHasNoGradient) {
  const Array<float> variance = tape_.external<float>("weights", 0, kCount), rstd = tape_.array<float>("rstd", kCount);
  tape_.add("A", op::ReciprocalStd{.variance = variance, .eps = 1, .rstd = rstd});
  add_loss(copied("B", input("x")));
  expect_error([&] { freeze(); }, "reciprocal std has no gradient");
}

TEST_F(TapeTest, NamesTheLayerThatADeviceHasNoKernelFor) {
  const Tensor x = input("x");
  const op::NormConvolution fused = test::unbound_norm_convolution(  // three channels fill no vector
      *device_, {.input = {1, 3, 4, 4}, .out_channels = 3}, {0, 3}, {0, 3});
  std::string why_not;
  EXPECT_FALSE(tape_.try_add("A", fused, &why_not));
  EXPECT_FALSE(why_not.empty());
  EXPECT_TRUE(tape_.steps().empty());
  expect_error([&] { tape_.add("A", fused); }, "A: cpu has no norm convolution: " + why_not);
  copied("A", x);  // in its place
  copied("B", x);
  ASSERT_EQ(tape_.steps().at(0).refusals.size(), 2u);
  EXPECT_EQ(tape_.steps()[0].refusals[0].reason, why_not);
  EXPECT_TRUE(tape_.steps().at(1).refusals.empty());
}

TEST_F(TapeTest, NamesTheLayerWhoseOperandsDoNotFit) {
  const Tensor x = input("x"), y = tape_.tensor("y", {1, 5, 1, 1}, Layout::kPlanar);
  expect_error([&] { tape_.add("A", op::Copy{.x = x, .y = y}); },
               "A: copy: y is (1, 5, 1, 1); it must be (1, 4, 1, 1)");
}

TEST_F(TapeTest, RefusesWhatLiesInNoneOfItsStorages) {
  const Tensor x = input("x");
  std::vector<float> memory(kCount);
  const Tensor elsewhere = make_view(memory.data(), {1, kCount, 1, 1}, Layout::kPlanar);
  expect_error([&] { tape_.add("A", op::Copy{.x = x, .y = elsewhere}); }, "an operand of 'A'");
  expect_error([&] { tape_.add_update("B", Phase::kUpdate, op::Clear{.y = elsewhere}); }, "an operand of 'B'");
}

TEST_F(TapeTest, RefusesPersistentStorageThatIsTooSmall) {
  const Array<double> two = tape_.external<double>("norm", 0, 2);
  tape_.add("A", op::Clear{.memory = bytes_of(two)});
  tape_.freeze(false);
  expect_error([&] { bind(); }, "persistent storage 'norm' has 8 bytes; 16 are used");
}

TEST_F(TapeTest, RefusesToFreezeTwiceToAddToTheFrozenAndToRunUnbound) {
  EXPECT_THROW(tape_.freeze(true), Error);  // nothing on it
  const Tensor x = input("x");
  add_loss(scaled("A", x, 2));
  freeze();
  EXPECT_THROW(tape_.freeze(true), Error);
  EXPECT_THROW(copied("B", x), Error);
  expect_error([&] { tape_.add_update("B", Phase::kUpdate, op::Clear{.y = x}); }, "after it was frozen");
  EXPECT_THROW(tape_.run(), Error);
  EXPECT_THROW(tape_.address(x), Error);
}

TEST_F(TapeTest, RefusesChannelsBeyondATensor) {
  const Tensor x = input("x");
  EXPECT_THROW(x.slice(2, 3), Error);
  EXPECT_THROW(x.slice(0, 0), Error);
  EXPECT_EQ(x.slice(1, 3).slice(1, 1).first_channel(), 2);
}

TEST(PersistentTest, LiesInTurnAndRefusesWhatIsNotThere) {
  Persistent persistent;
  persistent.add("a", 100);
  persistent.add("b", 0);
  persistent.add("c", 1000);
  EXPECT_EQ(persistent.bytes(), 5 * Planner::kAlignment);
  EXPECT_THROW(persistent.add("a", 1), Error);
  EXPECT_THROW(persistent.at("a"), Error);  // no memory yet
  std::vector<std::byte> memory(persistent.bytes());
  persistent.place(memory.data());
  EXPECT_EQ(persistent.at("a"), memory.data());
  EXPECT_EQ(persistent.at("c"), memory.data() + Planner::kAlignment);
  EXPECT_EQ(persistent.at("c", 1000), memory.data() + Planner::kAlignment);
  EXPECT_THROW(persistent.at("c", 1001), Error);
  EXPECT_THROW(persistent.at("d"), Error);
}

// ---- Poison ----------------------------------------------------------------------------------------

class PoisonTest : public TapeTest {
 protected:
  const float* memory_of(const std::string& buffer) const {
    for (const Planner::Buffer& b : tape_.planner().buffers()) {
      if (b.name == buffer) {
        return reinterpret_cast<const float*>(tape_.memory() + b.offset);
      }
    }
    fail("no buffer {}", buffer);
  }
};

TEST_F(PoisonTest, FillsMemoryAfterItsLastUseAndLeavesWhatIsStillReadAlone) {
  const Tensor x = input("x"), a = scaled("A", x, 2), b = scaled("B", a, 3), c = scaled("C", b, 1);
  tape_.keep(c.storage);
  freeze(false);
  bind();
  set(x, 1);
  tape_.run();
  EXPECT_FALSE(std::isnan(memory_of("A")[0]));
  tape_.set_poison(true);
  tape_.run();
  EXPECT_TRUE(std::isnan(memory_of("A")[0]));  // dead after B
  EXPECT_EQ(values(c), all(6));
  EXPECT_EQ(values(x), all(1));
}

TEST_F(PoisonTest, FillsWorkspaceAfterItsOperation) {
  const Tensor x = input("x");
  const op::Statistics statistics = tape_.statistics("statistics", kCount);
  tape_.add("A", op::ChannelStatistics{.x = x, .eps = 1, .statistics = statistics});
  tape_.keep(copied("B", x).storage);
  freeze(false);
  bind();
  set(x, 1);
  tape_.run();
  EXPECT_FALSE(std::isnan(memory_of("workspace A")[0]));
  tape_.set_poison(true);
  tape_.run();
  EXPECT_TRUE(std::isnan(memory_of("workspace A")[0]));
  EXPECT_TRUE(std::isnan(memory_of("statistics")[0]));
  EXPECT_EQ(values(x), all(1));
}

}  // namespace
}  // namespace densetree
