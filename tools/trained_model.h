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

  TrainedModel(Device& device, const std::filesystem::path& run, std::int64_t batch_size);
};

}  // namespace densetree::tools
