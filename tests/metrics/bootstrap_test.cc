#include "metrics/bootstrap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "tests/metrics/plain_metrics.h"
#include "tests/metrics/random_set.h"

namespace densetree::metrics {
namespace {

struct Case {
  ScoredImages set;
  std::vector<std::uint32_t> patients;
  std::size_t patient_count = 0;
  std::vector<Ranking> rankings;
};

Case make_case(std::uint64_t seed, const RandomSet& shape) {
  Case c{random_set(seed, shape), {}, shape.patients, {}};
  for (const std::int64_t patient : c.set.patients) {
    c.patients.push_back(static_cast<std::uint32_t>((patient - 1000) / 7));
  }
  for (std::size_t label = 0; label < shape.labels; ++label) {
    c.rankings.push_back(rank({c.set.scores.data() + label, shape.images, shape.labels},
                              {c.set.targets.data() + label, shape.images, shape.labels}));
  }
  return c;
}

std::vector<DrawMetrics> run(const Case& c, std::size_t draws, std::uint64_t seed, int threads) {
  return bootstrap(c.rankings, c.set.scores, c.set.targets, c.patients, c.patient_count, draws, seed, threads);
}

void expect_near_or_both_nan(double got, double want) {
  if (std::isnan(want)) {
    EXPECT_TRUE(std::isnan(got)) << got;
  } else {
    EXPECT_NEAR(got, want, 1e-12);
  }
}

// Every draw against the definition, on images repeated as often as their patient was drawn.
void expect_equals_resampling(const RandomSet& shape, std::size_t draws) {
  const Case c = make_case(11, shape);
  const std::vector<DrawMetrics> fast = run(c, draws, 5, 2);
  ASSERT_EQ(fast.size(), draws * shape.labels);
  for (std::size_t draw = 0; draw < draws; ++draw) {
    const auto block = draw_weights(5, draw / kLanes, c.patient_count);
    std::vector<int> weights;
    for (const std::uint32_t patient : c.patients) {
      weights.push_back(block[patient * kLanes + draw % kLanes]);
    }
    for (std::size_t label = 0; label < shape.labels; ++label) {
      SCOPED_TRACE(testing::Message() << "draw " << draw << ", label " << label);
      const PlainMetrics plain = plain_metrics(column_of(c.set.scores, label, shape.labels),
                                               column_of(c.set.targets, label, shape.labels), weights);
      const DrawMetrics& got = fast[draw * shape.labels + label];
      expect_near_or_both_nan(got.auroc, plain.auroc);
      expect_near_or_both_nan(got.average_precision, plain.average_precision);
      expect_near_or_both_nan(got.brier, plain.brier);
    }
  }
}

TEST(Bootstrap, EqualsResampling) {
  expect_equals_resampling({}, 70);
}

TEST(Bootstrap, EqualsResamplingWithLongRuns) {
  RandomSet shape;  // more than 257 negatives in a row
  shape.images = 1500, shape.labels = 1, shape.prevalence = 0.005f, shape.levels = 1000, shape.patients = 400;
  expect_equals_resampling(shape, 4);
}

TEST(Bootstrap, EqualsResamplingWhereAClassIsRare) {
  RandomSet shape;  // draws without a positive
  shape.images = 40, shape.patients = 12, shape.prevalence = 0.05f;
  expect_equals_resampling(shape, 64);
}

TEST(Bootstrap, OnePatientIsAlwaysTheSameDraw) {
  RandomSet shape;
  shape.patients = 1;
  const Case c = make_case(2, shape);
  for (std::size_t draw = 0; draw < 40; ++draw) {
    EXPECT_EQ(run(c, 40, 1, 1)[draw * 2].auroc, *auroc(c.rankings[0]));
  }
}

TEST(Bootstrap, SameBitsForAnyNumberOfThreadsAndDraws) {
  RandomSet shape;
  shape.images = 3000, shape.labels = 3, shape.patients = 700;
  const Case c = make_case(4, shape);
  const auto one = run(c, 200, 9, 1);
  const auto four = run(c, 200, 9, 4);
  EXPECT_EQ(std::memcmp(one.data(), four.data(), one.size() * sizeof(DrawMetrics)), 0);
  const auto fewer = run(c, 33, 9, 3);  // a draw does not depend on how many others there are
  EXPECT_EQ(std::memcmp(one.data(), fewer.data(), fewer.size() * sizeof(DrawMetrics)), 0);
  EXPECT_NE(one[0].auroc, run(c, 1, 10, 1)[0].auroc);
}

TEST(Bootstrap, DrawsTakeAsManyPatientsAsThereAre) {
  const std::size_t patients = 1000;
  const auto weights = draw_weights(1, 3, patients);
  std::size_t absent = 0;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    std::size_t sum = 0;
    for (std::size_t p = 0; p < patients; ++p) {
      sum += weights[p * kLanes + lane];
      absent += weights[p * kLanes + lane] == 0;
    }
    EXPECT_EQ(sum, patients);
  }
  // A patient is absent from a draw with probability (1 − 1/n)^n ≈ 1/e.
  EXPECT_NEAR(static_cast<double>(absent) / static_cast<double>(patients * kLanes), std::exp(-1), 0.01);
}

TEST(Bootstrap, IntervalsHoldTheTruthAboutAsOftenAsTheySay) {
  // Without signal the true AUROC is 1/2: of 60 sets some 3 may miss it; more than 10 has probability under 1e-3.
  int missed = 0;
  for (std::uint64_t seed = 100; seed < 160; ++seed) {
    RandomSet shape;
    shape.images = shape.patients = 400, shape.labels = 1, shape.missing = 0;
    Case c = make_case(seed, shape);
    RandomStream random(seed, RandomUse::kSynth, 1);
    for (float& target : c.set.targets) {
      target = random.uniform() < 0.3f ? 1.0f : 0.0f;
    }
    c.rankings[0] = rank({c.set.scores.data(), 400, 1}, {c.set.targets.data(), 400, 1});
    std::vector<double> aurocs;
    for (const DrawMetrics& draw : run(c, 320, seed, 2)) {
      aurocs.push_back(draw.auroc);
    }
    const Interval interval = *percentile_interval(aurocs);
    missed += interval.low > 0.5 || interval.high < 0.5;
  }
  EXPECT_LE(missed, 10);
}

TEST(PercentileInterval, IsLinearBetweenNeighboursAndSkipsNaN) {
  std::vector<double> values(41);
  std::iota(values.begin(), values.end(), 0.0);
  std::reverse(values.begin(), values.end());
  values.push_back(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(percentile_interval(values), (Interval{1, 39}));
  EXPECT_EQ(percentile_interval({3.0}), (Interval{3, 3}));
  EXPECT_NEAR(percentile_interval({0.0, 1.0})->low, 0.025, 1e-15);
  EXPECT_EQ(percentile_interval({}), std::nullopt);
}

}  // namespace
}  // namespace densetree::metrics
