#include "tree/confidence.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/integer.h"
#include "kernels/core/tree_types.h"
#include "metrics/ranking.h"
#include "metrics/ratio.h"

namespace densetree::tree {

using metrics::ratio;

namespace {

// Images that are counted together: a byte for each of them and each node stays in the cache.
constexpr std::size_t kBlock = 4096;

struct Inputs {
  const LabelTree& tree;
  const std::vector<double>& thresholds;
  const NodeTable<double>& posterior;
  const NodeTable<std::uint8_t>& truth;
  const Answers& answers;
};

std::size_t node_count(const LabelTree& tree) {
  return static_cast<std::size_t>(tree.size());
}

std::size_t leaf_count(const LabelTree& tree) {
  return static_cast<std::size_t>(tree.leaves());
}

std::size_t parent_of(const LabelTree& tree, std::size_t node) {
  return static_cast<std::size_t>(tree.node(static_cast<std::int32_t>(node)).parent);
}

template <class T>
void check_table(const NodeTable<T>& table, std::size_t nodes, std::size_t images, const char* what) {
  check(table.nodes == nodes && table.images == images && table.values.size() == nodes * images,
        "{}: {} values for {} nodes and {} images; there must be {} nodes and {} images", what, table.values.size(),
        table.nodes, table.images, nodes, images);
}

void check_thresholds(std::span<const double> thresholds, const LabelTree& tree) {
  check(thresholds.size() == node_count(tree), "{} thresholds for a tree of {} nodes", thresholds.size(), tree.size());
  for (std::size_t v = 0; v < thresholds.size(); ++v) {
    check(!std::isnan(thresholds[v]), "the threshold of node {} is not a number", v);
  }
}

void check_inputs(const Inputs& in) {
  const std::size_t nodes = node_count(in.tree), images = in.posterior.images;
  check_thresholds(in.thresholds, in.tree);
  check(images <= metrics::kMaxRankedImages, "{} images; at most {} can be ranked at once", images,
        metrics::kMaxRankedImages);
  check_table(in.posterior, nodes, images, "posteriors");
  check_table(in.truth, nodes, images, "truths");
  check_table(in.answers.climb, leaf_count(in.tree), images, "answers of the climb");
  check_table(in.answers.frontier, nodes, images, "answers of the frontier");
  for (const std::int32_t node : in.answers.climb.values) {
    check(node >= kWithdrawn && node < in.tree.size(), "a leaf climbs to node {} of a tree of {}", node,
          in.tree.size());
  }
}

// All that is counted over images. Integers: sums of blocks are the same in any order.
struct Counts {
  struct OfReports {
    std::int64_t images = 0, reported = 0, right = 0;
  };
  OfReports leaf, frontier;
  std::int64_t true_leaves = 0;
  std::int64_t covered = 0;  // true leaves with a frontier node at themselves or above
  // Over ancestor-closed sets without the root: nodes in the reported one, the true one, both.
  std::int64_t closed_reported = 0, closed_true = 0, closed_both = 0;
  // Of a leaf's true images, how many climb to node v: [leaf·(V + 1) + v + 1]; first, v = kWithdrawn.
  std::vector<std::int64_t> destinations;

  explicit Counts(const LabelTree& tree) : destinations(leaf_count(tree) * (node_count(tree) + 1)) {}

  void add(const Counts& other) {
    const auto add_reports = [](OfReports& to, const OfReports& from) {
      to.images += from.images, to.reported += from.reported, to.right += from.right;
    };
    add_reports(leaf, other.leaf);
    add_reports(frontier, other.frontier);
    true_leaves += other.true_leaves;
    covered += other.covered;
    closed_reported += other.closed_reported;
    closed_true += other.closed_true;
    closed_both += other.closed_both;
    std::transform(destinations.begin(), destinations.end(), other.destinations.begin(), destinations.begin(),
                   std::plus<>());
  }
};

// Counts one block of images after the other. One for each thread: it holds the room that a block needs.
class BlockCounter {
 public:
  explicit BlockCounter(const Inputs& in) : counts(in.tree), in_(in), marks_(node_count(in.tree) * kBlock) {}

