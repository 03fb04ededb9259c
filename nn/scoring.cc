#include "nn/scoring.h"

#include "engine/data/loader.h"
#include "kernels/functors/loss.h"

namespace densetree::nn {

namespace {

// Runs the model over the rows; body(batch) is called with the results of each in the model.
void infer_all(Model& model, const data::Dataset& dataset, const data::LabelSet& labels,
               const std::vector<std::int64_t>& rows, const std::function<void(const data::Batch&)>& body) {
  const ModelOptions& o = model.options();
  data::LoaderOptions options;
  options.batch_size = o.batch_size;
  options.output_size = o.image_size;
  data::Loader loader(dataset, labels, rows, options);
  loader.start(0);
  while (const data::Batch* batch = loader.next()) {
    const auto count = static_cast<std::size_t>(batch->count);
    model.set_images(batch->pixels.first(count * o.source_size * o.source_size), batch->transforms.first(count), false);
    model.infer();
    body(*batch);
  }
}

}  // namespace

Scores score(Model& model, const data::Dataset& dataset, const data::LabelSet& labels,
             const std::vector<std::int64_t>& rows, const std::function<void(std::int64_t)>& progress) {
  const std::int64_t columns = model.options().labels;
  Scores scores;
  scores.logits.reserve(rows.size() * columns);
  infer_all(model, dataset, labels, rows, [&](const data::Batch& batch) {
    const std::vector<float> logits = model.logits();
    const std::int64_t values = batch.count * columns;
    scores.logits.insert(scores.logits.end(), logits.begin(), logits.begin() + values);
    scores.targets.insert(scores.targets.end(), batch.targets.begin(), batch.targets.begin() + values);
    if (progress) {
      progress(static_cast<std::int64_t>(scores.logits.size()) / columns);
    }
  });
  scores.probabilities.reserve(scores.logits.size());
  for (const float logit : scores.logits) {
    scores.probabilities.push_back(sigmoid_of(logit));
  }
  return scores;
}

void embed(Model& model, const data::Dataset& dataset, const std::vector<std::int64_t>& rows,
           const std::function<void(std::span<const float>)>& take) {
  const std::int64_t features = model.options().arch.features();
  infer_all(model, dataset, data::LabelSet(), rows, [&](const data::Batch& batch) {
    const std::vector<float> values = model.embeddings();
    take(std::span(values).first(batch.count * features));
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
