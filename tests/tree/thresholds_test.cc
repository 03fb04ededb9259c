#include "tree/thresholds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/philox.h"

namespace densetree::tree {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string message_of(std::string_view request) {
  try {
    parse_threshold_request(request);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(ThresholdRequest, IsReadAndWritten) {
  const std::pair<const char*, ThresholdRequest> cases[] = {
      {"precision:0.9,delta:0.05", {Guarantee::kPrecision, 0.9, 0.05}},
      {"precision:0.8", {Guarantee::kPrecision, 0.8, 0.1}},
      {"any-false:0.2", {Guarantee::kAnyFalse, 0.2, 0.1}},
      {"miss:1e-2", {Guarantee::kMiss, 0.01, 0.1}}};
  for (const auto& [text, request] : cases) {
    EXPECT_EQ(parse_threshold_request(text), request) << text;
    EXPECT_EQ(parse_threshold_request(to_text(request)), request) << to_text(request);
  }
  EXPECT_EQ(to_text({Guarantee::kPrecision, 0.8, 0.1}), "precision:0.8,delta:0.1");
  EXPECT_EQ(to_text({Guarantee::kMiss, 1.0 / 3, 0.1}), "miss:0.3333333333333333");
}

TEST(ThresholdRequest, AnythingElseShowsTheThreeForms) {
  for (const char* text : {"",
                           "precision",
                           "precision:",
                           "precision:0",
                           "precision:1",
                           "precision:1.2",
                           "precision:-0.1",
                           "precision:nan",
                           "precision:0.8,",
                           "precision:0.8,delta",
                           "precision:0.8,delta:0",
                           "precision:0.8,delta:1",
                           "precision:0.8x",
                           "precision:0.8,delta:0.1,",
                           "precision:0.8,delta:0.1,delta:0.1",
                           "precision:0.8,0.1",
                           "delta:0.1",
                           "precision: 0.8",
                           "Precision:0.8",
                           "any-false:0.1,delta:0.1",
                           "miss:0.1,delta:0.1",
                           "miss:inf",
                           "miss0.1",
                           "recall:0.8",
                           "80"}) {
    const std::string message = message_of(text);
    EXPECT_NE(message.find(fmt::format("'{}'", text)), std::string::npos) << text;
    for (const char* form : {"precision:0.8,delta:0.1", "any-false:0.1", "miss:0.1"}) {
      EXPECT_NE(message.find(form), std::string::npos) << text;
    }
  }
}

TEST(OneImagePerPatient, TakesOneOfEachInRisingOrder) {
  RandomStream random(1, RandomUse::kSynth);
  std::vector<std::uint32_t> patients(500);
  for (std::uint32_t& patient : patients) {
    patient = random.below(120) * 31;
  }
  const std::vector<std::uint32_t> images = one_image_per_patient(patients, 7);
  EXPECT_TRUE(std::is_sorted(images.begin(), images.end()));
  std::set<std::uint32_t> drawn;
  for (const std::uint32_t image : images) {
    EXPECT_TRUE(drawn.insert(patients[image]).second) << "patient " << patients[image] << " twice";
  }
  EXPECT_EQ(drawn, std::set<std::uint32_t>(patients.begin(), patients.end()));
  EXPECT_EQ(images, one_image_per_patient(patients, 7));
  EXPECT_NE(images, one_image_per_patient(patients, 8));
  EXPECT_TRUE(one_image_per_patient({}, 7).empty());
}

TEST(OneImagePerPatient, DoesNotDependOnOtherPatients) {
  const std::vector<std::uint32_t> alone = {5, 5, 5, 5, 5, 5, 5, 5};
  const std::vector<std::uint32_t> among = {9, 5, 5, 2, 5, 5, 9, 5, 2, 5, 5, 5, 9};
  const std::vector<std::uint32_t> fives = {1, 2, 4, 5, 7, 9, 10, 11};
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const std::uint32_t which = one_image_per_patient(alone, seed)[0];
    const std::vector<std::uint32_t> images = one_image_per_patient(among, seed);
    EXPECT_EQ(std::count(images.begin(), images.end(), fives[which]), 1) << "seed " << seed;
  }
}

TEST(OneImagePerPatient, DrawsAllOfAPatientsImagesAlike) {
  const std::vector<std::uint32_t> patients = {3, 8, 3, 8, 3, 8};
  std::map<std::pair<std::uint32_t, std::uint32_t>, int> pairs;
  for (std::uint64_t seed = 0; seed < 9000; ++seed) {
    const auto images = one_image_per_patient(patients, seed);
    ++pairs[{std::min(images[0], images[1]), std::max(images[0], images[1])}];
  }
  EXPECT_EQ(pairs.size(), 9u);  // the two patients are drawn independently
  for (const auto& [pair, count] : pairs) {
    EXPECT_NEAR(count, 1000, 4 * std::sqrt(1000 * 8.0 / 9)) << pair.first << ", " << pair.second;
  }
}

struct Shape {
  std::size_t nodes = 3, images = 60;
  std::uint32_t levels = 20;
  float unknown = 0.1f, skill = 0.5f;
};

Confidences random_confidences(RandomStream& random, const Shape& shape) {
  Confidences set{{shape.nodes, shape.images}, {shape.nodes, shape.images}};
  for (std::size_t i = 0; i < shape.nodes * shape.images; ++i) {
    const float chance = random.uniform();
    const bool positive = random.uniform() < (1 - shape.skill) * 0.5f + shape.skill * chance;
    set.posterior.values[i] = std::floor(static_cast<double>(chance) * shape.levels) / shape.levels;
    set.truth.values[i] = random.uniform() < shape.unknown ? kUnknown : static_cast<std::uint8_t>(positive);
  }
  return set;
}

// docs/method.md §7 written down directly. n_T and k_T of one node.
struct PlainCounts {
  std::int64_t known = 0, reported = 0, wrong = 0;
};

PlainCounts plain_counts(const Confidences& set, std::size_t node, double threshold) {
  PlainCounts counts;
  for (std::size_t i = 0; i < set.posterior.images; ++i) {
    const bool known = set.truth.at(node, i) != kUnknown, reported = set.posterior.at(node, i) >= threshold;
    counts.known += known;
    counts.reported += known && reported;
    counts.wrong += set.truth.at(node, i) == 0 && reported;
  }
  return counts;
}

// Trial by trial.
double plain_p_value(const PlainCounts& counts, double error) {
  if (counts.wrong >= counts.reported) {
    return 1;
  }
  std::vector<long double> hits = {1};
  for (std::int64_t trial = 0; trial < counts.reported; ++trial) {
    hits.push_back(0);
    for (std::size_t k = hits.size() - 1; k > 0; --k) {
      hits[k] = hits[k] * (1 - static_cast<long double>(error)) + hits[k - 1] * error;
    }
    hits[0] *= 1 - static_cast<long double>(error);
  }
  long double sum = 0;
  for (std::int64_t k = 0; k <= counts.wrong; ++k) {
    sum += hits[static_cast<std::size_t>(k)];
  }
  return static_cast<double>(sum);
}

// nullopt where the next threshold depends on how p-values just below 1 are rounded.
std::optional<NodeThreshold> plain_precision(const Confidences& fitted, const Confidences& chosen, std::size_t node,
                                             double error, double delta) {
  std::map<double, double> left;  // threshold, p-value on A
  for (std::size_t i = 0; i < fitted.posterior.images; ++i) {
    const double threshold = fitted.posterior.at(node, i);
    if (fitted.truth.at(node, i) != kUnknown && !left.contains(threshold)) {
      left[threshold] = plain_p_value(plain_counts(fitted, node, threshold), error);
    }
  }
  NodeThreshold result;
  result.images = plain_counts(chosen, node, 0).known;
  while (!left.empty()) {
    auto next = left.begin();
    for (auto it = left.begin(); it != left.end(); ++it) {
      next = it->second <= next->second ? it : next;  // rising thresholds: in a tie the larger one
    }
    const bool ambiguous = std::any_of(left.begin(), left.end(), [&](const auto& other) {
      return other.first != next->first && next->second < 1 && other.second - next->second < 1e-12 * next->second;
    });
    if (ambiguous) {
      return std::nullopt;
    }
    const PlainCounts counts = plain_counts(chosen, node, next->first);
    const double p_value = plain_p_value(counts, error);
    if (p_value > delta) {
      break;
    }
    if (next->first < result.threshold.value_or(kInfinity)) {
      result = {next->first, result.images, counts.reported, counts.wrong, p_value};
    }
    left.erase(next);
  }
  return result;
}

// The smallest value with k or more values up to it.
double plain_kth(const std::vector<double>& values, std::int64_t k) {
  double best = kInfinity;
  for (const double value : values) {
    const auto up_to = std::count_if(values.begin(), values.end(), [&](double other) { return other <= value; });
    best = up_to >= k ? std::min(best, value) : best;
  }
  return best;
}

NodeThreshold plain_miss(const Confidences& set, std::size_t node, std::int64_t percent) {
  std::vector<double> positives;
  for (std::size_t i = 0; i < set.posterior.images; ++i) {
    if (set.truth.at(node, i) == 1) {
      positives.push_back(set.posterior.at(node, i));
    }
  }
  const auto count = static_cast<std::int64_t>(positives.size()), k = percent * (count + 1) / 100;
  NodeThreshold result{k == 0 ? -kInfinity : plain_kth(positives, k), count};
  for (const double value : positives) {
    ++(value >= *result.threshold ? result.reported : result.wrong);
  }
  result.reported = count - result.wrong;
  return result;
}

NodeThreshold plain_any_false(const Confidences& set, std::int64_t percent) {
  std::vector<double> thetas, highest;
  for (std::size_t i = 0; i < set.posterior.images; ++i) {
    double theta = -kInfinity, any = -kInfinity;
    for (std::size_t node = 0; node < set.posterior.nodes; ++node) {
      const double c = set.posterior.at(node, i);
      theta = set.truth.at(node, i) == 0 ? std::max(theta, c) : theta;
      any = set.truth.at(node, i) != kUnknown ? std::max(any, c) : any;
    }
    if (any > -kInfinity) {
      thetas.push_back(theta), highest.push_back(any);
    }
  }
  const auto n = static_cast<std::int64_t>(thetas.size());
  const std::int64_t k = ((n + 1) * (100 - percent) + 99) / 100;
  NodeThreshold result;
  result.images = n;
  if (k <= n) {
    const double above = plain_kth(thetas, k);
    result.threshold = above == -kInfinity ? above : std::nextafter(above, 2.0);
    result.reported = std::count_if(highest.begin(), highest.end(), [&](double c) { return c > above; });
    result.wrong = std::count_if(thetas.begin(), thetas.end(), [&](double c) { return c > above; });
  }
  return result;
}

void expect_same(const NodeThreshold& got, const NodeThreshold& want) {
  EXPECT_EQ(got.threshold, want.threshold);
  EXPECT_EQ(got.images, want.images);
  EXPECT_EQ(got.reported, want.reported);
  EXPECT_EQ(got.wrong, want.wrong);
  EXPECT_NEAR(got.p_value, want.p_value, 1e-12 * want.p_value);
}

TEST(ChooseThresholds, EqualsTheTextOnRandomSets) {
  RandomStream random(3, RandomUse::kSynth);
  int certified = 0, withheld = 0, ambiguous = 0;
  for (int round = 0; round < 900; ++round) {
    Shape shape;
    shape.nodes = 1 + random.below(4), shape.levels = 2 + random.below(50);
    shape.skill = random.uniform(0.3f, 1.0f), shape.unknown = random.below(3) == 0 ? 0.7f : 0.1f;
    shape.images = 1 + random.below(120);
    const Confidences fitted = random_confidences(random, shape);
    shape.images = 1 + random.below(120);
    const Confidences chosen = random_confidences(random, shape);
    const std::int64_t percent = 1 + random.below(60);
    const double share = static_cast<double>(percent) / 100, delta = random.uniform(0.05f, 0.5f);
    const auto precision = choose_thresholds({Guarantee::kPrecision, 1 - share, delta}, fitted, chosen, 1);
    const auto miss = choose_thresholds({Guarantee::kMiss, share}, fitted, chosen, 1);
    const auto any_false = choose_thresholds({Guarantee::kAnyFalse, share}, fitted, chosen, 1);
    ASSERT_EQ(precision.nodes.size(), shape.nodes);
    EXPECT_EQ(precision.images, static_cast<std::int64_t>(shape.images));
    for (std::size_t node = 0; node < shape.nodes; ++node) {
      SCOPED_TRACE(testing::Message() << "round " << round << ", node " << node);
      const double each = delta / static_cast<double>(shape.nodes);
      if (const auto want = plain_precision(fitted, chosen, node, 1 - (1 - share), each)) {
        ++(want->threshold ? certified : withheld);
        expect_same(precision.nodes[node], *want);
      } else {
        ++ambiguous;
      }
      expect_same(miss.nodes[node], plain_miss(chosen, node, percent));
      expect_same(any_false.nodes[node], plain_any_false(chosen, percent));
    }
  }
  EXPECT_GT(certified, 200);
  EXPECT_GT(withheld, 200);
  EXPECT_LT(ambiguous, 20);
}

// One node whose images come in groups (C, how many are true, how many false).
struct Group {
  double posterior;
  int right, wrong;
};

Confidences one_node(const std::vector<Group>& groups) {
  Confidences set;
  for (const Group& group : groups) {
    set.posterior.values.insert(set.posterior.values.end(), static_cast<std::size_t>(group.right + group.wrong),
                                group.posterior);
    set.truth.values.insert(set.truth.values.end(), static_cast<std::size_t>(group.right), 1);
    set.truth.values.insert(set.truth.values.end(), static_cast<std::size_t>(group.wrong), 0);
  }
  set.posterior.nodes = set.truth.nodes = 1;
  set.posterior.images = set.truth.images = set.truth.values.size();
  return set;
}

NodeThreshold certify(const Confidences& fitted, const Confidences& chosen) {
  return choose_thresholds({Guarantee::kPrecision, 0.5, 0.1}, fitted, chosen, 1).nodes[0];
}

TEST(Precision, TestsInTheOrderOfAUntilTheFirstRefusal) {
  // On A: p(0.6) = 2⁻⁸, p(0.9) = 2⁻⁴, p(0.3) is larger. So 0.6 comes first, though 0.9 is higher.
  const Confidences fitted = one_node({{0.9, 4, 0}, {0.6, 4, 0}, {0.3, 0, 4}});
  // On B 0.6 has 7 of 8 right: p = 9/256, accepted; 0.9 has no image: refused, and 0.3 is not reached.
  const NodeThreshold stopped = certify(fitted, one_node({{0.7, 7, 1}, {0.3, 90, 0}}));
  EXPECT_EQ(stopped.threshold, 0.6);
  EXPECT_EQ(stopped.images, 98);
  EXPECT_EQ(stopped.reported, 8);
  EXPECT_EQ(stopped.wrong, 1);
  EXPECT_NEAR(stopped.p_value, 9.0 / 256, 1e-15);
  // With four right at 0.9, p = 1/16, all three are accepted, and the answer is the smallest.
  const NodeThreshold through = certify(fitted, one_node({{0.9, 4, 0}, {0.6, 4, 0}, {0.3, 90, 0}}));
  EXPECT_EQ(through.threshold, 0.3);
  EXPECT_EQ(through.reported, 98);
  // 0.6 is refused: that 0.9 would pass does not count any more.
  const NodeThreshold none = certify(fitted, one_node({{0.9, 9, 0}, {0.6, 0, 9}}));
  EXPECT_EQ(none.threshold, std::nullopt);
  EXPECT_EQ(none.images, 18);
  EXPECT_EQ(none.reported, 0);
  EXPECT_EQ(none.p_value, 1);
}

TEST(Precision, TriesTheLargerOfTwoThresholdsThatTieOnA) {
  // All false on A: p = 1 at both. B refuses 0.4, which would hide 0.8 if it came first.
  const Confidences fitted = one_node({{0.8, 0, 2}, {0.4, 0, 2}});
  EXPECT_EQ(certify(fitted, one_node({{0.8, 9, 0}, {0.4, 0, 20}})).threshold, 0.8);
}

TEST(Precision, CertifiesNothingWithoutKnownTruths) {
  const Confidences known = one_node({{0.9, 50, 0}});
  Confidences unknown = known;
  std::fill(unknown.truth.values.begin(), unknown.truth.values.end(), kUnknown);
  EXPECT_EQ(certify(known, known).threshold, 0.9);
  EXPECT_EQ(certify(unknown, known).threshold, std::nullopt);
  EXPECT_EQ(certify(known, unknown).threshold, std::nullopt);
  EXPECT_EQ(certify(known, unknown).images, 0);
  EXPECT_EQ(certify(Confidences{{1, 0}, {1, 0}}, known).threshold, std::nullopt);
}

TEST(Precision, SharesTheFailureProbabilityAmongTheNodes) {
  const Confidences one = one_node({{0.9, 4, 0}});  // p = 1/16: below 0.1, above 0.1/2
  Confidences two{{2, 4, 0.9}, {2, 4, 1}};
  EXPECT_EQ(certify(one, one).threshold, 0.9);
  EXPECT_EQ(certify(two, two).threshold, std::nullopt);
}

// n images at 1/n … n/n, all positives of one node, or false.
Confidences ladder(std::int64_t n, std::uint8_t truth) {
  Confidences set{{1, static_cast<std::size_t>(n)}, {1, static_cast<std::size_t>(n), truth}};
  for (std::int64_t i = 0; i < n; ++i) {  // not in order
    set.posterior.values[static_cast<std::size_t>(i)] = static_cast<double>(i * 7919 % n + 1) / static_cast<double>(n);
  }
  return set;
}

TEST(Conformal, CountsInTheAlphaThatWasWritten) {
  for (std::int64_t n = 1; n <= 200; ++n) {
    const Confidences positives = ladder(n, 1), negatives = ladder(n, 0);
    for (std::int64_t percent = 1; percent < 100; ++percent) {
      const double alpha = static_cast<double>(percent) / 100;
      const auto miss = choose_thresholds({Guarantee::kMiss, alpha}, negatives, positives, 1).nodes[0];
      const std::int64_t k = percent * (n + 1) / 100;
      const auto step = [&](std::int64_t at) { return static_cast<double>(at) / static_cast<double>(n); };
      ASSERT_EQ(miss.threshold, k == 0 ? -kInfinity : step(k)) << "n " << n << ", alpha " << alpha;
      ASSERT_EQ(miss.wrong, k == 0 ? 0 : k - 1);
      const auto any = choose_thresholds({Guarantee::kAnyFalse, alpha}, positives, negatives, 1).nodes[0];
      const std::int64_t up = ((n + 1) * (100 - percent) + 99) / 100;
      const std::optional<double> want = up > n ? std::nullopt : std::optional(std::nextafter(step(up), 2.0));
      ASSERT_EQ(any.threshold, want) << "n " << n << ", alpha " << alpha;
      ASSERT_EQ(any.wrong, up > n ? 0 : n - up);
    }
  }
}

TEST(Conformal, ReportsEverythingWhereNoImageHasAFalseNode) {
  Confidences set{{2, 20, 0.0}, {2, 20, 1}};
  set.truth.values[3] = 0, set.truth.values[4] = kUnknown;
  const ThresholdChoice choice = choose_thresholds({Guarantee::kAnyFalse, 0.1}, set, set, 1);
  for (const NodeThreshold& node : choice.nodes) {
    expect_same(node, {-kInfinity, 20, 20, 1});
  }
}

TEST(ChooseThresholds, SameBitsForAnyNumberOfThreads) {
  RandomStream random(9, RandomUse::kSynth);
  Shape shape;
  shape.nodes = 17, shape.images = 400, shape.levels = 1000;
  const Confidences fitted = random_confidences(random, shape), chosen = random_confidences(random, shape);
  for (const auto kind : {Guarantee::kPrecision, Guarantee::kAnyFalse, Guarantee::kMiss}) {
    const ThresholdChoice one = choose_thresholds({kind, 0.4}, fitted, chosen, 1);
    const ThresholdChoice three = choose_thresholds({kind, 0.4}, fitted, chosen, 3);
    for (std::size_t node = 0; node < shape.nodes; ++node) {
      expect_same(three.nodes[node], one.nodes[node]);
      EXPECT_EQ(three.nodes[node].p_value, one.nodes[node].p_value);
    }
  }
}

TEST(ChooseThresholds, RefusesTablesThatDisagree) {
  const ThresholdRequest request{Guarantee::kMiss, 0.1};
  const Confidences good{{2, 3, 0.5}, {2, 3, 1}};
  EXPECT_NO_THROW(choose_thresholds(request, good, good));
  const Confidences three_nodes{{3, 3, 0.5}, {3, 3, 1}}, no_image{{2, 0}, {2, 0}};
  Confidences truncated = good, more_truths = good, not_a_number = good, no_truth = good;
  truncated.posterior.values.pop_back();
  more_truths.truth = {2, 4, 1};
  not_a_number.posterior.values[4] = std::numeric_limits<double>::quiet_NaN();
  no_truth.truth.values[4] = 3;
  EXPECT_THROW(choose_thresholds(request, three_nodes, good), Error);
  EXPECT_THROW(choose_thresholds(request, good, no_image), Error);
  for (const Confidences& bad : {truncated, more_truths, not_a_number, no_truth}) {
    EXPECT_THROW(choose_thresholds(request, good, bad), Error);
    EXPECT_THROW(choose_thresholds(request, bad, good), Error);
  }
}

TEST(ChooseThresholds, RefusesNumbersThatAreNoShares) {
  const Confidences good{{2, 3, 0.5}, {2, 3, 1}};
  for (const double bad : {0.0, 1.0, -0.1, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
    for (const auto kind : {Guarantee::kPrecision, Guarantee::kAnyFalse, Guarantee::kMiss}) {
      EXPECT_THROW(choose_thresholds({kind, bad}, good, good), Error);
    }
    EXPECT_THROW(choose_thresholds({Guarantee::kPrecision, 0.8, bad}, good, good), Error);
  }
}

TEST(GuaranteeText, SaysWhatIsPromisedInPlainWords) {
  const std::string scope = " It holds for images drawn as these were, one of each patient.";
  ThresholdChoice choice{{Guarantee::kPrecision, 0.8, 0.05}, 512, std::vector<NodeThreshold>(3)};
  for (NodeThreshold& node : choice.nodes) {
    node.threshold = 0.5;
  }
  const auto expect = [&](const std::string& promise) { EXPECT_EQ(guarantee_text(choice), promise + scope); };
  expect(
      "With a probability of at least 95 %, at least 80 % of the reports of every node are right, for all 3 nodes "
      "at once; thresholds chosen on 512 images, one per patient.");
  choice.nodes[1].threshold = std::nullopt;
  expect(
      "With a probability of at least 95 %, at least 80 % of the reports of every node are right, for all 3 nodes "
      "at once; thresholds chosen on 512 images, one per patient; for 1 node none can be certified, so it is never "
      "reported.");
  choice.request = {Guarantee::kMiss, 0.075};
  choice.nodes[1].threshold = choice.nodes[2].threshold = -kInfinity;
  expect(
      "The probability that a node is not reported where it is present is at most 7.5 %, for each node by itself; "
      "thresholds chosen on 512 images, one per patient; 2 nodes with too few positives are always reported.");
  choice.request.kind = Guarantee::kAnyFalse, choice.images = 1;
  expect(
      "The probability that a false node is reported in an image is at most 7.5 %; threshold chosen on 1 image, "
      "one per patient.");
  choice.nodes.assign(3, NodeThreshold{});
  expect(
      "The probability that a false node is reported in an image is at most 7.5 %; threshold chosen on 1 image, "
      "one per patient, too few for any: nothing is ever reported.");
}

}  // namespace
}  // namespace densetree::tree