  void count(std::size_t block) {
    begin_ = block * kBlock;
    size_ = std::min(kBlock, in_.posterior.images - begin_);
    count_leaves();
    count_destinations();
    count_frontier();
    count_covered();
    count_closed();
  }

  Counts counts;

 private:
  const std::uint8_t* truth(std::size_t v) const { return in_.truth.node(v).data() + begin_; }
  const std::uint8_t* frontier(std::size_t v) const { return in_.answers.frontier.node(v).data() + begin_; }
  std::uint8_t* marks(std::size_t v) { return marks_.data() + v * kBlock; }

  // Adds the reports of one node; marks the images that have one. is_reported: image of the block → 0 or 1.
  template <class IsReported>
  void add_reports(std::size_t v, Counts::OfReports& sum, const IsReported& is_reported) {
    const std::uint8_t* y = truth(v);
    std::uint8_t* any = marks(0);
    std::uint32_t reported = 0, right = 0;
    for (std::size_t i = 0; i < size_; ++i) {
      const auto report = static_cast<std::uint8_t>(is_reported(i) & (y[i] != kUnknown));
      any[i] |= report;
      reported += report;
      right += report & (y[i] == 1);
    }
    sum.reported += reported;
    sum.right += right;
  }

  void count_leaves() {
    std::fill_n(marks(0), size_, std::uint8_t{0});
    for (std::size_t l = 0; l < leaf_count(in_.tree); ++l) {
      const double* posterior = in_.posterior.node(l).data() + begin_;
      const double threshold = in_.thresholds[l];
      add_reports(l, counts.leaf, [=](std::size_t i) { return posterior[i] >= threshold; });
    }
    counts.leaf.images += std::count(marks(0), marks(0) + size_, 1);
  }

  void count_frontier() {
    std::fill_n(marks(0), size_, std::uint8_t{0});
    for (std::size_t v = 0; v < node_count(in_.tree); ++v) {
      const std::uint8_t* reported = frontier(v);
      add_reports(v, counts.frontier, [=](std::size_t i) { return reported[i] != 0; });
    }
    counts.frontier.images += std::count(marks(0), marks(0) + size_, 1);
  }

  void count_destinations() {
    for (std::size_t l = 0; l < leaf_count(in_.tree); ++l) {
      const std::uint8_t* y = truth(l);
      const std::int32_t* climb = in_.answers.climb.node(l).data() + begin_;
      std::int64_t* row = counts.destinations.data() + l * (node_count(in_.tree) + 1);
      for (std::size_t i = 0; i < size_; ++i) {
        if (y[i] == 1) {
          ++row[climb[i] - kWithdrawn];
          ++counts.true_leaves;
        }
      }
    }
  }

  // Marks go down the tree: a node is marked where it or an ancestor is reported. Parents have higher numbers.
  void count_covered() {
    for (std::size_t v = node_count(in_.tree); v-- > 0;) {
      std::uint8_t* here = marks(v);
      std::copy_n(frontier(v), size_, here);
      if (v + 1 < node_count(in_.tree)) {
        join(here, marks(parent_of(in_.tree, v)));
      }
    }
    for (std::size_t l = 0; l < leaf_count(in_.tree); ++l) {
      const std::uint8_t *y = truth(l), *here = marks(l);
      std::uint32_t covered = 0;
      for (std::size_t i = 0; i < size_; ++i) {
        covered += (y[i] == 1) & (here[i] != 0);
      }
      counts.covered += covered;
    }
  }

  // Marks go up the tree: a node is marked where it or a descendant is reported.
  void count_closed() {
    const std::size_t root = node_count(in_.tree) - 1;
    for (std::size_t v = 0; v < root; ++v) {
      std::copy_n(frontier(v), size_, marks(v));
    }
    for (std::size_t v = 0; v < root; ++v) {  // children come before their parents: marks of v are complete
      if (const std::size_t parent = parent_of(in_.tree, v); parent != root) {
        join(marks(parent), marks(v));
      }
      const std::uint8_t *y = truth(v), *here = marks(v);
      std::uint32_t reported = 0, right = 0, both = 0;
      for (std::size_t i = 0; i < size_; ++i) {
        reported += (here[i] != 0) & (y[i] != kUnknown);
        right += y[i] == 1;
        both += (here[i] != 0) & (y[i] == 1);
      }
      counts.closed_reported += reported;
      counts.closed_true += right;
      counts.closed_both += both;
    }
  }

