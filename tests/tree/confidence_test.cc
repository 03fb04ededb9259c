#include "tree/confidence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <set>
#include <tuple>

#include "kernels/core/error.h"
#include "kernels/core/philox.h"
#include "tree/thresholds.h"

namespace densetree::tree {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Nodes = std::set<std::int32_t>;

struct Case {
  LabelTree tree;
  std::vector<double> thresholds;
  NodeTable<double> posterior;
  NodeTable<std::uint8_t> truth;

  double confidence(std::int32_t v, std::size_t i) const { return posterior.at(static_cast<std::size_t>(v), i); }
  int state(std::int32_t v, std::size_t i) const { return truth.at(static_cast<std::size_t>(v), i); }
  double threshold(std::int32_t v) const { return thresholds[static_cast<std::size_t>(v)]; }
  bool certain(std::int32_t v, std::size_t i) const { return confidence(v, i) >= threshold(v); }
};

// From a node to the root.
std::vector<std::int32_t> path(const LabelTree& tree, std::int32_t v) {
  std::vector<std::int32_t> nodes;
  for (; v >= 0; v = tree.node(v).parent) {
    nodes.push_back(v);
  }
  return nodes;
}

std::int32_t climb(const Case& c, std::int32_t leaf, std::size_t i) {
  for (const std::int32_t v : path(c.tree, leaf)) {
    if (c.certain(v, i)) {
      return v;
    }
  }
  return kWithdrawn;
}

Nodes frontier(const Case& c, std::size_t i) {
  Nodes nodes;
  for (std::int32_t v = 0; v < c.tree.size(); ++v) {
    if (c.certain(v, i)) {
      nodes.insert(v);
    }
  }
  for (const std::int32_t v : Nodes(nodes)) {
    for (const std::int32_t above : path(c.tree, v)) {
      if (above != v) {
        nodes.erase(above);
      }
    }
  }
  return nodes;
}

Answers answers_of(const Case& c) {
  const std::size_t images = c.posterior.images;
  Answers answers{{static_cast<std::size_t>(c.tree.leaves()), images}, {c.posterior.nodes, images}};
  for (std::size_t i = 0; i < images; ++i) {
    for (std::int32_t leaf = 0; leaf < c.tree.leaves(); ++leaf) {
      answers.climb.node(static_cast<std::size_t>(leaf))[i] = climb(c, leaf, i);
    }
    for (const std::int32_t v : frontier(c, i)) {
      answers.frontier.node(static_cast<std::size_t>(v))[i] = 1;
    }
  }
  return answers;
}

std::optional<double> share(std::int64_t part, std::int64_t all) {
  if (all == 0) {
    return std::nullopt;
  }
  return static_cast<double>(part) / static_cast<double>(all);
}

// Adds the reports of one image, without those of unknown truth; `images` counts images that have any.
void add_reports(const Case& c, std::size_t i, const Nodes& reported, Reports& reports, std::int64_t& images) {
  const std::int64_t before = reports.reported;
  for (const std::int32_t v : reported) {
    reports.reported += c.state(v, i) != kUnknown;
    reports.right += c.state(v, i) == 1;
  }
  images += reports.reported > before;
}

Nodes known_part(const Case& c, std::size_t i, Nodes nodes) {
  nodes.erase(c.tree.root());
  std::erase_if(nodes, [&](std::int32_t v) { return c.state(v, i) == kUnknown; });
  return nodes;
}

// All pairs of a positive and a negative.
ConfidenceAtT::AucAtT plain_auc(const Case& c, std::int32_t leaf) {
  std::vector<double> positives, negatives;
  std::int64_t known = 0;
  for (std::size_t i = 0; i < c.posterior.images; ++i) {
    const double p = c.confidence(leaf, i);
    known += c.state(leaf, i) != kUnknown;
    if (c.state(leaf, i) != kUnknown && (p >= c.threshold(leaf) || 1 - p >= c.threshold(leaf))) {
      (c.state(leaf, i) == 1 ? positives : negatives).push_back(p);
    }
  }
  std::int64_t twice_won = 0;
  for (const double p : positives) {
    for (const double n : negatives) {
      twice_won += p > n ? 2 : p == n;
    }
  }
  const auto found = static_cast<std::int64_t>(positives.size()), others = static_cast<std::int64_t>(negatives.size());
  return {share(twice_won, 2 * found * others), share(found + others, known).value_or(0), found + others, found};
}

struct Sums {
  std::int64_t leaf_images = 0, frontier_images = 0, certain = 0, covered = 0, kept = 0, softened = 0, withdrawn = 0;
  std::int64_t reported = 0, present = 0, both = 0;  // sizes of ancestor-closed sets
};

void add_true_leaf(const Case& c, std::size_t i, std::int32_t leaf, const Nodes& shown, Sums& sums,
                   ConfidenceAtT& result) {
  const auto way = path(c.tree, leaf);
  const std::int32_t reached = climb(c, leaf, i);
  ++result.true_leaves;
  sums.certain += c.certain(leaf, i);
  sums.covered += std::any_of(way.begin(), way.end(), [&](std::int32_t v) { return shown.count(v) > 0; });
  sums.kept += reached == leaf;
  sums.withdrawn += reached == kWithdrawn;
  sums.softened += reached != leaf && reached != kWithdrawn;
  auto& destination = result.destinations[static_cast<std::size_t>(leaf)];
  ++(reached == kWithdrawn ? destination.withdrawn : destination.counts[static_cast<std::size_t>(reached)]);
}

void add_closed_sets(const Case& c, std::size_t i, const Nodes& shown, Sums& sums) {
  Nodes closed, present;
  for (const std::int32_t v : shown) {
    const auto way = path(c.tree, v);
    closed.insert(way.begin(), way.end());
  }
  for (std::int32_t v = 0; v < c.tree.size(); ++v) {
    if (c.state(v, i) == 1) {
      present.insert(v);
    }
  }
  closed = known_part(c, i, closed), present = known_part(c, i, present);
  Nodes both;
  std::set_intersection(closed.begin(), closed.end(), present.begin(), present.end(), std::inserter(both, both.end()));
  sums.reported += static_cast<std::int64_t>(closed.size());
  sums.present += static_cast<std::int64_t>(present.size());
  sums.both += static_cast<std::int64_t>(both.size());
}

void set_shares(const Sums& sums, std::size_t images, ConfidenceAtT& result) {
  const auto count = static_cast<std::int64_t>(images);
  result.leaf.coverage = share(sums.leaf_images, count).value_or(0);
  result.leaf.precision = share(result.leaf.right, result.leaf.reported);
  result.leaf.recall = share(sums.certain, result.true_leaves);
  result.frontier.coverage = share(sums.frontier_images, count).value_or(0);
  result.frontier.precision = share(result.frontier.right, result.frontier.reported);
  result.frontier.recall = share(sums.covered, result.true_leaves);
  result.persist = share(sums.kept, result.true_leaves);
  result.soften = share(sums.softened, result.true_leaves);
  result.withdrawn = share(sums.withdrawn, result.true_leaves);
  const auto precision = result.hierarchical_precision = share(sums.both, sums.reported);
  const auto recall = result.hierarchical_recall = share(sums.both, sums.present);
  if (precision && recall) {
    result.hierarchical_f = sums.both ? 2 / (1 / *precision + 1 / *recall) : 0;
  }
}

// docs/method.md §6 and §8 with sets, image by image.
ConfidenceAtT plain_evaluation(const Case& c) {
  ConfidenceAtT result;
  result.destinations.resize(static_cast<std::size_t>(c.tree.leaves()), {0, std::vector<std::int64_t>(c.truth.nodes)});
  Sums sums;
  for (std::size_t i = 0; i < c.posterior.images; ++i) {
    const Nodes shown = frontier(c, i);
    Nodes leaves;
    for (std::int32_t leaf = 0; leaf < c.tree.leaves(); ++leaf) {
      if (c.certain(leaf, i)) {
        leaves.insert(leaf);
      }
      if (c.state(leaf, i) == 1) {
        add_true_leaf(c, i, leaf, shown, sums, result);
      }
    }
    add_reports(c, i, leaves, result.leaf, sums.leaf_images);
    add_reports(c, i, shown, result.frontier, sums.frontier_images);
    add_closed_sets(c, i, shown, sums);
  }
  set_shares(sums, c.posterior.images, result);
  for (std::int32_t leaf = 0; leaf < c.tree.leaves(); ++leaf) {
    result.auc_at_t.push_back(plain_auc(c, leaf));
  }
  result.thresholds = c.thresholds;
  return result;
}

void expect_number(const std::optional<double>& got, const std::optional<double>& want, const char* what) {
  ASSERT_EQ(got.has_value(), want.has_value()) << what;
  if (got) {
    EXPECT_DOUBLE_EQ(*got, *want) << what;
  }
}

void expect_reports(const Reports& got, const Reports& want) {
  EXPECT_DOUBLE_EQ(got.coverage, want.coverage);
  EXPECT_EQ(got.reported, want.reported);
  EXPECT_EQ(got.right, want.right);
  expect_number(got.precision, want.precision, "precision");
  expect_number(got.recall, want.recall, "recall");
}

void expect_same(const ConfidenceAtT& got, const ConfidenceAtT& want) {
  expect_reports(got.leaf, want.leaf);
  expect_reports(got.frontier, want.frontier);
  EXPECT_EQ(got.true_leaves, want.true_leaves);
  expect_number(got.persist, want.persist, "persist");
  expect_number(got.soften, want.soften, "soften");
  expect_number(got.withdrawn, want.withdrawn, "withdrawn");
  expect_number(got.hierarchical_precision, want.hierarchical_precision, "hierarchical precision");
  expect_number(got.hierarchical_recall, want.hierarchical_recall, "hierarchical recall");
  expect_number(got.hierarchical_f, want.hierarchical_f, "hierarchical F");
  EXPECT_EQ(got.thresholds, want.thresholds);
  ASSERT_EQ(got.auc_at_t.size(), want.auc_at_t.size());
  ASSERT_EQ(got.destinations.size(), want.destinations.size());
  for (std::size_t leaf = 0; leaf < want.auc_at_t.size(); ++leaf) {
    SCOPED_TRACE(testing::Message() << "leaf " << leaf);
    expect_number(got.auc_at_t[leaf].auroc, want.auc_at_t[leaf].auroc, "AUROC");
    EXPECT_DOUBLE_EQ(got.auc_at_t[leaf].coverage, want.auc_at_t[leaf].coverage);
    EXPECT_EQ(got.auc_at_t[leaf].images, want.auc_at_t[leaf].images);
    EXPECT_EQ(got.auc_at_t[leaf].positives, want.auc_at_t[leaf].positives);
    EXPECT_EQ(got.destinations[leaf].withdrawn, want.destinations[leaf].withdrawn);
    EXPECT_EQ(got.destinations[leaf].counts, want.destinations[leaf].counts);
  }
}

ConfidenceAtT evaluate(const Case& c, int threads = 1) {
  return evaluate_at(c.tree, "T", c.thresholds, c.posterior, c.truth, answers_of(c), threads);
}

// An inner node is true when a leaf below it is, false when all are.
void pool_truths(Case& c) {
  for (std::int32_t v = c.tree.leaves(); v < c.tree.size(); ++v) {
    for (std::size_t i = 0; i < c.truth.images; ++i) {
      int state = 0;
      for (const std::int32_t leaf : c.tree.node(v).leaves) {
        state = c.state(leaf, i) == 1 || state == 1 ? 1 : std::max(state, c.state(leaf, i));
      }
      c.truth.node(static_cast<std::size_t>(v))[i] = static_cast<std::uint8_t>(state);
    }
  }
}

LabelTree small_tree() {
  return LabelTree::parse(R"(
[labels]
A = ["Mass"]
B = ["Edema"]
C = ["Nodule"]
[tree]
Root = ["A", "G"]
G = ["B", "C"]
)",
                          "test");
}

