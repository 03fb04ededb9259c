// The tree method against tests/tree/reference/tree_method.py, a second implementation in NumPy that shares nothing
// with this one but the method's description: small random cases stored with what comes out of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/io/file.h"
#include "tests/nn/devices.h"
#include "tests/tree/random_set.h"
#include "tree/confidence.h"
#include "tree/device_tree.h"
#include "tree/reliability.h"

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
      const Answers actual = on_device.answer(posteriors, c.per_node(at.at("thresholds"), kInfinity));
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
      expect_same(calibration_error(equal_width_bins(p, y)), expected.at("ece"), "equal widths");
      expect_same(calibration_error(equal_mass_bins(p, y)), expected.at("ece_equal_mass"), "equal mass");
      expect_same(brier_score(p, y), expected.at("brier"), "Brier score");
      const std::optional<RiskCoverage> risk = risk_coverage(p, y);
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
  const ScoredImages set = random_set(5, {.images = 3000, .labels = 14, .levels = 500});
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

RUN_ON_DEVICES(MethodTest);

struct Everything {
  NodeTable<double> scores, posteriors;
  NodeTable<std::uint8_t> truths;
  Histograms histograms;
  Answers answers;
};

Everything run_all(int threads, const ScoredImages& set) {
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
  all.answers = on_device.answer(all.posteriors, std::vector<double>(settings.priors.size(), 0.4));
  return all;
}

TEST(Method, GivesTheSameBitsForAnyNumberOfThreads) {
  const ScoredImages set = random_set(6, {.images = 20'011, .labels = 14, .levels = 100'000});
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