  void join(std::uint8_t* to, const std::uint8_t* from) {
    for (std::size_t i = 0; i < size_; ++i) {
      to[i] |= from[i];
    }
  }

  const Inputs& in_;
  std::vector<std::uint8_t> marks_;  // (V, kBlock)
  std::size_t begin_ = 0, size_ = 0;
};

Counts count_all(const Inputs& in, int threads) {
  Counts total(in.tree);
  const std::size_t blocks = quotient_up(in.posterior.images, kBlock);
#pragma omp parallel num_threads(threads)
  {
    BlockCounter counter(in);
#pragma omp for schedule(static)
    for (std::size_t block = 0; block < blocks; ++block) {
      counter.count(block);
    }
#pragma omp critical(densetree_confidence)
    total.add(counter.counts);
  }
  return total;
}

Reports reports_of(const Counts::OfReports& counts, std::int64_t found, std::int64_t true_leaves, std::size_t images) {
  Reports reports;
  reports.coverage = ratio(counts.images, static_cast<std::int64_t>(images)).value_or(0);
  reports.reported = counts.reported;
  reports.right = counts.right;
  reports.precision = ratio(counts.right, counts.reported);
  reports.recall = ratio(found, true_leaves);
  return reports;
}

void set_destinations(ConfidenceAtT& result, const Counts& counts, const LabelTree& tree) {
  std::int64_t kept = 0, withdrawn = 0;
  for (std::size_t l = 0; l < leaf_count(tree); ++l) {
    const auto row = std::span(counts.destinations).subspan(l * (node_count(tree) + 1), node_count(tree) + 1);
    result.destinations.push_back({row[0], {row.begin() + 1, row.end()}});
    kept += row[l + 1];
    withdrawn += row[0];
  }
  result.true_leaves = counts.true_leaves;
  result.persist = ratio(kept, counts.true_leaves);
  result.soften = ratio(counts.true_leaves - kept - withdrawn, counts.true_leaves);
  result.withdrawn = ratio(withdrawn, counts.true_leaves);
}

void set_hierarchical(ConfidenceAtT& result, const Counts& counts) {
  result.hierarchical_precision = ratio(counts.closed_both, counts.closed_reported);
  result.hierarchical_recall = ratio(counts.closed_both, counts.closed_true);
  if (result.hierarchical_precision && result.hierarchical_recall) {
    result.hierarchical_f = ratio(2 * counts.closed_both, counts.closed_reported + counts.closed_true);
  }
}

ConfidenceAtT::AucAtT auc_at(double threshold, std::span<const double> posterior, std::span<const std::uint8_t> truth) {
  std::vector<double> scores;
  std::vector<float> targets;
  std::int64_t known = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    if (truth[i] != kUnknown) {
      ++known;
      if (std::max(posterior[i], 1 - posterior[i]) >= threshold) {
        scores.push_back(posterior[i]);
        targets.push_back(truth[i]);
      }
    }
  }
  const metrics::Ranking ranking = metrics::rank({scores.data(), scores.size()}, {targets.data(), targets.size()});
  const auto kept = static_cast<std::int64_t>(scores.size());
  return {metrics::auroc(ranking), ratio(kept, known).value_or(0), kept, ranking.positives};
}

// Images where the leaf is true: 1, else 0.
std::vector<std::uint8_t> where_true(std::span<const std::uint8_t> truth) {
  std::vector<std::uint8_t> marks(truth.size());
  std::transform(truth.begin(), truth.end(), marks.begin(), [](std::uint8_t y) { return y == 1; });
  return marks;
}

std::int64_t count_both(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
  std::int64_t count = 0;
  for (std::size_t begin = 0; begin < a.size(); begin += kBlock) {
    const std::size_t end = std::min(a.size(), begin + kBlock);
    std::uint16_t part = 0;  // narrow, so that more of them are added at once
    for (std::size_t i = begin; i < end; ++i) {
      part = static_cast<std::uint16_t>(part + (a[i] & b[i]));
    }
    count += part;
  }
  return count;
}

// One row of marks for each leaf.
std::vector<std::vector<std::uint8_t>> true_leaves(const LabelTree& tree, const NodeTable<std::uint8_t>& truth) {
  std::vector<std::vector<std::uint8_t>> rows;
  for (std::size_t l = 0; l < leaf_count(tree); ++l) {
    rows.push_back(where_true(truth.node(l)));
  }
  return rows;
}

}  // namespace

