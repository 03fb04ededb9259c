// Runs a trained model over many images.
#pragma once

#include <functional>
#include <vector>

#include "engine/data/dataset.h"
#include "engine/data/labels.h"
#include "nn/model.h"

namespace densetree::nn {

struct Scores {
  std::vector<float> logits;          // (N, L)
  std::vector<double> probabilities;  // (N, L)
  std::vector<float> targets;         // (N, L), NaN where missing
};

// For the given rows of a data set, in their order. progress(images done) is called after each batch.
Scores score(Model& model, const data::Dataset& dataset, const data::LabelSet& labels,
             const std::vector<std::int64_t>& rows, const std::function<void(std::int64_t)>& progress = {});

// The features that the classifier sees, (N, features), batch by batch in the rows' order: take(values of the images
// of one batch).
void embed(Model& model, const data::Dataset& dataset, const std::vector<std::int64_t>& rows,
           const std::function<void(std::span<const float>)>& take);

// Mean loss of logits (N, L) over the targets that are not missing, in float64.
double mean_loss(LossKind kind, const Scores& scores, const std::vector<float>& positive_weights);

}  // namespace densetree::nn
