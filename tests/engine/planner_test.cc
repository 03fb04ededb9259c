#include "engine/planner.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "kernels/core/error.h"

namespace densetree {
namespace {

bool lifetimes_meet(const Planner::Buffer& a, const Planner::Buffer& b) {
  return a.first >= 0 && b.first >= 0 && a.first <= b.last && b.first <= a.last;
}
bool memory_meets(const Planner::Buffer& a, const Planner::Buffer& b) {
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

// What must be true of any frozen plan.
void expect_sound(const Planner& planner) {
  std::size_t end = 0;
  for (const Planner::Buffer& a : planner.buffers()) {
    EXPECT_EQ(a.offset % Planner::kAlignment, 0u) << a.name;
    end = std::max(end, a.first < 0 ? 0 : a.offset + a.bytes);
    for (const Planner::Buffer& b : planner.buffers()) {
      EXPECT_FALSE(&a != &b && lifetimes_meet(a, b) && memory_meets(a, b)) << a.name << " overlaps " << b.name;
    }
  }
  EXPECT_EQ(planner.bytes(), end);
  EXPECT_GE(planner.bytes(), planner.lower_bound());
}

TEST(PlannerTest, BuffersThatLiveTogetherNeverOverlap) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&](unsigned bound) { return static_cast<int>(random() % bound); };
    const int steps = 1 + below(40);
    Planner planner;
    for (int i = 0, buffers = 1 + below(60); i < buffers; ++i) {
      const int buffer = planner.book(fmt::format("b{}", i), below(20) == 0 ? 0 : below(1 << (4 + below(16))));
      for (int uses = below(4); uses > 0; --uses) {  // in any order; none at all for some
        planner.use(buffer, below(steps));
      }
    }
    planner.freeze();
    expect_sound(planner);
  }
}

TEST(PlannerTest, LifetimesThatFollowEachOtherShareMemory) {
  Planner planner;
  for (int step = 0; step < 10; ++step) {  // a chain: each buffer lives while the next one is made
    const int buffer = planner.book("activation", 4096);
    planner.use(buffer, step);
    planner.use(buffer, step + 1);
  }
  planner.freeze();
  expect_sound(planner);
  EXPECT_EQ(planner.lower_bound(), 2 * 4096u);
  EXPECT_EQ(planner.bytes(), 2 * 4096u);
}

TEST(PlannerTest, FillsTheGapBetweenTwoBuffers) {
  Planner planner;
  const int low = planner.book("low", 4096), middle = planner.book("middle", 2048), high = planner.book("high", 3072);
  for (const int buffer : {low, high}) {
    planner.use(buffer, 0);
    planner.use(buffer, 5);
  }
  planner.use(middle, 1);
  const int small = planner.book("small", 1024);  // as long as it lives, `middle` does not
  planner.use(small, 3);
  planner.freeze();
  expect_sound(planner);
  EXPECT_EQ(planner.bytes(), planner.lower_bound());
}

TEST(PlannerTest, UseExtendsALifetimeBothWays) {
  Planner planner;
  const int buffer = planner.book("b", 1);
  EXPECT_EQ(planner.buffer(buffer).first, -1);
  for (const int step : {7, 3, 5}) {
    planner.use(buffer, step);
  }
  EXPECT_EQ(planner.buffer(buffer).first, 3);
  EXPECT_EQ(planner.buffer(buffer).last, 7);
  EXPECT_EQ(planner.buffer(buffer).bytes, Planner::kAlignment);
}

TEST(PlannerTest, TakesNothingForWhatIsNeverUsed) {
  Planner planner;
  planner.book("never", 1 << 20);
  planner.use(planner.book("empty", 0), 2);
  planner.freeze();
  EXPECT_EQ(planner.bytes(), 0u);
  EXPECT_EQ(planner.lower_bound(), 0u);
}

TEST(PlannerTest, RefusesBookingsAfterFreezing) {
  Planner planner;
  planner.use(planner.book("first", 1), 0);
  planner.freeze();
  EXPECT_THROW(planner.book("late", 1), Error);
}

}  // namespace
}  // namespace densetree
