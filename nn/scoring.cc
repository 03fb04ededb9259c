#include "nn/scoring.h"

#include <algorithm>
#include <cmath>

#include "data/loader.h"
#include "kernels/core/error.h"
#include "kernels/functors/loss.h"

namespace densetree::nn {

namespace {

// Throws Error where `values` (count, columns) of some image are not all finite, or weights are not.
void check_finite(Model& model, const ImageBatch& images, std::span<const float> values) {
  const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (bad == values.end()) {
    if (!model.weight_fault().empty()) {
      fail("{}: is not answered by a network of which {}", images.name(0), model.weight_fault());
    }
    return;
  }
  const std::size_t columns = values.size() / images.transforms.size(),
                    image = static_cast<std::size_t>(bad - values.begin()) / columns,
                    pixels = images.pixels.size() / images.transforms.size();
  fail("{}: the network's output is {}; {}", images.name(image), *bad,
       model.trace_not_finite(images.pixels.subspan(image * pixels, pixels), images.transforms.subspan(image, 1),
                              images.place));
}

// body(images, batch) for one batch of the rows after the other, until it returns false.
void for_each_batch(const Model& model, const data::Dataset& dataset, const data::LabelSet& labels,
                    const std::vector<std::int64_t>& rows,
                    const std::function<bool(const ImageBatch&, const data::Batch&)>& body) {
  const ModelOptions& o = model.options();
  data::LoaderOptions options;
  options.batch_size = o.batch_size;
  options.output_size = o.image_size;
  data::Loader loader(dataset, labels, rows, options);
  loader.start(0);
  std::size_t begin = 0;
  while (const data::Batch* batch = loader.next()) {
    const auto count = static_cast<std::size_t>(batch->count);
    const ImageBatch images{batch->pixels.first(count * o.source_size * o.source_size), batch->transforms.first(count),
                            [&](std::size_t i) { return dataset.row(rows[begin + i]).image; }};
    if (!body(images, *batch)) {
      return;
    }
    begin += count;
  }
}

}  // namespace

void infer(Model& model, const ImageBatch& images, std::span<float> logits, std::span<float> embeddings) {
  model.set_images(images.pixels, images.transforms, false, images.place);
  model.infer();
  if (!logits.empty()) {
    model.read_logits(logits);
    check_finite(model, images, logits);
  }
  if (!embeddings.empty()) {
    model.read_embeddings(embeddings);
    check_finite(model, images, embeddings);
  }
}

std::vector<float> infer_logits(Model& model, const ImageBatch& images) {
  std::vector<float> logits(images.transforms.size() * static_cast<std::size_t>(model.options().labels));
  infer(model, images, logits, {});
  return logits;
}

std::vector<float> infer_embeddings(Model& model, const ImageBatch& images) {
  std::vector<float> values(images.transforms.size() * static_cast<std::size_t>(model.options().arch.features()));
  infer(model, images, {}, values);
  return values;
}

std::vector<double> probabilities_of(std::span<const float> logits) {
  std::vector<double> probabilities(logits.size());
  probabilities_of(logits, probabilities);
  return probabilities;
}

void probabilities_of(std::span<const float> logits, std::span<double> probabilities) {
  std::transform(logits.begin(), logits.end(), probabilities.begin(), [](float z) { return sigmoid_of(z); });
}

Scores score(Model& model, const data::Dataset& dataset, const data::LabelSet& labels,
             const std::vector<std::int64_t>& rows, const std::function<bool(std::int64_t)>& progress) {
  const std::int64_t columns = model.options().labels;
  Scores scores;
  scores.logits.reserve(rows.size() * columns);
  for_each_batch(model, dataset, labels, rows, [&](const ImageBatch& images, const data::Batch& batch) {
    const std::vector<float> logits = infer_logits(model, images);
    scores.logits.insert(scores.logits.end(), logits.begin(), logits.end());
    scores.targets.insert(scores.targets.end(), batch.targets.begin(), batch.targets.begin() + batch.count * columns);
    return !progress || progress(static_cast<std::int64_t>(scores.logits.size()) / columns);
  });
  scores.probabilities = probabilities_of(scores.logits);
  return scores;
}

void embed(Model& model, const data::Dataset& dataset, const std::vector<std::int64_t>& rows,
           const std::function<void(std::span<const float>)>& take) {
  for_each_batch(model, dataset, data::LabelSet(), rows, [&](const ImageBatch& images, const data::Batch&) {
    take(infer_embeddings(model, images));
    return true;
  });
}

double mean_loss(LossKind kind, const Scores& scores, const std::vector<float>& positive_weights) {
  const std::size_t labels = positive_weights.empty() ? 1 : positive_weights.size();
  const float* weights = positive_weights.empty() ? nullptr : positive_weights.data();
  double sum = 0;
  std::int64_t present = 0;
  for (std::size_t i = 0; i < scores.logits.size(); ++i) {
    const double z = scores.logits[i], y = scores.targets[i];
    if (std::isnan(y)) {
      continue;
    }
    const LossTerm term = kind == LossKind::kMse ? mse_term(z, y) : bce_term(z, y);
    sum += term.value * target_weight(scores.targets[i], weights, static_cast<long>(i % labels));
    ++present;
  }
  return present > 0 ? sum / static_cast<double>(present) : 0;
}

}  // namespace densetree::nn
