#include "nn/trained_model.h"

#include <algorithm>

#include "kernels/core/error.h"
#include "nn/checkpoint_labels.h"
#include "nn/run_folder.h"

namespace densetree::nn {

namespace fs = std::filesystem;

TrainedWeights::TrainedWeights(const fs::path& run)
    : file(TensorFile::open(fs::is_regular_file(run) ? run : trained_weights(run))), meta(CheckpointMeta::from(file)) {
  const InputNormalization expected;
  check(std::equal(std::begin(expected.mean), std::end(expected.mean), meta.preprocessing.normalization.mean) &&
            std::equal(std::begin(expected.std), std::end(expected.std), meta.preprocessing.normalization.std) &&
            meta.preprocessing.pixel_min == 0 && meta.preprocessing.pixel_max == 255,
        "{}: it was trained with another pixel range or normalisation than 0 … 255 and ImageNet's", file.source());
}

ModelOptions TrainedWeights::options() const {
  ModelOptions options;
  options.arch = parse_architecture(meta.arch);
  options.labels = static_cast<std::int64_t>(meta.labels.size());
  options.image_size = meta.preprocessing.image_size;
  options.source_size = meta.preprocessing.source_size;
  return options;
}

TrainedModel::TrainedModel(Device& device, const fs::path& run, std::int64_t batch_size, bool keep_features) {
  const TrainedWeights trained(run);
  meta = trained.meta;
  labels = labels_of(meta);
  weights = trained.file.source();
  ModelOptions options = trained.options();
  options.batch_size = batch_size;
  options.training = false;
  options.keep_features = keep_features;
  model = std::make_unique<Model>(device, options);
  model->load(trained.file, LoadPolicy::kStrict, false, 1);
}

void TrainedModel::check_source(const data::Dataset& dataset) const {
  const std::int64_t wanted = meta.preprocessing.source_size;
  check(dataset.image_size() == wanted,
        "{} holds images of {} pixels a side and {} was trained on {}; prepare the data with --size {}",
        dataset.folder().string(), dataset.image_size(), weights.string(), wanted, wanted);
}

}  // namespace densetree::nn
