#include "nn/trainer.h"

#include <chrono>

#include "engine/io/csv.h"
#include "engine/io/file.h"
#include "kernels/core/error.h"
#include "nn/checkpoint_labels.h"
#include "nn/run_config.h"

namespace densetree::nn {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDataKey = "densetree.data";      // hashes of images and index that it is trained on
constexpr const char* kCounters = "progress.counters";  // I64: epoch, batch, since_best, since_drop, drops
constexpr const char* kLosses = "progress.losses";      // F64: loss_sum, best_loss

const std::vector<std::string> kColumns{
    "epoch", "steps", "lr", "train_loss", "val_loss", "val_mean_auroc", "seconds", "images_per_second", "waiting"};

ModelOptions model_options(const TrainOptions& o, const data::Dataset& dataset, std::vector<float> positive_weights) {
  return {.arch = o.arch,
          .labels = static_cast<std::int64_t>(o.labels.size()),
          .batch_size = o.batch_size,
          .image_size = o.image_size,
          .source_size = dataset.image_size(),
          .memory = o.memory,
          .batch_norm = o.batch_norm,
          .precision = o.precision,
          .loss = o.loss,
          .positive_weights = std::move(positive_weights),
          .capture = o.capture};
}

// Per label: negatives over positives among the rows, within 1 … 50; empty unless asked for.
std::vector<float> positive_weights_of(const TrainOptions& o, const data::Dataset& dataset,
                                       const std::vector<std::int64_t>& rows) {
  if (!o.balanced) {
    return {};
  }
  std::vector<double> positives(o.labels.size(), 0);
  std::vector<float> targets(o.labels.size());
  for (const std::int64_t row : rows) {
    o.labels.targets(dataset.row(row).findings, targets);
    for (std::size_t label = 0; label < targets.size(); ++label) {
      positives[label] += targets[label];
    }
  }
  std::vector<float> weights;
  for (const double count : positives) {
    const double ratio = (static_cast<double>(rows.size()) - count) / std::max(1.0, count);
    weights.push_back(static_cast<float>(std::clamp(ratio, 1.0, 50.0)));
  }
  return weights;
}

void validate(const TrainOptions& o, const data::Dataset& dataset) {
  check_settings(o);
  o.augment.validate();
  const auto train = static_cast<std::int64_t>(dataset.rows_of(data::Side::kTrain).size());
  check(train >= o.batch_size, "{} has {} training images, fewer than the batch size of {}; use a smaller --batch-size",
        dataset.folder().string(), train, o.batch_size);
}

}  // namespace

Trainer::Trainer(Device& device, const data::Dataset& dataset, TrainOptions options, const fs::path& run, Begin begin,
                 TrainListener listener)
    : options_((validate(options, dataset), std::move(options))),
      dataset_(dataset),
      run_(run, begin),
      listener_(std::move(listener)),
      train_rows_(dataset.rows_of(data::Side::kTrain)),
      val_rows_(dataset.rows_of(data::Side::kVal)),
      positive_weights_(positive_weights_of(options_, dataset, train_rows_)),
      model_(device, model_options(options_, dataset, positive_weights_)) {
  batches_ = static_cast<std::int64_t>(train_rows_.size()) / options_.batch_size;
  rows_ = {csv_row(kColumns)};
  const std::string settings = run_config(options_, dataset.folder().string(), run_.tree());
  if (run_.resumes()) {
    if (const std::vector<std::string> missing = check_same_settings(options_, run_.config()); !missing.empty()) {
      note(fmt::format("{} does not say {}; the defaults are taken", run_.config().string(), listed(missing, "and")));
    }
    const bool same_data = restore(begin == Begin::kResumeOtherData);
    run_.write(run_.config(), settings);  // with the epochs that it has now
    if (!same_data) {
      save(run_.last(), true);  // so that it goes on with these from here on
    }
    write_implementations();
    return;
  }
  if (begin == Begin::kResume || begin == Begin::kResumeOtherData) {
    note("the run was cut off before its first checkpoint: begins again");
  }
  model_.initialize(options_.seed);
  if (!options_.init.empty()) {
    const TensorFile file = TensorFile::open(options_.init);
    check_finite(file);
    for (const std::string& text : model_.load(file, LoadPolicy::kAllowNewClassifier, false, options_.seed)) {
      note(text);
    }
  }
  run_.clear();
  if (!options_.tree.empty()) {
    run_.write(run_.tree(), options_.tree);
  }
  std::vector<data::DataRow> rows = dataset.rows_with_pixels(dataset.all_rows());
  if (!options_.init.empty() && fs::exists(run_data(fs::path(options_.init).parent_path()))) {
    rows = data::united(data::read_known_rows(run_data(fs::path(options_.init).parent_path())), rows);
  }
  run_.write(run_.data(), data::data_index_csv(rows));
  run_.write(run_.config(), settings);
  write_implementations();
  save(run_.last(), true);  // a kill during the first epoch is resumed like any other
}

