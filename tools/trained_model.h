// A trained network ready to predict: weights, labels and preprocessing from a run's checkpoint.
#pragma once

#include <filesystem>
#include <memory>

#include "nn/trainer.h"

namespace densetree::tools {

struct TrainedModel {
  CheckpointMeta meta;
  data::LabelSet labels;
  std::filesystem::path weights;
  std::unique_ptr<nn::Model> model;

  // With keep_features its Model::features() can be read after each infer().
  TrainedModel(Device& device, const std::filesystem::path& run, std::int64_t batch_size, bool keep_features = false);
  // Throws Error where a data set's images have another size than those it was trained on.
  void check_source(const data::Dataset& dataset) const;
};

}  // namespace densetree::tools
