#include "tools/trained_model.h"

#include "kernels/core/error.h"

namespace densetree::tools {

TrainedModel::TrainedModel(Device& device, const std::filesystem::path& run, std::int64_t batch_size,
                           bool keep_features)
    : weights(nn::trained_weights(run)) {
  const TensorFile file = TensorFile::open(weights);
  meta = CheckpointMeta::from(file);
  labels = nn::labels_of(meta);
  const InputNormalization expected;
  check(std::equal(std::begin(expected.mean), std::end(expected.mean), meta.preprocessing.normalization.mean) &&
            std::equal(std::begin(expected.std), std::end(expected.std), meta.preprocessing.normalization.std) &&
            meta.preprocessing.pixel_min == 0 && meta.preprocessing.pixel_max == 255,
        "{}: it was trained with another pixel range or normalisation than 0 … 255 and ImageNet's", file.source());
  nn::ModelOptions options{.arch = nn::parse_architecture(meta.arch),
                           .labels = static_cast<std::int64_t>(labels.size()),
                           .batch_size = batch_size,
                           .image_size = meta.preprocessing.image_size,
                           .source_size = meta.preprocessing.source_size,
                           .training = false,
                           .keep_features = keep_features,
                           .positive_weights = {}};
  model = std::make_unique<nn::Model>(device, options);
  model->load(file, LoadPolicy::kStrict, false, 1);
}

void TrainedModel::check_source(const data::Dataset& dataset) const {
  const std::int64_t wanted = meta.preprocessing.source_size;
  check(dataset.image_size() == wanted,
        "{} holds images of {} pixels a side and {} was trained on {}; prepare the data with --size {}",
        dataset.folder().string(), dataset.image_size(), weights.string(), wanted, wanted);
}

}  // namespace densetree::tools
