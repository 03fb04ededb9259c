// What a threshold does to the answers (docs/method.md §6 and §8): who is reported, at which level of the tree, and how
// often that is right.
//
// Words. A node is *certain* where C >= its threshold. climb(leaf) is the first certain node on the way from a leaf to
// the root; where there is none the leaf is withdrawn. The frontier of an image is its certain nodes without a certain
// descendant: what is reported.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tree/label_tree.h"
#include "tree/node_table.h"

namespace densetree::tree {

inline constexpr std::int32_t kWithdrawn = -1;

// Answers at one set of thresholds. climb: (L, N) node numbers or kWithdrawn; frontier: (V, N) 0 or 1.
struct Answers {
  NodeTable<std::int32_t> climb;
  NodeTable<std::uint8_t> frontier;
};

// Reports of some kind: certain leaves, or frontier nodes. Nodes of unknown truth are not counted.
struct Reports {
  double coverage = 0;              // share of images with at least one report
  std::int64_t reported = 0;        // over all images
  std::int64_t right = 0;           // of these, true
  std::optional<double> precision;  // right / reported
  std::optional<double> recall;     // of the true leaves, the share reported: itself, or for the frontier itself or
                                    // an ancestor
};

struct ConfidenceAtT {
  std::string name;                // "0.8", or "chosen"
  std::vector<double> thresholds;  // V; infinity: never reported
  Reports leaf, frontier;
  // Of the true leaves: climb gives the leaf itself, an ancestor, nothing. Undefined without true leaves.
  std::int64_t true_leaves = 0;
  std::optional<double> persist, soften, withdrawn;
  // Micro over images, on ancestor-closed sets without the root: of what is reported, and of what is true.
  std::optional<double> hierarchical_precision, hierarchical_recall, hierarchical_f;
  // AUC@T, per leaf: AUROC of C over the images with max(C, 1−C) >= T (T: the leaf's threshold).
  struct AucAtT {
    std::optional<double> auroc;
    double coverage = 0;                     // share of the images with known truth that are kept
    std::int64_t images = 0, positives = 0;  // kept
  };
  std::vector<AucAtT> auc_at_t;  // L
  // Per leaf: of its true images, how many climb where; counts[node], and withdrawn.
  struct Destination {
    std::int64_t withdrawn = 0;
    std::vector<std::int64_t> counts;  // V
  };
  std::vector<Destination> destinations;  // L
};

// posterior, truth (0, 1, 2 = unknown): (V, N). Throws Error where sizes do not agree.
ConfidenceAtT evaluate_at(const LabelTree& tree, std::string name, std::vector<double> thresholds,
                          const NodeTable<double>& posterior, const NodeTable<std::uint8_t>& truth,
                          const Answers& answers, int threads = 0);

// Of the images where leaf `reported` is certain though false: how many have leaf `instead` true.
struct Confusion {
  std::int32_t reported = 0, instead = 0;
  std::int64_t images = 0;         // both
  std::int64_t false_reports = 0;  // of `reported`, in all
};
// The `limit` most frequent, at most. Leaves are called at C >= threshold; ties by node number.
std::vector<Confusion> worst_confusions(const LabelTree& tree, std::span<const double> thresholds,
                                        const NodeTable<double>& posterior, const NodeTable<std::uint8_t>& truth,
                                        std::size_t limit);

// together[a·L + b]: images with both leaves true; the diagonal: images with the leaf true.
std::vector<std::int64_t> co_occurrence(const LabelTree& tree, const NodeTable<std::uint8_t>& truth);

}  // namespace densetree::tree
