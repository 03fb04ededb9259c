// The tree method against tests/tree/reference/tree_method.py, a second implementation in NumPy that shares nothing
// with this one but the method's description: small random cases stored with what comes out of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/io/file.h"
#include "kernels/core/philox.h"
#include "kernels/device_array.h"
#include "metrics/reliability.h"
#include "tests/metrics/random_set.h"
#include "tests/nn/devices.h"
#include "tree/confidence.h"
#include "tree/device_tree.h"

namespace densetree::tree {
namespace {

using nlohmann::json;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// null stands for what JSON cannot say.
template <class T>
T number(const json& value, T null = T{}) {
  return value.is_null() ? null : value.get<T>();
}

const json& stored_cases() {
  static const json cases =
      json::parse(read_file(std::filesystem::path(DENSETREE_SOURCE_DIR) / "tests/tree/reference/tree_cases.json"))
          .at("cases");
  return cases;
}

// The stored nodes come in the stored file's own order; tables here are in the tree's.
struct StoredCase {
  explicit StoredCase(const json& stored)
      : name(stored.at("name")),
        expected(stored.at("expected")),
        tree(LabelTree::parse(stored.at("tree").get<std::string>(), name)),
        names(stored.at("nodes")),
        images(stored.at("scores").size()) {
    for (const std::string& node : names) {
      place.push_back(static_cast<std::size_t>(tree.find(node).value()));
    }
    for (std::size_t i = 0; i < images; ++i) {
      for (std::size_t label = 0; label < tree.labels().size(); ++label) {
        scores.push_back(stored.at("scores")[i][label]);
        targets.push_back(number(stored.at("targets")[i][label], std::numeric_limits<float>::quiet_NaN()));
      }
    }
    const json& chosen = stored.at("settings");
    pooling = chosen.at("pooling") == "sum"   ? Pooling::kSum
              : chosen.at("pooling") == "max" ? Pooling::kMax
                                              : Pooling::kNoisyOr;
    fit.binning = chosen.at("binning") == "uniform" ? Binning::kUniform : Binning::kQuantile;
    fit.bins = chosen.at("bins");
    fit.posterior = {.alpha = chosen.at("alpha"), .monotone = chosen.at("monotone")};
    fit.priors = per_node(stored.at("priors"), kNone);
  }

  std::vector<double> per_node(const json& values, double null) const {
    std::vector<double> result(place.size());
    for (std::size_t k = 0; k < place.size(); ++k) {
      result[place[k]] = number(values.at(k), null);
    }
    return result;
  }

  template <class T>
  NodeTable<T> node_table(const json& rows) const {
    NodeTable<T> table(place.size(), images);
    for (std::size_t k = 0; k < place.size(); ++k) {
      std::ranges::copy(rows.at(k).get<std::vector<T>>(), table.node(place[k]).begin());
    }
    return table;
  }

  Answers answers(const json& at) const {
    Answers result{NodeTable<std::int32_t>(tree.labels().size(), images),
                   node_table<std::uint8_t>(at.at("frontier_nodes"))};
    for (std::size_t leaf = 0; leaf < tree.labels().size(); ++leaf) {
      for (std::size_t i = 0; i < images; ++i) {
        const int node = at.at("climb")[leaf][i];
        result.climb.node(leaf)[i] = node < 0 ? kWithdrawn : static_cast<std::int32_t>(place[node]);
      }
    }
    return result;
  }

