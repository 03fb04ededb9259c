// What lets a step be queued without waiting: staged uploads, late readback, and work that is replayed.
#include <cstring>

#include "tests/kernels/op_case.h"

namespace densetree::test {
namespace {

// ---- Staged uploads --------------------------------------------------------------------------------

class StagedUploadTest : public OpTest {
 protected:
  static constexpr std::size_t kBytes = 100000;

  static std::vector<unsigned char> bytes(std::size_t count, unsigned seed) {
    std::vector<unsigned char> values(count);
    for (std::size_t i = 0; i < count; ++i) {
      values[i] = static_cast<unsigned char>((i * 31 + seed * 97) >> 2);
    }
    return values;
  }
};

// More uploads than there are places to wait in, each changed on the host as soon as it is sent, each copied away on
// the device before the next takes its place.
TEST_P(StagedUploadTest, ArriveInOrderHoweverManyAreUnderWay) {
  const Memory staging(device(), device().staging_bytes(kBytes));
  const auto upload = device().make_staged_upload(kBytes, staging.data());
  const Array<unsigned char> to(device(), kBytes);
  std::vector<std::unique_ptr<Array<unsigned char>>> seen;
  std::vector<unsigned char> host;
  const std::size_t sizes[] = {kBytes, kBytes, 1, kBytes - 1, 0, 4096, kBytes};
  for (std::size_t i = 0; i < std::size(sizes); ++i) {
    host = bytes(sizes[i], static_cast<unsigned>(i));
    upload->send(to.data(), host.data(), host.size());
    std::fill(host.begin(), host.end(), static_cast<unsigned char>(0xEE));
    seen.push_back(std::make_unique<Array<unsigned char>>(device(), kBytes));
    device().copy(seen.back()->data(), to.data(), kBytes);
  }
  std::vector<unsigned char> expected;
  for (std::size_t i = 0; i < std::size(sizes); ++i) {
    const auto sent = bytes(sizes[i], static_cast<unsigned>(i));
    expected.resize(kBytes);
    std::copy(sent.begin(), sent.end(), expected.begin());
    EXPECT_EQ(seen[i]->read(), expected) << "upload " << i;
  }
}

TEST_P(StagedUploadTest, SeveralAtOnceDoNotMix) {
  const Memory a_staging(device(), device().staging_bytes(kBytes)), b_staging(device(), device().staging_bytes(kBytes));
  const auto a = device().make_staged_upload(kBytes, a_staging.data());
  const auto b = device().make_staged_upload(kBytes, b_staging.data());
  const Array<unsigned char> to_a(device(), kBytes), to_b(device(), kBytes);
  for (unsigned seed = 0; seed < 5; ++seed) {
    const auto for_a = bytes(kBytes, seed), for_b = bytes(kBytes, seed + 100);
    a->send(to_a.data(), for_a.data(), kBytes);
    b->send(to_b.data(), for_b.data(), kBytes);
    EXPECT_EQ(to_b.read(), for_b);
    EXPECT_EQ(to_a.read(), for_a);
  }
}

TEST_P(StagedUploadTest, MoreThanItWasMadeForIsAnError) {
  const Memory staging(device(), device().staging_bytes(10));
  const auto upload = device().make_staged_upload(10, staging.data());
  const Array<unsigned char> to(device(), 11);
  const auto host = bytes(11, 1);
  expect_error([&] { upload->send(to.data(), host.data(), 11); }, "11 bytes");
}

// ---- Readback --------------------------------------------------------------------------------------

class ReadbackTest : public OpTest {
 protected:
  static constexpr std::size_t kCount = 5;
  static std::vector<double> read(Readback& readback, int ago) {
    std::vector<double> values(kCount);
    readback.read(ago, values.data());
    return values;
  }
};

TEST_P(ReadbackTest, KeepsTheLastTwo) {
  const auto readback = device().make_readback(kCount * sizeof(double));
  const Array<double> numbers(device(), kCount);
  const auto values = [](int i) { return std::vector<double>{1.0 / (i + 3), 2, 3, 4, 5.0 + i}; };
  for (int i = 0; i < 5; ++i) {
    device().upload(numbers.data(), values(i).data(), kCount * sizeof(double));
    readback->take(numbers.data());
    device().fill(numbers.data(), 0xFF, kCount * sizeof(double));  // what comes later does not change what was taken
    EXPECT_EQ(read(*readback, 0), values(i));
    if (i > 0) {
      EXPECT_EQ(read(*readback, 1), values(i - 1));
    }
  }
}

TEST_P(ReadbackTest, WhatWasNotTakenIsAnError) {
  const auto readback = device().make_readback(kCount * sizeof(double));
  expect_error([&] { read(*readback, 0); }, "0 were taken");
  const Array<double> numbers(device(), std::vector<double>{5, 4, 3, 2, 1});
  readback->take(numbers.data());
  EXPECT_EQ(read(*readback, 0)[0], 5);
  expect_error([&] { read(*readback, 1); }, "1 were taken");
  expect_error([&] { read(*readback, 2); }, "the last 2");
  expect_error([&] { read(*readback, -1); }, "the last 2");
}

// ---- Stopwatch -------------------------------------------------------------------------------------

class StopwatchTest : public OpTest {};

TEST_P(StopwatchTest, TimesWhatIsQueuedBetweenMarks) {
  const auto stopwatch = device().make_stopwatch();
  constexpr std::size_t kBytes = std::size_t{1} << 22;
  const Memory memory(device(), kBytes);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(stopwatch->mark(), 0u);
    device().fill(memory.data(), 0, kBytes);
    EXPECT_EQ(stopwatch->mark(), 1u);
    for (int i = 0; i < 20; ++i) device().fill(memory.data(), 1, kBytes);
    EXPECT_EQ(stopwatch->mark(), 2u);
    const double one = stopwatch->seconds_between(0, 1), twenty = stopwatch->seconds_between(1, 2);
    EXPECT_GT(one, 0);
    EXPECT_GT(twenty, 0);
    EXPECT_NEAR(stopwatch->seconds_between(0, 2), one + twenty, 1e-5);
    expect_error([&] { stopwatch->seconds_between(0, 3); }, "of a stopwatch that has 3");
    stopwatch->clear();
    expect_error([&] { stopwatch->seconds_between(0, 0); }, "of a stopwatch that has 0");
  }
}

// ---- Replay ----------------------------------------------------------------------------------------

class ReplayTest : public OpTest {};

// Adam with another rate in every step, which lies in device memory: replayed, and called each time.
TEST_P(ReplayTest, DoesWhatTheWorkDoesFromWhatIsInMemory) {
  constexpr std::int64_t kCount = 1000;
  const AdamScalars none(AdamStep{});
  const Array<AdamScalars> scalars(device(), std::vector{none});
  const Array<double> norm(device(), 1);
  const Floats g(device(), random_values(kCount, 1));
  struct State {
    Floats m, v, w;
    State(Device& d) : m(d, Values(kCount, 0.0)), v(d, Values(kCount, 0.0)), w(d, random_values(kCount, 2)) {}
  };
  const State replayed(device()), called(device());
  const op::L2Norm norm_of{.g = g, .norm = norm};
  const auto take_norm = prepared(device(), norm_of);
  const auto adam_on = [&](const State& state) {
    return op::Adam{.scalars = scalars, .norm = norm, .g = g, .m = state.m, .v = state.v, .w = state.w};
  };
  const auto step_all = prepared(device(), adam_on(called));
  const Memory workspace(device(), std::max(take_norm->workspace_bytes(), step_all->workspace_bytes()));
  const auto work_on = [&](const State& state) {
    return [&] {
      take_norm->run(norm_of, workspace.data());
      step_all->run(adam_on(state), workspace.data());
      device().fill(state.w.data() + kCount - 1, 0, sizeof(float));
    };
  };
  const auto replay = device().capture(work_on(replayed));
  const auto direct = make_direct_replay(work_on(called));
  for (int step = 1; step <= 5; ++step) {
    const AdamScalars next(AdamStep{.lr = 0.1 / step, .step = step, .clip_norm = step % 2 ? 0.5 : 0.0});
    device().upload(scalars.data(), &next, sizeof next);
    replay->run();
    direct->run();
    EXPECT_EQ(replayed.w.bits(), called.w.bits()) << "step " << step;
    EXPECT_EQ(replayed.v.bits(), called.v.bits()) << "step " << step;
  }
  EXPECT_NE(called.w.read(), State(device()).w.read());
}

TEST_P(ReplayTest, NothingRunsBeforeRun) {
  int calls = 0;
  const Array<double> number(device(), 1);
  const auto replay = device().capture([&] {
    ++calls;
    device().fill(number.data(), 0, sizeof(double));
  });
  EXPECT_EQ(calls, 0);
  replay->run();
  EXPECT_EQ(calls, 1);
}

TEST_P(ReplayTest, AnErrorOfTheWorkSurfacesAndTheDeviceGoesOn) {
  bool broken = false;
  const Array<double> number(device(), 1);
  const auto replay = device().capture([&] {
    check(!broken, "the work is broken");
    device().fill(number.data(), 0, sizeof(double));
  });
  replay->run();
  broken = true;
  expect_error([&] { replay->run(); }, "the work is broken");
  broken = false;
  device().fill(number.data(), 0xFF, sizeof(double));
  replay->run();
  EXPECT_EQ(number.read(), std::vector<double>{0});
}

RUN_ON_DEVICES(StagedUploadTest);
RUN_ON_DEVICES(ReadbackTest);
RUN_ON_DEVICES(StopwatchTest);
RUN_ON_DEVICES(ReplayTest);

}  // namespace
}  // namespace densetree::test