LabelTree tree_number(std::uint64_t seed) {
  return seed % 3 == 0 ? LabelTree::of_14_labels() : seed % 3 == 1 ? LabelTree::of_13_labels() : small_tree();
}

struct Shape {
  std::size_t images = 100;
  std::uint32_t levels = 10;  // distinct posteriors: few, so that many are tied and many equal a threshold
  float prevalence = 0.3f, unknown = 0.1f;
};

// Thresholds differ by node; about one in six is infinite.
Case random_case(std::uint64_t seed, const Shape& shape) {
  RandomStream random(seed, RandomUse::kSynth);
  Case c{tree_number(seed), {}, {}, {}};
  const auto nodes = static_cast<std::size_t>(c.tree.size());
  c.posterior = NodeTable<double>(nodes, shape.images);
  c.truth = NodeTable<std::uint8_t>(nodes, shape.images);
  const auto level = [&] { return static_cast<double>(random.below(shape.levels + 1)) / shape.levels; };
  for (std::size_t v = 0; v < nodes; ++v) {
    c.thresholds.push_back(random.below(6) == 0 ? kInfinity : level());
  }
  for (double& p : c.posterior.values) {
    p = level();
  }
  for (std::uint8_t& y : c.truth.values) {
    y = random.uniform() < shape.unknown ? kUnknown : random.uniform() < shape.prevalence ? 1 : 0;
  }
  pool_truths(c);
  return c;
}

