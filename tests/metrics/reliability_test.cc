#include "metrics/reliability.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "kernels/core/error.h"
#include "kernels/core/philox.h"
#include "tree/thresholds.h"

namespace densetree::metrics {
namespace {

using Probabilities = std::vector<double>;
using Truths = std::vector<std::uint8_t>;

struct Images {
  Probabilities p;
  Truths y;
};

// Probabilities on a grid of `levels` steps, so that many are tied; a tenth of the truths unknown.
Images random_images(std::uint64_t seed, std::size_t count, std::uint32_t levels) {
  RandomStream random(seed, RandomUse::kSynth);
  Images images;
  for (std::size_t i = 0; i < count; ++i) {
    images.p.push_back(static_cast<double>(random.below(levels + 1)) / levels);
    const bool positive = random.uniform() < 0.2f + 0.6f * static_cast<float>(images.p.back());
    images.y.push_back(random.uniform() < 0.1f ? kUnknown : static_cast<std::uint8_t>(positive));
  }
  return images;
}

Images known_only(const Images& images) {
  Images known;
  for (std::size_t i = 0; i < images.p.size(); ++i) {
    if (images.y[i] != kUnknown) {
      known.p.push_back(images.p[i]);
      known.y.push_back(images.y[i]);
    }
  }
  return known;
}

// Which images lie in which bin, by its number.
using Membership = std::map<std::size_t, std::vector<std::size_t>>;

Membership by_width(const Images& images, std::size_t bins) {
  Membership members;
  for (std::size_t i = 0; i < images.p.size(); ++i) {
    std::size_t bin = 0;
    while (bin + 1 < bins && images.p[i] * static_cast<double>(bins) >= static_cast<double>(bin + 1)) {
      ++bin;
    }
    members[bin].push_back(i);
  }
  return members;
}

// The first of an image's equals stands at the number of images below it.
Membership by_mass(const Images& images, std::size_t bins) {
  Membership members;
  for (std::size_t i = 0; i < images.p.size(); ++i) {
    const auto place = static_cast<std::size_t>(
        std::count_if(images.p.begin(), images.p.end(), [&](double p) { return p < images.p[i]; }));
    std::size_t bin = bins - 1;
    while (bin * images.p.size() / bins > place) {
      --bin;
    }
    members[bin].push_back(i);
  }
  return members;
}

void expect_bin(const ReliabilityBin& bin, const Images& images, const std::vector<std::size_t>& members) {
  double sum = 0;
  std::int64_t positives = 0;
  for (const std::size_t i : members) {
    sum += images.p[i];
    positives += images.y[i] == 1;
  }
  EXPECT_EQ(bin.images, static_cast<std::int64_t>(members.size()));
  EXPECT_EQ(bin.positives, positives);
  EXPECT_NEAR(bin.mean_probability, members.empty() ? 0 : sum / static_cast<double>(members.size()), 1e-12);
}

double plain_error(const Membership& membership, const Images& images) {
  double error = 0;
  for (const auto& [bin, members] : membership) {
    double gap = 0;
    for (const std::size_t i : members) {
      gap += images.y[i] - images.p[i];
    }
    error += std::abs(gap) / static_cast<double>(images.p.size());
  }
  return error;
}

TEST(Reliability, BinsEqualTheDefinition) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const std::size_t bins = seed % 5 == 0 ? 4 : 15;
    const Images images = random_images(seed, 1 + seed * 7, seed % 2 ? 1'000'000 : static_cast<std::uint32_t>(seed));
    const Images known = known_only(images);
    const auto width = equal_width_bins(images.p, images.y, bins);
    Membership members = by_width(known, bins);
    ASSERT_EQ(width.size(), bins);
    for (std::size_t bin = 0; bin < bins; ++bin) {
      expect_bin(width[bin], known, members[bin]);
    }
    EXPECT_NEAR(calibration_error(width).value(), plain_error(members, known), 1e-12);

    const auto mass = equal_mass_bins(images.p, images.y, bins);
    members = by_mass(known, bins);
    ASSERT_EQ(mass.size(), members.size());
    for (std::size_t at = 0; const auto& [bin, inside] : members) {
      expect_bin(mass[at++], known, inside);
    }
    EXPECT_NEAR(calibration_error(mass).value(), plain_error(members, known), 1e-12);
  }
}