void Trainer::note(const std::string& text) const {
  if (listener_.note) {
    listener_.note(text);
  }
}

// What computes the convolutions here. Where that is not what the run was computed with before, a resumed run differs
// in its last bits from one that was not interrupted.
void Trainer::write_implementations() const {
  const std::string here = model_.plan().training()->tape.implementations();
  if (fs::exists(run_.implementations()) && read_file(run_.implementations()) != here) {
    note(fmt::format("other implementations of convolutions than before, so last bits may differ; see {}",
                     run_.implementations().string()));
  }
  run_.write(run_.implementations(), here);
}

bool Trainer::is_complete() const {
  return progress_.epoch >= options_.epochs ||
         (options_.early_stopping > 0 && progress_.since_best >= options_.early_stopping);
}

bool Trainer::train(Requests& requests) {
  while (!is_complete()) {
    if (!train_epoch(requests)) {
      save(run_.last(), true);
      return false;
    }
  }
  if (progress_.epoch < options_.epochs) {
    note(fmt::format("stopped early: no better validation loss in {} epochs", progress_.since_best));
  }
  return true;
}

double Trainer::rate() const {
  return options_.lr * options_.schedule.factor(model_.steps(), batches_, options_.epochs * batches_, progress_.drops);
}

bool Trainer::train_epoch(Requests& requests) {
  data::LoaderOptions o{.batch_size = options_.batch_size,
                        .output_size = options_.image_size,
                        .seed = options_.seed,
                        .shuffle = true,
                        .drop_last = true,
                        .workers = options_.workers,
                        .augment = options_.augment};
  data::Loader loader(dataset_, options_.labels, train_rows_, o);
  loader.start(progress_.epoch, progress_.batch);
  first_batch_ = progress_.batch;
  const auto start = std::chrono::steady_clock::now();
  while (const data::Batch* batch = next_batch(loader)) {
    if (requests.stop) {
      collect(0);
      return false;
    }
    queue_step(*batch);
    const bool asked = requests.save.exchange(false);
    const bool checkpoint = asked || (options_.checkpoint_steps > 0 && model_.steps() % options_.checkpoint_steps == 0);
    collect(checkpoint ? 0 : 1);
    if (checkpoint) {
      save(run_.last(), true);
    }
    if (asked) {
      note(fmt::format("saved as asked, at epoch {}, step {} of {}", progress_.epoch + 1, progress_.batch, batches_));
    }
  }
  collect(0);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return finish_epoch(requests, seconds, loader.waited_seconds() / std::max(seconds, 1e-9));
}

// Where the loader is behind, the device first finishes what it has: then all the time that next() waits, and counts,
// is time in which the device waits too.
const data::Batch* Trainer::next_batch(data::Loader& loader) {
  const Range range(model_.device(), "next batch");
  if (!loader.ready()) {
    collect(0);
  }
  return loader.next();
}