TEST(EvaluateAt, EqualsTheDefinitionOnRandomTables) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Shape shape;
    shape.images = seed % 7 == 0 ? 1 : 13 * seed;
    shape.levels = 1 + static_cast<std::uint32_t>(seed % 5) * 6;
    shape.unknown = seed % 4 == 0 ? 0.0f : 0.1f * static_cast<float>(seed % 4);
    const Case c = random_case(seed, shape);
    expect_same(evaluate(c), plain_evaluation(c));
  }
}

// More images than are counted at once, and not a whole number of blocks.
TEST(EvaluateAt, ManyImagesAreTheSameForAnyNumberOfThreads) {
  Shape shape;
  shape.images = 10'007, shape.prevalence = 0.02f;
  const Case c = random_case(3, shape);
  const ConfidenceAtT one = evaluate(c, 1), three = evaluate(c, 3);
  expect_same(one, plain_evaluation(c));
  expect_same(three, one);
  for (std::size_t leaf = 0; leaf < one.auc_at_t.size(); ++leaf) {
    EXPECT_EQ(three.auc_at_t[leaf].auroc, one.auc_at_t[leaf].auroc);
  }
  EXPECT_EQ(three.hierarchical_f, one.hierarchical_f);
}

TEST(EvaluateAt, EqualPosteriorsAndEmptyClasses) {
  for (const std::uint8_t state : {std::uint8_t{0}, std::uint8_t{1}, kUnknown}) {
    Case c = random_case(4, {});
    std::fill(c.posterior.values.begin(), c.posterior.values.end(), 0.5);
    std::fill(c.truth.values.begin(), c.truth.values.end(), state);
    std::fill(c.thresholds.begin(), c.thresholds.end(), 0.5);
    const ConfidenceAtT got = evaluate(c);
    expect_same(got, plain_evaluation(c));
    EXPECT_EQ(got.auc_at_t[0].auroc, std::nullopt);
    EXPECT_EQ(got.persist, state == 1 ? std::optional(1.0) : std::nullopt);
    EXPECT_EQ(got.frontier.reported, state == kUnknown ? 0 : 1300);
  }
}

