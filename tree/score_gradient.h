// How much a node's score moves with the logits of the leaves: what a heat map of an inner node is weighed by.
#pragma once

#include <span>
#include <vector>

#include "kernels/core/tree_types.h"
#include "tree/label_tree.h"

namespace densetree::tree {

// ∂score(v)/∂z_l for every leaf l, where s_l = sigmoid(z_l) is in `scores`: [L]; 0 for leaves not below v. A sum counts
// as if it were not clipped, a maximum as its first largest leaf. For a leaf: 1 at itself, its logit being the
// evidence.
std::vector<double> score_gradient(const LabelTree& tree, std::int32_t node, Pooling pooling,
                                   std::span<const double> scores);

}  // namespace densetree::tree