  std::string name;
  const json& expected;
  LabelTree tree;
  std::vector<std::string> names;
  std::vector<std::size_t> place;  // of each stored node in the tree
  std::size_t images;
  std::vector<double> scores;
  std::vector<float> targets;
  Pooling pooling;
  FitSettings fit;
};

void expect_near(const NodeTable<double>& actual, const NodeTable<double>& expected, double tolerance) {
  ASSERT_EQ(actual.values.size(), expected.values.size());
  for (std::size_t i = 0; i < actual.values.size(); ++i) {
    ASSERT_NEAR(actual.values[i], expected.values[i], tolerance)
        << "node " << i / expected.images << ", image " << i % expected.images;
  }
}

// Undefined, or the same within 1e-12.
void expect_same(const std::optional<double>& actual, const json& expected, const std::string& what) {
  ASSERT_EQ(actual.has_value(), !expected.is_null()) << what;
  if (actual) {
    EXPECT_NEAR(*actual, expected.get<double>(), 1e-12) << what;
  }
}

class MethodTest : public test::DeviceTest {
 protected:
  // Calls `hold` with each stored case and its tree on the device.
  void for_each_case(const std::function<void(const StoredCase&, DeviceTree&)>& hold) {
    for (const json& stored : stored_cases()) {
      const StoredCase c(stored);
      SCOPED_TRACE(c.name);
      DeviceTree on_device(device(), c.tree, c.pooling);
      hold(c, on_device);
      if (HasFatalFailure()) {
        return;
      }
    }
  }
};

TEST_P(MethodTest, ReadsTheTrees) {
  for (const json& stored : stored_cases()) {
    const StoredCase c(stored);
    EXPECT_EQ(c.tree.labels().names(), stored.at("labels").get<std::vector<std::string>>()) << c.name;
    EXPECT_EQ(static_cast<std::size_t>(c.tree.size()), c.names.size()) << c.name;
    EXPECT_EQ(c.place.back(), static_cast<std::size_t>(c.tree.root())) << c.name;
  }
}

TEST_P(MethodTest, PoolsScoresAndTruths) {
  for_each_case([](const StoredCase& c, DeviceTree& on_device) {
    expect_near(on_device.pool(c.scores), c.node_table<double>(c.expected.at("scores")), 1e-15);
    EXPECT_EQ(on_device.truths(c.targets).values, c.node_table<std::uint8_t>(c.expected.at("truths")).values);
  });
}

// Of a node: edges and counts exactly, nothing beyond the bins in use, posteriors within 1e-12.
void expect_node(const Histograms& actual, std::size_t v, const json& expected, const std::string& name) {
  const auto bins = static_cast<std::size_t>(actual.bins);
  auto positives = expected.at("positives").get<std::vector<std::uint32_t>>();
  auto negatives = expected.at("negatives").get<std::vector<std::uint32_t>>();
  const auto posterior = expected.at("posterior").get<std::vector<double>>();
  positives.resize(bins);
  negatives.resize(bins);
  const auto counts = actual.counts.begin() + static_cast<std::ptrdiff_t>(v * 2 * bins);
  const auto width = static_cast<std::ptrdiff_t>(bins);
  EXPECT_EQ(std::vector<std::uint32_t>(counts, counts + width), positives) << name;
  EXPECT_EQ(std::vector<std::uint32_t>(counts + width, counts + 2 * width), negatives) << name;
  for (std::size_t q = 0; q < posterior.size(); ++q) {
    EXPECT_NEAR(actual.posteriors[v * bins + q], posterior[q], 1e-12) << name << ", bin " << q;
  }
  if (actual.binning == Binning::kQuantile) {
    auto edges = expected.at("edges").get<std::vector<double>>();
    edges.resize(bins - 1, kInfinity);
    const auto begin = actual.edges.begin() + static_cast<std::ptrdiff_t>(v * (bins - 1));
    EXPECT_EQ(std::vector<double>(begin, begin + width - 1), edges) << name;
  }
}

TEST_P(MethodTest, FitsHistogramsAndPosteriors) {
  for_each_case([](const StoredCase& c, DeviceTree& on_device) {
    const Histograms fitted = on_device.fit(c.scores, c.targets, c.fit);
    ASSERT_EQ(fitted.bins, c.fit.bins);
    ASSERT_EQ(fitted.binning, c.fit.binning);
    for (std::size_t k = 0; k < c.names.size(); ++k) {
      expect_node(fitted, c.place[k], c.expected.at("fit").at(c.names[k]), c.names[k]);
    }
    expect_near(on_device.posteriors(c.scores, fitted), c.node_table<double>(c.expected.at("posteriors")), 1e-12);
  });
}

TEST_P(MethodTest, ClimbsAndFindsTheFrontier) {
  for_each_case([](const StoredCase& c, DeviceTree& on_device) {
    const NodeTable<double> posteriors = c.node_table<double>(c.expected.at("posteriors"));
    for (const json& at : c.expected.at("at")) {
      const Answers expected = c.answers(at);
      const Answers actual = on_device.answering(posteriors).at(c.per_node(at.at("thresholds"), kInfinity));
      EXPECT_EQ(actual.climb.values, expected.climb.values);
      EXPECT_EQ(actual.frontier.values, expected.frontier.values);
    }
  });
}

void expect_reports(const Reports& actual, const json& expected, const std::string& what) {
  EXPECT_NEAR(actual.coverage, expected.at("coverage").get<double>(), 1e-12) << what;
  EXPECT_EQ(actual.reported, expected.at("reported")) << what;
  EXPECT_EQ(actual.right, expected.at("right")) << what;
  expect_same(actual.precision, expected.at("precision"), what + " precision");
  expect_same(actual.recall, expected.at("recall"), what + " recall");
}

void expect_measures(const ConfidenceAtT& actual, const json& expected) {
  expect_reports(actual.leaf, expected.at("leaf"), "leaf");
  expect_reports(actual.frontier, expected.at("frontier"), "frontier");
  EXPECT_EQ(actual.true_leaves, expected.at("true_leaves"));
  expect_same(actual.persist, expected.at("persist"), "persist");
  expect_same(actual.soften, expected.at("soften"), "soften");
  expect_same(actual.withdrawn, expected.at("withdrawn"), "withdrawn");
  expect_same(actual.hierarchical_precision, expected.at("hierarchical_precision"), "hierarchical precision");
  expect_same(actual.hierarchical_recall, expected.at("hierarchical_recall"), "hierarchical recall");
  expect_same(actual.hierarchical_f, expected.at("hierarchical_f"), "hierarchical F");
  ASSERT_EQ(actual.auc_at_t.size(), expected.at("auc_at_t").size());
  for (std::size_t leaf = 0; leaf < actual.auc_at_t.size(); ++leaf) {
    const json& auc = expected.at("auc_at_t")[leaf];
    expect_same(actual.auc_at_t[leaf].auroc, auc.at("auroc"), "AUC@T");
    EXPECT_NEAR(actual.auc_at_t[leaf].coverage, auc.at("coverage").get<double>(), 1e-12) << "leaf " << leaf;
    EXPECT_EQ(actual.auc_at_t[leaf].images, auc.at("images")) << "leaf " << leaf;
    EXPECT_EQ(actual.auc_at_t[leaf].positives, auc.at("positives")) << "leaf " << leaf;
  }
}

TEST_P(MethodTest, MeasuresAnswersAtThresholds) {
  for_each_case([](const StoredCase& c, DeviceTree&) {
    const NodeTable<double> posteriors = c.node_table<double>(c.expected.at("posteriors"));
    const NodeTable<std::uint8_t> truths = c.node_table<std::uint8_t>(c.expected.at("truths"));
    for (std::size_t t = 0; t < c.expected.at("at").size(); ++t) {
      SCOPED_TRACE(fmt::format("thresholds {}", t));
      const json& at = c.expected.at("at")[t];
      expect_measures(evaluate_at(c.tree, "T", c.per_node(at.at("thresholds"), kInfinity), posteriors, truths,
                                  c.answers(at), test::kThreads),
                      at);
    }
  });
}

TEST_P(MethodTest, MeasuresReliability) {
  for_each_case([](const StoredCase& c, DeviceTree&) {
    const NodeTable<double> posteriors = c.node_table<double>(c.expected.at("posteriors"));
    const NodeTable<std::uint8_t> truths = c.node_table<std::uint8_t>(c.expected.at("truths"));
    for (std::size_t k = 0; k < c.names.size(); ++k) {
      SCOPED_TRACE(c.names[k]);
      const std::span<const double> p = posteriors.node(c.place[k]);
      const std::span<const std::uint8_t> y = truths.node(c.place[k]);
      const json& expected = c.expected.at("reliability")[k];
      expect_same(metrics::calibration_error(metrics::equal_width_bins(p, y)), expected.at("ece"), "equal widths");
      expect_same(metrics::calibration_error(metrics::equal_mass_bins(p, y)), expected.at("ece_equal_mass"),
                  "equal mass");
      expect_same(metrics::brier_score(p, y), expected.at("brier"), "Brier score");
      const std::optional<metrics::RiskCoverage> risk = metrics::risk_coverage(p, y);
      ASSERT_EQ(risk.has_value(), !expected.at("aurc").is_null());
      if (risk) {
        EXPECT_NEAR(risk->aurc, expected.at("aurc").get<double>(), 1e-12);
        EXPECT_NEAR(risk->augrc, expected.at("augrc").get<double>(), 1e-12);
      }
    }
  });
}

// ---- Properties ---------------------------------------------------------------------------------------------------

// H⁺ and H⁻ with π = r come to this; unsmoothed bins, and unsmoothed classes, would not.
TEST_P(MethodTest, TheDataPriorGivesTheSmoothedShareOfTrueImages) {
  const LabelTree tree = LabelTree::of_14_labels();
  const metrics::ScoredImages set = metrics::random_set(5, {.images = 3000, .labels = 14, .levels = 500});
  const std::vector<double> priors(static_cast<std::size_t>(tree.size()), kNone);
  DeviceTree on_device(device(), tree, Pooling::kNoisyOr);
  for (const Binning binning : {Binning::kQuantile, Binning::kUniform}) {
    for (const double alpha : {0.25, 1.0, 2.5}) {
      const Histograms h =
          on_device.fit(set.scores, set.targets, {binning, 40, {.alpha = alpha, .monotone = false}, priors});
      for (std::size_t v = 0; v < priors.size(); ++v) {
        const std::span<const std::uint32_t> positives = std::span(h.counts).subspan(v * 2 * 40, 40);
        const std::span<const std::uint32_t> negatives = std::span(h.counts).subspan(v * 2 * 40 + 40, 40);
        const double true_images = std::accumulate(positives.begin(), positives.end(), 0.0);
        const double share = true_images / (true_images + std::accumulate(negatives.begin(), negatives.end(), 0.0));
        const bool quantile = binning == Binning::kQuantile;
        for (std::size_t q = 0; q < 40 && (q == 0 || !quantile || h.edges[v * 39 + q - 1] < kInfinity); ++q) {
          EXPECT_NEAR(h.posteriors[v * 40 + q], (positives[q] + alpha * share) / (positives[q] + negatives[q] + alpha),
                      1e-15)
              << "node " << v << ", bin " << q << ", alpha " << alpha;
        }
      }
    }
  }
}

// ---- Posteriors that are equal by definition ------------------------------------------------------------------------

struct BinCounts {
  std::vector<std::uint32_t> positives, negatives;
};
struct PosteriorCase {
  double alpha, prior;  // NaN: the share of true images
  bool monotone;
};

std::vector<double> posterior_table(Device& device, const BinCounts& counts, const PosteriorCase& c) {
  std::vector<std::uint32_t> both = counts.positives;
  both.insert(both.end(), counts.negatives.begin(), counts.negatives.end());
  const DeviceArray<std::uint32_t> on_device(device, std::span<const std::uint32_t>(both));
  const DeviceArray<double> prior(device, std::span<const double>(&c.prior, 1));
  const auto bins = static_cast<std::int32_t>(counts.positives.size());
  DeviceArray<double> table(device, counts.positives.size());
  device.make_tree_operations()->posterior_table(on_device.data(), prior.data(), 1,
                                                 {.kind = Binning::kUniform, .bins = bins}, {c.alpha, c.monotone},
                                                 table.data());
  return table.read();
}

// docs/method.md §5 to the letter in long double, where counts are so small that what differs by less than kRounding is
// equal: the block that each bin is in, and its value.
struct ExactBin {
  std::size_t block;
  long double value;
};
constexpr long double kRounding = 0x1p-56L;

std::vector<ExactBin> exact_table(const BinCounts& counts, const PosteriorCase& c) {
  const auto divide = [](long double a, long double b) { return b == 0 ? 0 : a / b; };
  const std::size_t bins = counts.positives.size();
  const long double positives = std::accumulate(counts.positives.begin(), counts.positives.end(), 0.0L),
                    negatives = std::accumulate(counts.negatives.begin(), counts.negatives.end(), 0.0L),
                    r = divide(positives, positives + negatives), prior = c.prior == c.prior ? c.prior : r;
  struct Block {
    long double sum, weight;
    std::size_t bins;
  };
  std::vector<Block> blocks;
  const auto value = [&](const Block& block) { return divide(block.sum, block.weight); };
  for (std::size_t b = 0; b < bins; ++b) {
    const long double n1 = counts.positives[b], n0 = counts.negatives[b];
    const long double if_true = divide(n1 + c.alpha * r, positives + c.alpha * bins * r);
    const long double if_false = divide(n0 + c.alpha * (1 - r), negatives + c.alpha * bins * (1 - r));
    const long double weight = n1 + n0 + c.alpha;
    blocks.push_back({weight * divide(prior * if_true, prior * if_true + (1 - prior) * if_false), weight, 1});
    while (c.monotone && blocks.size() > 1 && value(blocks.end()[-2]) >= value(blocks.back()) - kRounding) {
      const Block last = blocks.back();
      blocks.pop_back();
      blocks.back() = {blocks.back().sum + last.sum, blocks.back().weight + last.weight,
                       blocks.back().bins + last.bins};
    }
  }
  std::vector<ExactBin> table;
  for (std::size_t block = 0; block < blocks.size(); ++block) {
    table.insert(table.end(), blocks[block].bins, {block, value(blocks[block])});
  }
  return table;
}

// Every two bins: one double where they are exactly equal, else in their exact order.
void expect_exact_order(const std::vector<double>& actual, const std::vector<ExactBin>& exact, bool monotone) {
  ASSERT_EQ(actual.size(), exact.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], static_cast<double>(exact[i].value), 1e-15);
    for (std::size_t j = 0; j < i; ++j) {
      const long double step = exact[i].value - exact[j].value;
      const bool equal = monotone ? exact[i].block == exact[j].block : step <= kRounding && step >= -kRounding;
      if (equal) {
        ASSERT_EQ(actual[i], actual[j]) << "bins " << j << " and " << i;
      } else {
        ASSERT_EQ(actual[i] > actual[j], step > 0) << "bins " << j << " and " << i;
        ASSERT_NE(actual[i], actual[j]) << "bins " << j << " and " << i;
      }
    }
  }
}