ConfidenceAtT evaluate_at(const LabelTree& tree, std::string name, std::vector<double> thresholds,
                          const NodeTable<double>& posterior, const NodeTable<std::uint8_t>& truth,
                          const Answers& answers, int threads) {
  const Inputs in{tree, thresholds, posterior, truth, answers};
  check_inputs(in);
  const int used = threads > 0 ? threads : omp_get_max_threads();
  const Counts counts = count_all(in, used);
  ConfidenceAtT result;
  result.leaf = reports_of(counts.leaf, counts.leaf.right, counts.true_leaves, posterior.images);
  result.frontier = reports_of(counts.frontier, counts.covered, counts.true_leaves, posterior.images);
  set_destinations(result, counts, tree);
  set_hierarchical(result, counts);
  result.auc_at_t.resize(leaf_count(tree));
#pragma omp parallel for schedule(dynamic) num_threads(used)
  for (std::size_t l = 0; l < result.auc_at_t.size(); ++l) {
    result.auc_at_t[l] = auc_at(thresholds[l], posterior.node(l), truth.node(l));
  }
  result.name = std::move(name);
  result.thresholds = std::move(thresholds);
  return result;
}

std::vector<Confusion> worst_confusions(const LabelTree& tree, std::span<const double> thresholds,
                                        const NodeTable<double>& posterior, const NodeTable<std::uint8_t>& truth,
                                        std::size_t limit) {
  check_thresholds(thresholds, tree);
  check_table(posterior, node_count(tree), posterior.images, "posteriors");
  check_table(truth, node_count(tree), posterior.images, "truths");
  const auto present = true_leaves(tree, truth);
  std::vector<Confusion> confusions;
  std::vector<std::uint8_t> wrong(posterior.images);
  for (std::size_t a = 0; a < present.size(); ++a) {
    const auto confidence = posterior.node(a);
    const auto y = truth.node(a);
    for (std::size_t i = 0; i < wrong.size(); ++i) {
      wrong[i] = (confidence[i] >= thresholds[a]) & (y[i] == 0);
    }
    const std::int64_t false_reports = count_both(wrong, wrong);
    for (std::size_t b = 0; b < present.size(); ++b) {
      if (const std::int64_t images = count_both(wrong, present[b]); images > 0) {
        confusions.push_back({static_cast<std::int32_t>(a), static_cast<std::int32_t>(b), images, false_reports});
      }
    }
  }
  std::stable_sort(confusions.begin(), confusions.end(),
                   [](const Confusion& a, const Confusion& b) { return a.images > b.images; });
  confusions.resize(std::min(limit, confusions.size()));
  return confusions;
}

std::vector<std::int64_t> co_occurrence(const LabelTree& tree, const NodeTable<std::uint8_t>& truth) {
  check_table(truth, node_count(tree), truth.images, "truths");
  const auto present = true_leaves(tree, truth);
  const std::size_t leaves = present.size();
  std::vector<std::int64_t> together(leaves * leaves);
  for (std::size_t a = 0; a < leaves; ++a) {
    for (std::size_t b = a; b < leaves; ++b) {
      together[a * leaves + b] = together[b * leaves + a] = count_both(present[a], present[b]);
    }
  }
  return together;
}

}  // namespace densetree::tree
