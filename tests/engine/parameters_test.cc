#include "engine/parameters.h"

#include <gtest/gtest.h>

#include "kernels/core/error.h"

namespace densetree {
namespace {

using Kind = Parameters::Kind;

Parameters small() {
  Parameters p;
  p.add("conv.weight", {3, 2, 5, 1}, Kind::kWeight);     // 30 floats
  p.add("norm.running_mean", {17}, Kind::kRunningMean);  // in an array of its own
  p.add("norm.weight", {16}, Kind::kWeight);             // fills its 64 bytes
  p.add("norm.running_var", {17}, Kind::kRunningVariance);
  p.add("classifier.bias", {1}, Kind::kWeight);
  return p;
}

TEST(ParametersTest, KeepOrderAndFindNames) {
  const Parameters p = small();
  ASSERT_EQ(p.entries().size(), 5u);
  EXPECT_EQ(p.find("norm.weight"), 2);
  EXPECT_EQ(p.find("norm"), -1);
  EXPECT_EQ(p.entry(0).elements, 30);
  EXPECT_EQ(p.entry(0).shape, (std::vector<std::int64_t>{3, 2, 5, 1}));
}

TEST(ParametersTest, TensorsBeginOn64BytesAndNeverOverlap) {
  const Parameters p = small();
  for (const Kind kind : {Kind::kWeight, Kind::kRunningMean, Kind::kRunningVariance}) {
    std::int64_t end = 0;
    for (const Parameters::Entry& entry : p.entries()) {
      if (entry.kind == kind) {
        EXPECT_EQ(entry.offset * sizeof(float) % 64, 0u) << entry.name;
        EXPECT_GE(entry.offset, end) << entry.name;
        end = entry.offset + entry.elements;
      }
    }
    EXPECT_GE(p.size(kind), end);
  }
  EXPECT_EQ(p.size(Kind::kWeight), 32 + 16 + 16);
  EXPECT_EQ(p.size(Kind::kRunningMean), 32);
  EXPECT_EQ(p.size(Kind::kRunningVariance), 32);
}

TEST(ParametersTest, WeightsAndGapsCoverTheArray) {
  const Parameters p = small();
  std::vector<int> covered(p.size(Kind::kWeight), 0);
  for (const Parameters::Entry& entry : p.entries()) {
    for (std::int64_t i = 0; entry.kind == Kind::kWeight && i < entry.elements; ++i) {
      ++covered[entry.offset + i];
    }
  }
  for (const auto& [begin, end] : p.gaps()) {
    for (std::int64_t i = begin; i < end; ++i) {
      ++covered[i];
    }
  }
  EXPECT_EQ(covered, std::vector<int>(covered.size(), 1));
}

TEST(ParametersTest, RefuseASecondOfTheSameNameAndEmptyOnes) {
  Parameters p = small();
  EXPECT_THROW(p.add("norm.weight", {4}, Kind::kWeight), Error);
  EXPECT_THROW(p.add("empty", {4, 0}, Kind::kWeight), Error);
}

}  // namespace
}  // namespace densetree
