// Runs a trained model over images: from pixels to logits, features and probabilities, the same way for every command.
// An output that is not finite is an Error that names the image and where in the network it comes from.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/labels.h"
#include "nn/model.h"

namespace densetree::nn {

// Up to a batch of images on their way through a model.
struct ImageBatch {
  std::span<const std::uint8_t> pixels;          // (count, S, S), S the model's source size
  std::span<const ImageTransform> transforms;    // (count)
  std::function<std::string(std::size_t)> name;  // of an image, for messages
  Place place = Place::kHost;                    // of the pixels
};

std::vector<float> infer_logits(Model& model, const ImageBatch& images);      // (count, L)
std::vector<float> infer_embeddings(Model& model, const ImageBatch& images);  // (count, features)
// Both from one pass into memory of the caller, each where it is not empty. Allocates nothing.
void infer(Model& model, const ImageBatch& images, std::span<float> logits, std::span<float> embeddings);
std::vector<double> probabilities_of(std::span<const float> logits);
void probabilities_of(std::span<const float> logits, std::span<double> probabilities);  // as many

struct Scores {
  std::vector<float> logits;          // (N, L)
  std::vector<double> probabilities;  // (N, L)
  std::vector<float> targets;         // (N, L), NaN where missing
};

// For the given rows of a data set, in their order. progress(images done) is called after each batch; where it returns
// false, the scores of the images so far are returned.
Scores score(Model& model, const data::Dataset& dataset, const data::LabelSet& labels,
             const std::vector<std::int64_t>& rows, const std::function<bool(std::int64_t)>& progress = {});

// The features that the classifier sees, (N, features), batch by batch in the rows' order: take(values of the images
// of one batch).
void embed(Model& model, const data::Dataset& dataset, const std::vector<std::int64_t>& rows,
           const std::function<void(std::span<const float>)>& take);

// Mean loss of logits (N, L) over the targets that are not missing, in float64.
double mean_loss(LossKind kind, const Scores& scores, const std::vector<float>& positive_weights);

}  // namespace densetree::nn
