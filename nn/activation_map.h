// Class activation maps (Zhou et al., CVPR 2016): which places of an image speak for a label.
//
// The classifier reads the mean over pixels of the last feature map, z_l = b_l + Σ_c w_lc · mean f_c. Mean and sum
// commute, so the logit is the bias plus the mean over pixels of the map Σ_c w_lc f_c(y, x): each pixel's share of the
// evidence, exactly. It has the resolution of the feature map, 7×7 for 224×224 pixels.
//
// For a node of a label tree the maps of its leaves add up, each weighed by how much the node's score moves with that
// leaf's logit: to first order, the evidence for the node.
#pragma once

#include <span>

#include "data/heatmap.h"
#include "kernels/core/view.h"

namespace densetree::nn {

// Σ_l g_l Σ_c w_lc f_c(y, x), summed in fp64.
//   features    one image of Model::features(): (C, H, W)
//   shape       of those features; n is not looked at, so that Model::feature_shape() will do
//   classifier  (L, C), "classifier.weight"
//   gradients   g, one per label: for a leaf 1 at its label and 0 elsewhere, for an inner node ∂score/∂logit_l
// Throws Error where the sizes do not go together.
data::HeatMap activation_map(std::span<const float> features, const Shape& shape, std::span<const float> classifier,
                             std::span<const double> gradients);

}  // namespace densetree::nn