TEST(EvaluateAt, NothingIsReportedAtInfinity) {
  Case c = random_case(5, {});
  std::fill(c.thresholds.begin(), c.thresholds.end(), kInfinity);
  const ConfidenceAtT got = evaluate(c);
  EXPECT_EQ(got.leaf.reported + got.frontier.reported, 0);
  EXPECT_EQ(got.frontier.coverage, 0);
  EXPECT_EQ(got.frontier.precision, std::nullopt);
  EXPECT_EQ(got.frontier.recall, 0.0);
  EXPECT_EQ(got.withdrawn, 1.0);
  EXPECT_EQ(got.hierarchical_precision, std::nullopt);
  EXPECT_EQ(got.hierarchical_recall, 0.0);
  EXPECT_EQ(got.hierarchical_f, std::nullopt);
  EXPECT_EQ(got.auc_at_t[0].images, 0);
  EXPECT_EQ(got.auc_at_t[0].coverage, 0);
  EXPECT_EQ(got.auc_at_t[0].auroc, std::nullopt);
}

TEST(EvaluateAt, NoImagesLeaveTheSharesUndefined) {
  Shape none;
  none.images = 0;
  const ConfidenceAtT got = evaluate(random_case(3, none));
  EXPECT_EQ(got.frontier.coverage, 0);
  EXPECT_EQ(got.frontier.precision, std::nullopt);
  EXPECT_EQ(got.persist, std::nullopt);
}