TEST(Reliability, BinsOfAKnownCase) {
  // Cut at 2 and 4; the three tied images stay together, where the first of them falls.
  const Probabilities p = {0.9, 0.2, 0.2, 0.1, 0.2, 1.0};
  const Truths y = {1, 0, 1, 0, 0, 1};
  const auto mass = equal_mass_bins(p, y, 3);  // the middle one is left empty, and out
  ASSERT_EQ(mass.size(), 2u);
  EXPECT_EQ(mass[0].images, 4);
  EXPECT_EQ(mass[0].positives, 1);
  EXPECT_DOUBLE_EQ(mass[0].mean_probability, 0.175);
  EXPECT_EQ(mass[1].images, 2);
  EXPECT_DOUBLE_EQ(mass[1].mean_probability, 0.95);
  EXPECT_DOUBLE_EQ(*calibration_error(mass), (4 * std::abs(0.25 - 0.175) + 2 * 0.05) / 6);

  const auto width = equal_width_bins(p, y);
  ASSERT_EQ(width.size(), 15u);
  EXPECT_EQ(width[1].images, 1);   // 0.1
  EXPECT_EQ(width[3].images, 3);   // 0.2, on the edge
  EXPECT_EQ(width[13].images, 1);  // 0.9
  EXPECT_EQ(width[14].images, 1);  // 1 has no bin of its own
}

TEST(Reliability, EqualMassMeansEqualNumbersWithoutTies) {
  Probabilities p(100);
  std::iota(p.begin(), p.end(), 0.0);
  std::for_each(p.begin(), p.end(), [](double& value) { value = 1 - value / 100; });
  const auto bins = equal_mass_bins(p, Truths(100, 1), 15);
  ASSERT_EQ(bins.size(), 15u);
  for (const ReliabilityBin& bin : bins) {
    EXPECT_TRUE(bin.images == 6 || bin.images == 7) << bin.images;
  }
}

TEST(Reliability, AllEqualProbabilitiesAreOneBin) {
  const Probabilities p(40, 0.25);
  Truths y(40, 0);
  std::fill_n(y.begin(), 12, std::uint8_t{1});
  const auto bins = equal_mass_bins(p, y);
  ASSERT_EQ(bins.size(), 1u);
  EXPECT_EQ(bins[0].images, 40);
  EXPECT_DOUBLE_EQ(*calibration_error(bins), 0.05);
  EXPECT_DOUBLE_EQ(*calibration_error(equal_width_bins(p, y)), 0.05);
}

TEST(Reliability, BrierIsTheMeanSquaredMiss) {
  EXPECT_DOUBLE_EQ(*brier_score(Probabilities{0.5, 1, 0.8}, Truths{1, kUnknown, 0}), (0.25 + 0.64) / 2);
  EXPECT_EQ(brier_score(Probabilities{1, 0}, Truths{1, 0}), 0.0);
}

struct Areas {
  double aurc = 0, augrc = 0;
};

Areas areas_in_order(const Images& images, const std::vector<std::size_t>& order) {
  const auto count = static_cast<double>(order.size());
  double errors = 0, kept = 0;
  Areas areas;
  for (const std::size_t i : order) {
    kept += 1;
    errors += images.p[i] >= 0.5 ? images.y[i] == 0 : images.y[i] == 1;
    areas.aurc += errors / kept / count;
    areas.augrc += errors / count / count;
  }
  return areas;
}

double confidence(double p) {
  return p > 1 - p ? p : 1 - p;
}

// Errors spread evenly within a block are the mean over all orders of its images.
Areas mean_over_orders(const Images& images) {
  std::vector<std::size_t> order(images.p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  Areas sum;
  double orders = 0;
  do {
    const auto falls = [&](std::size_t a, std::size_t b) { return confidence(images.p[a]) > confidence(images.p[b]); };
    if (std::is_sorted(order.begin(), order.end(), falls)) {
      const Areas areas = areas_in_order(images, order);
      sum.aurc += areas.aurc, sum.augrc += areas.augrc, orders += 1;
    }
  } while (std::next_permutation(order.begin(), order.end()));
  return {sum.aurc / orders, sum.augrc / orders};
}

TEST(RiskCoverage, TiesAreTheMeanOverTheirOrders) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const Images images = random_images(seed, 3 + seed % 5, 3 + static_cast<std::uint32_t>(seed % 4));
    const Images known = known_only(images);
    ASSERT_FALSE(known.p.empty());
    const Areas want = mean_over_orders(known);
    const auto got = risk_coverage(images.p, images.y);
    EXPECT_NEAR(got->aurc, want.aurc, 1e-12) << "seed " << seed;
    EXPECT_NEAR(got->augrc, want.augrc, 1e-12) << "seed " << seed;
  }
}

