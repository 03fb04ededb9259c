#include "metrics/ranking.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/core/error.h"
#include "tests/metrics/plain_metrics.h"
#include "tests/metrics/random_set.h"

namespace densetree::metrics {
namespace {

const float kMissing = std::numeric_limits<float>::quiet_NaN();

template <class T>
Column<T> whole(const std::vector<T>& values) {
  return {values.data(), values.size(), 1};
}

Ranking ranking_of(const std::vector<double>& scores, const std::vector<float>& targets) {
  return rank(whole(scores), whole(targets));
}

TEST(Metrics, EqualTheDefinitionOnRandomScoresWithTies) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    RandomSet shape;
    shape.images = 1 + seed * 9, shape.levels = 2 + static_cast<std::uint32_t>(seed % 15) * 8;
    const ScoredImages set = random_set(seed, shape);
    for (std::size_t label = 0; label < set.labels.size(); ++label) {
      const auto scores = column_of(set.scores, label, 2);
      const auto targets = column_of(set.targets, label, 2);
      const PlainMetrics plain = plain_metrics(scores, targets, std::vector<int>(scores.size(), 1));
      const Column<double> s{set.scores.data() + label, shape.images, 2};
      const Column<float> y{set.targets.data() + label, shape.images, 2};
      const Ranking ranking = rank(s, y);
      const double none = std::numeric_limits<double>::quiet_NaN();
      const auto same = [](double got, double want) {
        return std::isnan(want) ? std::isnan(got) : std::abs(got - want) < 1e-12;
      };
      EXPECT_PRED2(same, auroc(ranking).value_or(none), plain.auroc) << "seed " << seed;
      EXPECT_PRED2(same, average_precision(ranking).value_or(none), plain.average_precision) << "seed " << seed;
      EXPECT_PRED2(same, brier(s, y).value_or(none), plain.brier) << "seed " << seed;
    }
  }
}

TEST(Metrics, KnownCases) {
  // One pair of four in the wrong order; precisions 1 and 2/3 at the two positives.
  const Ranking ranking = ranking_of({0.1, 0.4, 0.35, 0.8}, {0, 0, 1, 1});
  EXPECT_EQ(auroc(ranking), 0.75);
  EXPECT_DOUBLE_EQ(*average_precision(ranking), 0.5 + 0.5 * 2 / 3);
  EXPECT_EQ(auroc(ranking_of({0.9, 0.1}, {1, 0})), 1.0);
  EXPECT_EQ(auroc(ranking_of({0.9, 0.1}, {0, 1})), 0.0);
}

TEST(Metrics, AllTiedIsChance) {
  const Ranking ranking = ranking_of({0.3, 0.3, 0.3, 0.3}, {1, 0, 0, 0});
  EXPECT_EQ(auroc(ranking), 0.5);
  EXPECT_EQ(average_precision(ranking), 0.25);
}

TEST(Metrics, UndefinedWithoutBothClasses) {
  EXPECT_EQ(auroc(ranking_of({0.3, 0.4}, {0, 0})), std::nullopt);
  EXPECT_EQ(average_precision(ranking_of({0.3, 0.4}, {0, 0})), std::nullopt);
  EXPECT_EQ(auroc(ranking_of({0.3, 0.4}, {1, 1})), std::nullopt);
  EXPECT_EQ(average_precision(ranking_of({0.3, 0.4}, {1, 1})), 1.0);
  EXPECT_EQ(auroc(ranking_of({}, {})), std::nullopt);
  const std::vector<double> scores = {0.2};
  const std::vector<float> targets = {kMissing};
  EXPECT_EQ(brier(whole(scores), whole(targets)), std::nullopt);
}

TEST(Metrics, MissingTruthLeavesTheImageOut) {
  const Ranking with = ranking_of({0.1, 0.99, 0.4, 0.35, 0.8, 0}, {0, kMissing, 0, 1, 1, kMissing});
  EXPECT_EQ(with.images.size(), 4u);
  EXPECT_EQ(auroc(with), 0.75);
  const std::vector<double> scores = {0.5, 1};
  const std::vector<float> targets = {0, kMissing};
  EXPECT_EQ(brier(whole(scores), whole(targets)), 0.25);
}

TEST(Metrics, RefusesSizesThatDisagree) {
  EXPECT_THROW(ranking_of({0.1, 0.2}, {1}), Error);
}

TEST(Curve, IsTheWholeCurveWhereItFits) {
  const std::vector<double> scores = {0.1, 0.4, 0.4, 0.8};
  const std::vector<CurvePoint> points = curve(ranking_of(scores, {0, 0, 1, 1}), whole(scores), 100);
  ASSERT_EQ(points.size(), 4u);
  EXPECT_TRUE(std::isinf(points[0].threshold));
  EXPECT_EQ(points[2].threshold, 0.4);
  EXPECT_EQ(points[2].true_positives, 2);
  EXPECT_EQ(points[2].false_positives, 1);
  EXPECT_EQ(points[3].false_positives, 2);
}

TEST(Curve, ThinsToPointsThatLieOnIt) {
  RandomSet shape;
  shape.images = 5000, shape.levels = 100'000, shape.labels = 1;
  const ScoredImages set = random_set(3, shape);
  const Ranking ranking = rank(whole(set.scores), whole(set.targets));
  const std::vector<CurvePoint> points = curve(ranking, whole(set.scores), 100);
  EXPECT_LE(points.size(), 100u);
  EXPECT_GE(points.size(), 90u);
  for (const CurvePoint& p : points) {
    std::int64_t found = 0, wrong = 0;
    for (std::size_t i = 0; i < set.scores.size(); ++i) {
      found += set.scores[i] >= p.threshold && set.targets[i] == 1;
      wrong += set.scores[i] >= p.threshold && set.targets[i] == 0;
    }
    EXPECT_EQ(p.true_positives, found);
    EXPECT_EQ(p.false_positives, wrong);
  }
  EXPECT_EQ(points.front().true_positives + points.front().false_positives, 0);
  EXPECT_EQ(points.back().true_positives, ranking.positives);
  EXPECT_EQ(points.back().false_positives, ranking.negatives);
}

}  // namespace
}  // namespace densetree::metrics
