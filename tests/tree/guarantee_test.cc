// The guarantees of tree/thresholds.h as experiments: many times over, thresholds are chosen on images drawn from a
// known world, and the truth about that world says whether the promise was kept. It has to be kept as often as
// promised; and where images of one patient all stay in B, it must be seen to break, or these tests could not fail.
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "kernels/core/philox.h"
#include "tree/thresholds.h"

namespace densetree::tree {
namespace {

// Four standard deviations of a count: a test that holds is beyond it once in 30,000.
double slack(double rounds, double share) {
  return 4 * std::sqrt(rounds * share * (1 - share));
}

// Confidence levels of a node, from the lowest: the share of images there, and of those the share that is false.
struct Level {
  float share;
  float wrong;
};
constexpr std::array kLevels = {Level{0.30f, 0.90f}, Level{0.20f, 0.60f}, Level{0.15f, 0.35f},
                                Level{0.15f, 0.31f}, Level{0.12f, 0.12f}, Level{0.08f, 0.05f}};

double posterior_of(std::size_t level) {
  return (static_cast<double>(level) + 0.5) / kLevels.size();
}

// Of all images that are reported at C >= threshold, the share that is false.
double true_error(double threshold) {
  double reported = 0, wrong = 0;
  for (std::size_t level = 0; level < kLevels.size(); ++level) {
    if (posterior_of(level) >= threshold) {
      reported += kLevels[level].share, wrong += kLevels[level].share * kLevels[level].wrong;
    }
  }
  return wrong / reported;
}

struct Draw {
  double posterior = 0;
  std::uint8_t truth = 0;
};

Draw draw_image(RandomStream& random) {
  float left = random.uniform();
  std::size_t level = 0;
  for (; level + 1 < kLevels.size() && left >= kLevels[level].share; ++level) {
    left -= kLevels[level].share;
  }
  return {posterior_of(level), static_cast<std::uint8_t>(random.uniform() >= kLevels[level].wrong)};
}

// Patients with 1 … most_images images each; an image shows what the patient's first one shows, or, once in ten times,
// something of its own.
struct Cohort {
  Confidences images;
  std::vector<std::uint32_t> patients;
};

Cohort draw_cohort(RandomStream& random, std::size_t nodes, std::uint32_t patients, std::uint32_t most_images) {
  Cohort cohort;
  for (std::uint32_t patient = 0; patient < patients; ++patient) {
    cohort.patients.insert(cohort.patients.end(), 1 + random.below(most_images), patient);
  }
  const std::size_t images = cohort.patients.size();
  cohort.images = {{nodes, images}, {nodes, images}};
  for (std::size_t node = 0; node < nodes; ++node) {
    Draw first;
    for (std::size_t i = 0; i < images; ++i) {
      const bool is_first = i == 0 || cohort.patients[i] != cohort.patients[i - 1];
      first = is_first ? draw_image(random) : first;
      const Draw shown = !is_first && random.below(10) == 0 ? draw_image(random) : first;
      cohort.images.posterior.values[node * images + i] = shown.posterior;
      cohort.images.truth.values[node * images + i] = shown.truth;
    }
  }
  return cohort;
}

Confidences one_per_patient(const Cohort& cohort, std::uint64_t seed) {
  const auto chosen = one_image_per_patient(cohort.patients, seed);
  return {cohort.images.posterior.select(chosen), cohort.images.truth.select(chosen)};
}

struct Certificates {
  int broken = 0;  // rounds in which a certified node reports more false ones than promised
  int given = 0;   // nodes certified
};

Certificates certify_often(const ThresholdRequest& request, std::size_t nodes, std::uint32_t most_images,
                           bool keep_all_images, int rounds) {
  Certificates result;
  for (int round = 0; round < rounds; ++round) {
    RandomStream random(1, RandomUse::kSynth, static_cast<std::uint32_t>(round), most_images);
    const Cohort fitted = draw_cohort(random, nodes, 300, most_images);
    const Cohort chosen = draw_cohort(random, nodes, 300, most_images);
    const Confidences kept =
        keep_all_images ? chosen.images : one_per_patient(chosen, static_cast<std::uint64_t>(round));
    bool broken = false;
    for (const NodeThreshold& node : choose_thresholds(request, fitted.images, kept, 1).nodes) {
      result.given += node.threshold.has_value();
      broken = broken || (node.threshold && true_error(*node.threshold) > 1 - request.target);
    }
    result.broken += broken;
  }
  return result;
}

// One level is just below the promised error, and the next, which a certificate must not reach, above it.
constexpr ThresholdRequest kPrecision{Guarantee::kPrecision, 0.77, 0.1};
constexpr int kRounds = 3000;

TEST(PrecisionGuarantee, HoldsAndIsNotWastefulForOneNode) {
  ASSERT_LT(true_error(posterior_of(3)), 1 - kPrecision.target);
  ASSERT_GT(true_error(posterior_of(2)), 1 - kPrecision.target);
  const Certificates got = certify_often(kPrecision, 1, 1, false, kRounds);
  EXPECT_LE(got.broken, kRounds * kPrecision.delta + slack(kRounds, kPrecision.delta));
  EXPECT_GE(got.broken, kRounds * kPrecision.delta / 4);
  EXPECT_GE(got.given, kRounds / 2);
}

TEST(PrecisionGuarantee, HoldsForAllNodesAtOnce) {
  constexpr int kNodes = 5;
  const Certificates got = certify_often(kPrecision, kNodes, 1, false, kRounds / 2);
  EXPECT_LE(got.broken, kRounds / 2 * kPrecision.delta + slack(kRounds / 2, kPrecision.delta));
  EXPECT_GE(got.broken, kRounds / 2 * kPrecision.delta / 4);
  EXPECT_GE(got.given, kNodes * kRounds / 4);
}

TEST(PrecisionGuarantee, HoldsForPatientsWithManyImagesOnlyWithOneOfEach) {
  const Certificates one = certify_often(kPrecision, 1, 7, false, kRounds);
  const Certificates all = certify_often(kPrecision, 1, 7, true, kRounds);
  EXPECT_LE(one.broken, kRounds * kPrecision.delta + slack(kRounds, kPrecision.delta));
  EXPECT_GE(all.broken, 1.5 * kRounds * kPrecision.delta);
}

// Three nodes of one image, each present or not by itself. Sick images have higher scores everywhere, so
// the nodes' errors come together. `steps` > 0: scores on that grid, so that many are tied.
void draw_scores(RandomStream& random, int steps, Confidences& set, std::size_t image) {
  const double sickness = random.normal();
  for (std::size_t node = 0; node < set.posterior.nodes; ++node) {
    const bool present = random.uniform() < 0.3f;
    const double score = 1 / (1 + std::exp(-sickness - random.normal() - (present ? 1.5 : 0)));
    const std::size_t at = node * set.posterior.images + image;
    set.posterior.values[at] = steps > 0 ? std::floor(score * steps) / steps : score;
    set.truth.values[at] = present;
  }
}

// The patients' images are all alike.
Cohort draw_scored(RandomStream& random, std::uint32_t patients, std::uint32_t images_each, int steps) {
  Confidences firsts{{3, patients}, {3, patients}};
  Cohort cohort;
  for (std::uint32_t patient = 0; patient < patients; ++patient) {
    draw_scores(random, steps, firsts, patient);
    cohort.patients.insert(cohort.patients.end(), images_each, patient);
  }
  cohort.images = {firsts.posterior.select(cohort.patients), firsts.truth.select(cohort.patients)};
  return cohort;
}

struct Failures {
  double broken = 0, cases = 0;
  double expected = 0;  // sum of ⌊α(n+1)⌋/(n+1), what conformal prediction gives where no scores are tied
};

// Of a new image of a new patient: is a false node reported?
void count_any_false(const ThresholdChoice& choice, const Confidences& image, Failures& failures) {
  bool broken = false;
  for (std::size_t node = 0; node < choice.nodes.size(); ++node) {
    const bool reported = image.posterior.values[node] >= choice.nodes[node].threshold.value_or(2);
    broken = broken || (reported && image.truth.values[node] == 0);
  }
  const auto above = static_cast<double>(choice.nodes[0].images + 1);
  failures.broken += broken, failures.cases += 1;
  failures.expected += std::floor(choice.request.target * above) / above;
}

// And is a node missed that is present?
void count_misses(const ThresholdChoice& choice, const Confidences& image, Failures& failures) {
  for (std::size_t node = 0; node < choice.nodes.size(); ++node) {
    if (image.truth.values[node] == 1) {
      const auto above = static_cast<double>(choice.nodes[node].images + 1);
      failures.broken += image.posterior.values[node] < *choice.nodes[node].threshold, failures.cases += 1;
      failures.expected += std::floor(choice.request.target * above) / above;
    }
  }
}

struct World {
  std::uint32_t patients = 34, images_each = 1;
  int steps = 0;
  bool keep_all_images = false;
};

Failures predict_often(Guarantee kind, const World& world, int rounds) {
  Failures failures;
  for (int round = 0; round < rounds; ++round) {
    RandomStream random(2, RandomUse::kSynth, static_cast<std::uint32_t>(round), world.patients);
    const Cohort chosen = draw_scored(random, world.patients, world.images_each, world.steps);
    const Confidences kept =
        world.keep_all_images ? chosen.images : one_per_patient(chosen, static_cast<std::uint64_t>(round));
    const Cohort next = draw_scored(random, 1, 1, world.steps);
    const ThresholdChoice choice = choose_thresholds({kind, 0.15}, kept, kept, 1);
    (kind == Guarantee::kMiss ? count_misses : count_any_false)(choice, next.images, failures);
  }
  return failures;
}

TEST(ConformalGuarantee, HoldsAtTheRateThatTheoryGives) {
  for (const auto kind : {Guarantee::kAnyFalse, Guarantee::kMiss}) {
    const Failures got = predict_often(kind, {}, 12'000);
    EXPECT_NEAR(got.broken, got.expected, slack(got.cases, 0.15));
    EXPECT_LE(got.expected, 0.15 * got.cases);
    EXPECT_GE(got.expected, 0.08 * got.cases);
  }
}

TEST(ConformalGuarantee, HoldsWhereScoresAreTied) {
  for (const auto kind : {Guarantee::kAnyFalse, Guarantee::kMiss}) {
    World world;
    world.steps = 10;
    const Failures got = predict_often(kind, world, 6'000);
    EXPECT_LE(got.broken, 0.15 * got.cases + slack(got.cases, 0.15));
    EXPECT_GE(got.broken, 0.01 * got.cases);
  }
}

TEST(ConformalGuarantee, HoldsForPatientsWithManyImagesOnlyWithOneOfEach) {
  for (const auto kind : {Guarantee::kAnyFalse, Guarantee::kMiss}) {
    World world;
    world.patients = 11, world.images_each = 20;
    const Failures one = predict_often(kind, world, 6'000);
    world.keep_all_images = true;
    const Failures all = predict_often(kind, world, 6'000);
    EXPECT_LE(one.broken, 0.15 * one.cases + slack(one.cases, 0.15));
    EXPECT_GE(all.broken, 0.15 * all.cases + slack(all.cases, 0.15));
  }
}

}  // namespace
}  // namespace densetree::tree