// Six images, a row for each node A, B, C, G, Root; all thresholds 0.8.
//  image   true        climb of true leaves   frontier
//  0       B           B → G                  A, C
//  1       A, C        A → Root, C → G        B, whose truth is unknown
//  2       –                                  –
//  3       A           A → A                  A
//  4       B           B → G                  G
//  5       C           C withdrawn            –
Case known_case() {
  Case c{small_tree(), std::vector<double>(5, 0.8), {5, 6}, {5, 6}};
  c.posterior.values = {0.90, 0.20, 0.10, 0.85, 0.10, 0.40,   //
                        0.50, 0.90, 0.10, 0.10, 0.30, 0.40,   //
                        0.80, 0.10, 0.10, 0.10, 0.20, 0.40,   //
                        0.90, 0.85, 0.10, 0.30, 0.80, 0.40,   //
                        0.95, 0.90, 0.10, 0.90, 0.80, 0.40};  //
  c.truth.values = {0, 1, 0, 1, 0, 0,                         //
                    1, 2, 0, 0, 1, 0,                         //
                    0, 1, 0, 0, 0, 1,                         //
                    1, 1, 0, 0, 1, 1,                         //
                    1, 1, 0, 1, 1, 1};
  return c;
}

TEST(EvaluateAt, KnownCase) {
  const ConfidenceAtT got = evaluate(known_case());
  EXPECT_EQ(got.name, "T");
  EXPECT_EQ(got.leaf.reported, 3);  // A and C of image 0, A of image 3
  EXPECT_EQ(got.leaf.right, 1);
  EXPECT_DOUBLE_EQ(got.leaf.coverage, 2.0 / 6);
  EXPECT_DOUBLE_EQ(*got.leaf.precision, 1.0 / 3);
  EXPECT_DOUBLE_EQ(*got.leaf.recall, 1.0 / 6);
  EXPECT_EQ(got.frontier.reported, 4);
  EXPECT_EQ(got.frontier.right, 2);
  EXPECT_EQ(got.frontier.coverage, 0.5);
  EXPECT_EQ(got.frontier.precision, 0.5);
  EXPECT_DOUBLE_EQ(*got.frontier.recall, 2.0 / 6);
  EXPECT_EQ(got.true_leaves, 6);
  EXPECT_DOUBLE_EQ(*got.persist, 1.0 / 6);
  EXPECT_DOUBLE_EQ(*got.soften, 4.0 / 6);
  EXPECT_DOUBLE_EQ(*got.withdrawn, 1.0 / 6);
  // Reported A C G | G | – | A | G | –, true B G | A C G | – | A | B G | C G.
  EXPECT_DOUBLE_EQ(*got.hierarchical_precision, 4.0 / 6);
  EXPECT_EQ(got.hierarchical_recall, 0.4);
  EXPECT_EQ(got.hierarchical_f, 0.5);
  // A: all but image 5 are kept, positives at 0.2 and 0.85 against 0.9, 0.1, 0.1. B: two negatives.
  EXPECT_DOUBLE_EQ(*got.auc_at_t[0].auroc, 4.0 / 6);
  EXPECT_DOUBLE_EQ(got.auc_at_t[0].coverage, 5.0 / 6);
  EXPECT_EQ(got.auc_at_t[0].positives, 2);
  EXPECT_EQ(got.auc_at_t[1].auroc, std::nullopt);
  EXPECT_EQ(got.auc_at_t[1].images, 2);
  EXPECT_DOUBLE_EQ(got.auc_at_t[1].coverage, 2.0 / 5);
  EXPECT_EQ(got.destinations[0].counts, (std::vector<std::int64_t>{1, 0, 0, 0, 1}));
  EXPECT_EQ(got.destinations[1].counts, (std::vector<std::int64_t>{0, 0, 0, 2, 0}));
  EXPECT_EQ(got.destinations[2].counts, (std::vector<std::int64_t>{0, 0, 0, 1, 0}));
  EXPECT_EQ(got.destinations[2].withdrawn, 1);
}

TEST(EvaluateAt, RefusesTablesThatDoNotAgree) {
  const Case c = random_case(2, {});
  const Answers answers = answers_of(c);
  const auto with = [&](const std::vector<double>& thresholds, const NodeTable<double>& posterior,
                        const NodeTable<std::uint8_t>& truth,
                        const Answers& given) { return evaluate_at(c.tree, "T", thresholds, posterior, truth, given); };
  EXPECT_NO_THROW(with(c.thresholds, c.posterior, c.truth, answers));
  EXPECT_THROW(with({0.5}, c.posterior, c.truth, answers), Error);
  EXPECT_THROW(with(std::vector<double>(5, std::nan("")), c.posterior, c.truth, answers), Error);
  EXPECT_THROW(with(c.thresholds, {4, 100}, c.truth, answers), Error);
  EXPECT_THROW(with(c.thresholds, c.posterior, {5, 99}, answers), Error);
  EXPECT_THROW(with(c.thresholds, c.posterior, c.truth, {{5, 100}, answers.frontier}), Error);
  EXPECT_THROW(with(c.thresholds, c.posterior, c.truth, {answers.climb, {3, 100}}), Error);
  NodeTable<double> cut = c.posterior;
  cut.values.pop_back();
  EXPECT_THROW(with(c.thresholds, cut, c.truth, answers), Error);
  for (const std::int32_t nowhere : {-2, 5}) {
    Answers wrong = answers;
    wrong.climb.values[7] = nowhere;
    EXPECT_THROW(with(c.thresholds, c.posterior, c.truth, wrong), Error);
  }
}

