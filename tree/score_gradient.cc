#include "tree/score_gradient.h"

#include "kernels/core/error.h"

namespace densetree::tree {

std::vector<double> score_gradient(const LabelTree& tree, std::int32_t node, Pooling pooling,
                                   std::span<const double> scores) {
  const auto leaves = static_cast<std::size_t>(tree.leaves());
  check(scores.size() == leaves, "{} scores for {} leaves", scores.size(), leaves);
  std::vector<double> gradient(leaves, 0.0);
  if (tree.is_leaf(node)) {
    gradient[static_cast<std::size_t>(node)] = 1;
    return gradient;
  }
  const auto score = [&](std::int32_t leaf) { return scores[static_cast<std::size_t>(leaf)]; };
  const std::vector<std::int32_t>& below = tree.node(node).leaves;
  std::int32_t largest = below.front();
  for (const std::int32_t leaf : below) {
    largest = score(leaf) > score(largest) ? leaf : largest;
  }
  for (const std::int32_t leaf : below) {
    double by_score = pooling == Pooling::kMax ? (leaf == largest ? 1 : 0) : 1;
    for (const std::int32_t other : below) {
      by_score *= pooling == Pooling::kNoisyOr && other != leaf ? 1 - score(other) : 1;
    }
    gradient[static_cast<std::size_t>(leaf)] = by_score * score(leaf) * (1 - score(leaf));
  }
  return gradient;
}

}  // namespace densetree::tree