void Trainer::queue_step(const data::Batch& batch) {
  const Range range(model_.device(), "queue a step");
  model_.set_images(batch.pixels, batch.transforms, true);
  model_.set_targets(batch.targets);
  model_.train_step({.lr = rate(), .weight_decay = options_.weight_decay, .clip_norm = options_.clip_norm});
  ++queued_;
}

// Waits for queued steps until only `leave` are left, and books their losses. With one left, the device computes while
// the next batch is fetched and sent.
void Trainer::collect(int leave) {
  const Range range(model_.device(), "collect losses");
  for (; queued_ > leave; --queued_) {
    const double loss = model_.loss(queued_ - 1);
    check(std::isfinite(loss), "the loss became {} in epoch {}, step {}; use a smaller --lr or --clip-norm 1", loss,
          progress_.epoch + 1, progress_.batch + 1);
    progress_.loss_sum += loss;
    ++progress_.batch;
    if (listener_.progress) {
      listener_.progress(progress_.epoch + 1, progress_.batch * options_.batch_size, batches_ * options_.batch_size,
                         progress_.loss_sum / static_cast<double>(progress_.batch));
    }
  }
}

// Validates and books the epoch. False where it was told to stop meanwhile: then the validation is still to do.
bool Trainer::finish_epoch(Requests& requests, double seconds, double waiting) {
  const double images = static_cast<double>((batches_ - first_batch_) * options_.batch_size);
  EpochMetrics metrics{.epoch = progress_.epoch + 1,
                       .steps = model_.steps(),
                       .lr = options_.lr * options_.schedule.factor(model_.steps() - 1, batches_,
                                                                    options_.epochs * batches_, progress_.drops),
                       .train_loss = progress_.loss_sum / static_cast<double>(batches_),
                       .val_auroc = std::nullopt,
                       .seconds = seconds,
                       .images_per_second = images / std::max(seconds, 1e-9),
                       .waiting = waiting};
  metrics.val_loss = metrics.train_loss;  // without validation images the training loss decides
  if (!val_rows_.empty()) {
    const Range range(model_.device(), "validate");
    const Scores scores =
        score(model_, dataset_, options_.labels, val_rows_, [&](std::int64_t) { return !requests.stop; });
    if (scores.logits.size() < val_rows_.size() * options_.labels.size()) {
      return false;
    }
    metrics.val_loss = mean_loss(options_.loss, scores, positive_weights_);
    if (listener_.auroc) {
      metrics.val_auroc = listener_.auroc(scores, static_cast<std::int64_t>(options_.labels.size()));
    }
  }
  const bool better = metrics.val_loss < progress_.best_loss;
  progress_.best_loss = std::min(progress_.best_loss, metrics.val_loss);
  progress_.since_best = better ? 0 : progress_.since_best + 1;
  progress_.since_drop = better ? 0 : progress_.since_drop + 1;
  if (progress_.since_drop > options_.schedule.patience) {
    ++progress_.drops;
    progress_.since_drop = 0;
  }
  ++progress_.epoch;
  progress_.batch = 0;
  progress_.loss_sum = 0;
  rows_.push_back(csv_row(std::vector<std::string>{
      std::to_string(metrics.epoch), std::to_string(metrics.steps), fmt::format("{}", metrics.lr),
      fmt::format("{}", metrics.train_loss), fmt::format("{}", metrics.val_loss),
      metrics.val_auroc ? fmt::format("{}", *metrics.val_auroc) : "", fmt::format("{:.3f}", metrics.seconds),
      fmt::format("{:.2f}", metrics.images_per_second), fmt::format("{:.4f}", metrics.waiting)}));
  write_metrics();
  if (better) {
    save(run_.best(), false);
  }
  save(run_.last(), true);
  if (listener_.epoch) {
    listener_.epoch(metrics, better);
  }
  return true;
}

void Trainer::write_metrics() const {
  std::string text;
  for (const std::string& row : rows_) {
    text += row;
  }
  run_.write(run_.metrics(), text);
}