TEST(RiskCoverage, PointsAreTheShareOfErrorsAmongTheMostConfident) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Images images = random_images(seed, 20 * seed, 5 * static_cast<std::uint32_t>(seed));
    const Images known = known_only(images);
    std::map<double, int, std::greater<>> levels;
    for (const double p : known.p) {
      ++levels[confidence(p)];
    }
    const auto got = risk_coverage(images.p, images.y);
    ASSERT_EQ(got->curve.size(), levels.size());
    for (std::size_t at = 0; const auto& [level, tied] : levels) {
      double kept = 0, wrong = 0;
      for (std::size_t i = 0; i < known.p.size(); ++i) {
        kept += confidence(known.p[i]) >= level;
        wrong += confidence(known.p[i]) >= level && (known.p[i] < 0.5 ? 0 : 1) != known.y[i];
      }
      EXPECT_DOUBLE_EQ(got->curve[at].coverage, kept / static_cast<double>(known.p.size()));
      EXPECT_DOUBLE_EQ(got->curve[at++].risk, wrong / kept);
    }
  }
}

TEST(RiskCoverage, KnownCaseWithATie) {
  // Errors among the 1, 2, 3, 4 most confident: ½ and 1 (one of the two at 0.9 is wrong), 1, 2.
  const auto got = risk_coverage(Probabilities{0.6, 0.9, 0.9, 0.8}, Truths{0, 1, 0, 1});
  EXPECT_DOUBLE_EQ(got->aurc, (0.5 + 0.5 + 1.0 / 3 + 0.5) / 4);
  EXPECT_DOUBLE_EQ(got->augrc, (0.5 + 1 + 1 + 2) / 16);
  ASSERT_EQ(got->curve.size(), 3u);
  EXPECT_EQ(got->curve[0].coverage, 0.5);
  EXPECT_EQ(got->curve[0].risk, 0.5);
  EXPECT_EQ(got->curve[1].coverage, 0.75);
  EXPECT_DOUBLE_EQ(got->curve[1].risk, 1.0 / 3);
  EXPECT_EQ(got->curve[2].coverage, 1);
  EXPECT_EQ(got->curve[2].risk, 0.5);
}

TEST(RiskCoverage, AllEqualIsOneBlock) {
  const auto got = risk_coverage(Probabilities(4, 0.3), Truths{1, 0, 0, 0});
  EXPECT_EQ(got->aurc, 0.25);
  EXPECT_EQ(got->augrc, (0.25 + 0.5 + 0.75 + 1) / 16);
  ASSERT_EQ(got->curve.size(), 1u);
}

TEST(RiskCoverage, AHalfSaysYes) {
  EXPECT_EQ(risk_coverage(Probabilities{0.5}, Truths{1})->aurc, 0);
  EXPECT_EQ(risk_coverage(Probabilities{0.5}, Truths{0})->aurc, 1);
}

TEST(Reliability, UndefinedWithoutImages) {
  const Probabilities p = {0.4};
  const Truths unknown = {kUnknown};
  EXPECT_EQ(equal_width_bins(p, unknown).size(), 15u);
  EXPECT_EQ(calibration_error(equal_width_bins(p, unknown)), std::nullopt);
  EXPECT_TRUE(equal_mass_bins(p, unknown).empty());
  EXPECT_EQ(calibration_error({}), std::nullopt);
  EXPECT_EQ(brier_score(p, unknown), std::nullopt);
  EXPECT_FALSE(risk_coverage(p, unknown));
  EXPECT_FALSE(risk_coverage({}, {}));
}

TEST(Reliability, RefusesWhatIsNoProbabilityOrTruth) {
  const double not_a_number = std::numeric_limits<double>::quiet_NaN();
  for (const double p : {-0.1, 1.1, not_a_number}) {
    EXPECT_THROW(equal_width_bins(Probabilities{p}, Truths{1}), Error);
    EXPECT_THROW(equal_mass_bins(Probabilities{p}, Truths{1}), Error);
    EXPECT_THROW(brier_score(Probabilities{p}, Truths{1}), Error);
    EXPECT_THROW(risk_coverage(Probabilities{p}, Truths{1}), Error);
    EXPECT_FALSE(brier_score(Probabilities{p}, Truths{kUnknown}));  // left out before it is looked at
  }
  EXPECT_THROW(brier_score(Probabilities{0.5}, Truths{3}), Error);
  EXPECT_THROW(brier_score(Probabilities{0.5}, Truths{1, 0}), Error);
  EXPECT_THROW(equal_width_bins(Probabilities{0.5}, Truths{1}, 0), Error);
  EXPECT_THROW(equal_mass_bins(Probabilities{0.5}, Truths{1}, 0), Error);
}

}  // namespace
}  // namespace densetree::metrics