// Every pair of leaves by counting; the most frequent first.
std::vector<Confusion> plain_confusions(const Case& c) {
  std::vector<Confusion> found;
  for (std::int32_t a = 0; a < c.tree.leaves(); ++a) {
    for (std::int32_t b = 0; b < c.tree.leaves(); ++b) {
      Confusion confusion{a, b, 0, 0};
      for (std::size_t i = 0; i < c.truth.images; ++i) {
        const bool wrong = c.certain(a, i) && c.state(a, i) == 0;
        confusion.false_reports += wrong;
        confusion.images += wrong && c.state(b, i) == 1;
      }
      if (confusion.images > 0) {
        found.push_back(confusion);
      }
    }
  }
  std::sort(found.begin(), found.end(), [](const Confusion& x, const Confusion& y) {
    return std::tuple(-x.images, x.reported, x.instead) < std::tuple(-y.images, y.reported, y.instead);
  });
  return found;
}

void expect_confusions(const std::vector<Confusion>& got, const std::vector<Confusion>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t at = 0; at < got.size(); ++at) {
    EXPECT_EQ(got[at].reported, want[at].reported) << at;
    EXPECT_EQ(got[at].instead, want[at].instead) << at;
    EXPECT_EQ(got[at].images, want[at].images) << at;
    EXPECT_EQ(got[at].false_reports, want[at].false_reports) << at;
  }
}

TEST(WorstConfusions, EqualTheDefinitionWithTiedCounts) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Shape shape;
    shape.images = seed == 20 ? 9000 : 5 * seed;
    const Case c = random_case(seed, shape);
    std::vector<Confusion> want = plain_confusions(c);
    expect_confusions(worst_confusions(c.tree, c.thresholds, c.posterior, c.truth, 1000), want);
    want.resize(std::min<std::size_t>(want.size(), 5));
    expect_confusions(worst_confusions(c.tree, c.thresholds, c.posterior, c.truth, 5), want);
  }
}

TEST(WorstConfusions, KnownCase) {
  const Case c = known_case();  // image 0 has B, and A and C are certain
  expect_confusions(worst_confusions(c.tree, c.thresholds, c.posterior, c.truth, 9), {{0, 1, 1, 1}, {2, 1, 1, 1}});
  EXPECT_TRUE(worst_confusions(c.tree, c.thresholds, c.posterior, c.truth, 0).empty());
  EXPECT_THROW(worst_confusions(c.tree, std::vector<double>{0.5}, c.posterior, c.truth, 9), Error);
  EXPECT_THROW(worst_confusions(c.tree, c.thresholds, c.posterior, {5, 7}, 9), Error);
}

TEST(CoOccurrence, CountsImagesWithBothLeaves) {
  EXPECT_EQ(co_occurrence(small_tree(), known_case().truth), (std::vector<std::int64_t>{2, 0, 1, 0, 2, 0, 1, 0, 2}));
  Shape shape;
  shape.images = 9000;
  const Case c = random_case(3, shape);
  const auto together = co_occurrence(c.tree, c.truth);
  ASSERT_EQ(together.size(), 14u * 14u);
  for (std::int32_t a = 0; a < 14; ++a) {
    for (std::int32_t b = 0; b < 14; ++b) {
      std::int64_t images = 0;
      for (std::size_t i = 0; i < shape.images; ++i) {
        images += c.state(a, i) == 1 && c.state(b, i) == 1;
      }
      EXPECT_EQ(together[static_cast<std::size_t>(a * 14 + b)], images) << a << " and " << b;
    }
  }
  EXPECT_THROW(co_occurrence(c.tree, {3, 9000}), Error);
}

}  // namespace
}  // namespace densetree::tree