TEST_P(MethodTest, EqualBlocksAreOneValue) {
  // 1 of 5, and nothing at a share of 1/5: the smoothed values are 1.2/6 and 0.2/1.
  EXPECT_EQ(posterior_table(device(), {{1, 0}, {4, 0}}, {1, kNone, true}), (std::vector<double>{0.2, 0.2}));
  // 1 of 3, and 2 of 6 in two bins that are pooled.
  EXPECT_EQ(posterior_table(device(), {{1, 2, 0}, {2, 2, 2}}, {0, kNone, true}), std::vector<double>(3, 1.0 / 3));
  // The same block three times, whose sum is no sum of equal halves.
  const std::vector<double> thrice =
      posterior_table(device(), {{3, 1, 3, 1, 3, 1, 9}, {1, 3, 1, 3, 1, 3, 2}}, {1, 0.3, true});
  EXPECT_EQ(std::vector<double>(thrice.begin(), thrice.end() - 1), std::vector<double>(6, thrice.front()));
  EXPECT_GT(thrice.back(), thrice.front());
}

// Bins of few images, and runs of bins that come again some times over: much is equal, and differently computed.
BinCounts random_counts(RandomStream& random) {
  const auto draw = [&](std::uint32_t least, std::uint32_t most) { return least + random.below(most - least + 1); };
  const std::uint32_t most = draw(1, 7);
  BinCounts counts;
  while (counts.positives.size() < 12) {
    BinCounts run;
    for (std::uint32_t bins = draw(1, 4); bins > 0; --bins) {
      run.positives.push_back(draw(0, most));
      run.negatives.push_back(draw(0, most));
    }
    for (std::uint32_t times = draw(1, 3); times > 0; --times) {
      std::ranges::copy(run.positives, std::back_inserter(counts.positives));
      std::ranges::copy(run.negatives, std::back_inserter(counts.negatives));
    }
  }
  return counts;
}

