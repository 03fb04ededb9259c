// A trained network ready to predict: weights, labels and preprocessing from a checkpoint.
#pragma once

#include <filesystem>
#include <memory>

#include "data/dataset.h"
#include "data/labels.h"
#include "engine/checkpoint_meta.h"
#include "nn/model.h"

namespace densetree::nn {

// A checkpoint, before there is a model of it.
struct TrainedWeights {
  // A run, whose best epoch is taken, or the file of a checkpoint. Throws Error where its images were scaled otherwise
  // than here.
  explicit TrainedWeights(const std::filesystem::path& run);

  // Of a model that holds these weights.
  ModelOptions options() const;

  TensorFile file;
  CheckpointMeta meta;
};

struct TrainedModel {
  CheckpointMeta meta;
  data::LabelSet labels;
  std::filesystem::path weights;
  std::unique_ptr<Model> model;

  // With keep_features its Model::features() can be read after each infer().
  TrainedModel(Device& device, const std::filesystem::path& run, std::int64_t batch_size, bool keep_features = false);
  // Throws Error where a data set's images have another size than those it was trained on.
  void check_source(const data::Dataset& dataset) const;
};

}  // namespace densetree::nn