void Trainer::save(const fs::path& path, bool state) {
  const Range range(model_.device(), "save");
  CheckpointMeta meta{
      .arch = options_.arch.name,
      .labels = {},
      .preprocessing = {.source_size = dataset_.image_size(), .image_size = options_.image_size, .normalization = {}},
      .step = model_.steps(),
      .epoch = progress_.epoch,
      .extra = {}};
  store_labels(meta, options_.labels);
  meta.extra[kDataKey] = hash_of_data();
  TensorWriter writer;
  for (const auto& [key, value] : meta.to_metadata()) {
    writer.set_metadata(key, value);
  }
  model_.save(writer, state);
  const Progress& p = progress_;
  const std::vector<std::int64_t> counters{p.epoch, p.batch, p.since_best, p.since_drop, p.drops};
  const std::vector<double> losses{p.loss_sum, p.best_loss};
  if (state) {
    writer.add(kCounters, TensorType::kInt64, {static_cast<std::int64_t>(counters.size())}, counters.data());
    writer.add(kLosses, TensorType::kFloat64, {static_cast<std::int64_t>(losses.size())}, losses.data());
  }
  AtomicFile file = run_.open(path);
  writer.write(file);
}

// Returns whether the data are those of before.
bool Trainer::restore(bool any_data) {
  const TensorFile file = TensorFile::open(run_.last());
  check_finite(file);
  const CheckpointMeta meta = CheckpointMeta::from(file);
  check(meta.labels == options_.labels.names(), "{}: it was trained on other labels", file.source());
  const bool same_data = is_same_data(meta, any_data);
  model_.load(file, LoadPolicy::kStrict, true, options_.seed);
  const std::vector<std::int64_t> counters = file.at(kCounters).to_int64();
  const std::vector<double> losses = file.at(kLosses).to_float64();
  check(counters.size() == 5 && losses.size() == 2 && counters[0] >= 0 && counters[1] >= 0 &&
            (counters[1] <= batches_ || !same_data),
        "{}: its progress makes no sense", file.source());
  progress_ = {counters[0], counters[1], losses[0], losses[1], counters[2], counters[3], counters[4]};
  if (!same_data) {
    note("goes on with other data than before; an unfinished epoch begins again");
    progress_.batch = 0, progress_.loss_sum = 0;
  }
  if (progress_.epoch > 0) {
    const CsvTable table = CsvTable::read(run_.metrics());
    check(table.header() == kColumns && table.rows() >= static_cast<std::size_t>(progress_.epoch),
          "{}: it does not hold the {} epochs that are done", table.source(), progress_.epoch);
    for (std::int64_t epoch = 0; epoch < progress_.epoch; ++epoch) {
      rows_.push_back(csv_row(table.row(epoch)));
    }
  }
  note(fmt::format("resumed at epoch {}, step {} of {}", progress_.epoch + 1, progress_.batch, batches_));
  return same_data;
}

// Whether the run was last trained on this data set. Throws Error where not, unless it may go on with any: then the run
// knows the images of both from here on.
bool Trainer::is_same_data(const CheckpointMeta& meta, bool any_data) {
  const auto data = meta.extra.find(kDataKey);
  if (data != meta.extra.end() && data->second == hash_of_data()) {
    return true;
  }
  const std::vector<data::DataRow> rows = dataset_.rows_with_pixels(dataset_.all_rows()),
                                   known = data::read_known_rows(run_.data());
  const std::string conflict = data::find_conflict(known, rows);
  check(any_data,
        "{} is not the data that {} was trained on: {}; begin a new run, perhaps from its weights with --init, or "
        "insist with --other-split",
        dataset_.folder().string(), run_.path().string(),
        conflict.empty() ? "its images or patients are others" : conflict);
  run_.write(run_.data(), data::data_index_csv(data::united(known, rows)));
  return false;
}

std::string Trainer::hash_of_data() const {
  return dataset_.images_hash() + dataset_.index_hash();
}

}  // namespace densetree::nn