TEST_P(MethodTest, PosteriorsAreOrderedAsTheirExactValuesAre) {
  RandomStream random(8, RandomUse::kSynth);
  for (int draw = 0; draw < 400; ++draw) {
    const BinCounts counts = random_counts(random);
    for (const double alpha : {0.0, 0.1, 1.0, 2.5}) {
      for (const double prior : {kNone, 0.5, 0.3}) {
        for (const bool monotone : {true, false}) {
          SCOPED_TRACE(fmt::format("true {}, false {}, alpha {}, prior {}, monotone {}",
                                   fmt::join(counts.positives, " "), fmt::join(counts.negatives, " "), alpha, prior,
                                   monotone));
          const PosteriorCase c{alpha, prior, monotone};
          expect_exact_order(posterior_table(device(), counts, c), exact_table(counts, c), monotone);
          if (HasFatalFailure()) {
            return;
          }
        }
      }
    }
  }
}

RUN_ON_DEVICES(MethodTest);

struct Everything {
  NodeTable<double> scores, posteriors;
  NodeTable<std::uint8_t> truths;
  Histograms histograms;
  Answers answers;
};

Everything run_all(int threads, const metrics::ScoredImages& set) {
  const std::unique_ptr<Device> device = make_device("cpu", threads);
  const LabelTree tree = LabelTree::of_14_labels();
  DeviceTree on_device(*device, tree, Pooling::kNoisyOr);
  FitSettings settings;
  settings.priors.assign(static_cast<std::size_t>(tree.size()), kNone);
  Everything all{.scores = on_device.pool(set.scores),
                 .posteriors = {},
                 .truths = on_device.truths(set.targets),
                 .histograms = on_device.fit(set.scores, set.targets, settings),
                 .answers = {}};
  all.posteriors = on_device.posteriors(set.scores, all.histograms);
  all.answers = on_device.answering(all.posteriors).at(std::vector<double>(settings.priors.size(), 0.4));
  return all;
}

TEST(Method, GivesTheSameBitsForAnyNumberOfThreads) {
  const metrics::ScoredImages set = metrics::random_set(6, {.images = 20'011, .labels = 14, .levels = 100'000});
  const Everything one = run_all(1, set);
  for (const int threads : {2, 5}) {
    const Everything many = run_all(threads, set);
    EXPECT_EQ(many.scores.values, one.scores.values) << threads;
    EXPECT_EQ(many.truths.values, one.truths.values) << threads;
    EXPECT_EQ(many.histograms, one.histograms) << threads;
    EXPECT_EQ(many.posteriors.values, one.posteriors.values) << threads;
    EXPECT_EQ(many.answers.climb.values, one.answers.climb.values) << threads;
    EXPECT_EQ(many.answers.frontier.values, one.answers.frontier.values) << threads;
  }
}

}  // namespace
}  // namespace densetree::tree
