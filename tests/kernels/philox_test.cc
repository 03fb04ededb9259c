#include "kernels/core/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace densetree {
namespace {

void expect_words(const Philox4& drawn, const std::vector<std::uint32_t>& expected) {
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(drawn.v[i], expected[i]) << "word " << i;
}

// Random123's kat_vectors for philox4x32-10.
TEST(Philox, KnownAnswers) {
  expect_words(philox(0, 0, 0, 0, 0), {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const std::uint32_t ones = 0xffffffff;
  expect_words(philox(~std::uint64_t{0}, ones, ones, ones, ones), {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  expect_words(philox(0x299f31d0a4093822, 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344),
               {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST(Philox, UniformStaysBelowOne) {
  EXPECT_EQ(uniform_from_bits(0), 0.0f);
  EXPECT_LT(uniform_from_bits(0xffffffff), 1.0f);
  EXPECT_GT(uniform_from_bits(0xffffffff), 0.9999999f);
}

TEST(RandomStream, IsAFunctionOfItsNameAlone) {
  RandomStream a(7, RandomUse::kAugment, 3, 5), b(7, RandomUse::kAugment, 3, 5);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.bits(), b.bits());
}

TEST(RandomStream, EveryPartOfTheNameMatters) {
  std::vector<RandomStream> streams{{1, RandomUse::kInit, 0, 0},    {2, RandomUse::kInit, 0, 0},
                                    {1ull << 32, RandomUse::kInit}, {1, RandomUse::kShuffle, 0, 0},
                                    {1, RandomUse::kInit, 1, 0},    {1, RandomUse::kInit, 0, 1}};
  std::set<std::uint32_t> seen;
  const std::size_t draws = 1000;
  for (RandomStream& stream : streams) {
    for (std::size_t i = 0; i < draws; ++i) seen.insert(stream.bits());
  }
  // By chance about 6000²/2/2³² = 0.004 of them coincide.
  EXPECT_GE(seen.size(), draws * streams.size() - 2);
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - 0.5) * (b[i] - 0.5) * 12;
  return sum / static_cast<double>(a.size());
}

std::vector<double> uniforms(RandomStream stream, std::size_t count) {
  std::vector<double> values(count);
  for (double& v : values) v = stream.uniform();
  return values;
}

TEST(RandomStream, UniformFillsItsRangeEvenly) {
  const std::size_t count = 100000, bins = 100;
  std::vector<double> histogram(bins, 0);
  for (double v : uniforms({11, RandomUse::kSynth}, count)) {
    ASSERT_GE(v, 0);
    ASSERT_LT(v, 1);
    histogram[static_cast<std::size_t>(v * bins)] += 1;
  }
  double chi_square = 0;
  for (double n : histogram) chi_square += (n - 1000) * (n - 1000) / 1000;
  EXPECT_NEAR(chi_square, 99, 5 * std::sqrt(2 * 99.0));  // 99 degrees of freedom, five sigma
}

TEST(RandomStream, DrawsAreUncorrelatedWithinAndBetweenStreams) {
  const std::size_t count = 100000;
  const double five_sigma = 5 / std::sqrt(static_cast<double>(count));
  const std::vector<double> a = uniforms({3, RandomUse::kAugment, 0, 0}, count);
  EXPECT_NEAR(correlation(a, uniforms({3, RandomUse::kAugment, 0, 1}, count)), 0, five_sigma);
  EXPECT_NEAR(correlation(a, uniforms({3, RandomUse::kAugment, 1, 0}, count)), 0, five_sigma);
  EXPECT_NEAR(correlation(a, uniforms({4, RandomUse::kAugment, 0, 0}, count)), 0, five_sigma);
  EXPECT_NEAR(correlation({a.begin() + 1, a.end()}, {a.begin(), a.end() - 1}), 0, five_sigma);
}

TEST(RandomStream, UniformBetweenBounds) {
  RandomStream stream(5, RandomUse::kAugment);
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    const double v = stream.uniform(-2.0f, 6.0f);
    ASSERT_GE(v, -2);
    ASSERT_LE(v, 6);
    sum += v;
  }
  EXPECT_NEAR(sum / 10000, 2, 5 * 8 / std::sqrt(12.0 * 10000));
}

TEST(RandomStream, NormalHasItsMoments) {
  RandomStream stream(9, RandomUse::kInit);
  const double count = 200000;
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, within = 0;
  for (int i = 0; i < count; ++i) {
    const double v = stream.normal();
    ASSERT_TRUE(std::isfinite(v));
    m1 += v / count, m2 += v * v / count, m3 += v * v * v / count, m4 += v * v * v * v / count;
    within += std::abs(v) < 1 ? 1 / count : 0;
  }
  const double sigma = 1 / std::sqrt(count);
  EXPECT_NEAR(m1, 0, 5 * sigma);
  EXPECT_NEAR(m2, 1, 5 * std::sqrt(2.0) * sigma);
  EXPECT_NEAR(m3, 0, 5 * std::sqrt(15.0) * sigma);
  EXPECT_NEAR(m4, 3, 5 * std::sqrt(96.0) * sigma);
  EXPECT_NEAR(within, 0.6826895, 5 * 0.47 * sigma);
}

TEST(RandomStream, BelowIsUnbiased) {
  RandomStream stream(1, RandomUse::kShuffle);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(stream.below(1), 0u);
  std::vector<double> counts(7, 0);
  for (int i = 0; i < 70000; ++i) {
    const std::uint32_t v = stream.below(7);
    ASSERT_LT(v, 7u);
    counts[v] += 1;
  }
  for (double n : counts) EXPECT_NEAR(n, 10000, 5 * std::sqrt(10000.0));
  // With a bound of 3·2³⁰, taking the remainder would put half of the draws into the lowest third.
  int low = 0;
  for (int i = 0; i < 30000; ++i) low += stream.below(3u << 30) < (1u << 30);
  EXPECT_NEAR(low, 10000, 5 * std::sqrt(30000.0 * 2 / 9));
}

}  // namespace
}  // namespace densetree
