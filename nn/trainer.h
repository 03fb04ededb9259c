// Training: epochs over a data set, validation, a run folder (run_folder.h) that a killed training continues from,
// exactly. The last state is written after every epoch, every `checkpoint_steps` steps, and when asked for.
//
// What an epoch does depends on the settings, the data and the state in the checkpoint alone, so a resumed run gives
// the losses and weights of an uninterrupted one, bit for bit, on the same device and number of threads.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/loader.h"
#include "engine/checkpoint_meta.h"
#include "engine/requests.h"
#include "nn/model.h"
#include "nn/run_folder.h"
#include "nn/scoring.h"
#include "nn/train_options.h"

namespace densetree::nn {

struct EpochMetrics {
  std::int64_t epoch = 0, steps = 0;  // epochs done, optimiser steps done
  double lr = 0;                      // of its last step
  double train_loss = 0, val_loss = 0;
  std::optional<double> val_auroc;  // mean over labels where defined
  double seconds = 0, images_per_second = 0;
  double waiting = 0;  // share of the time that the device waited for images
};

// What training tells while it runs; each may be empty.
struct TrainListener {
  std::function<void(const std::string&)> note;
  // Images done and to do in this epoch, and its mean loss so far.
  std::function<void(std::int64_t epoch, std::int64_t done, std::int64_t total, double loss)> progress;
  std::function<void(const EpochMetrics&, bool best)> epoch;
  // Mean AUROC of validation scores, where the caller has one to offer.
  std::function<std::optional<double>(const Scores&, std::int64_t labels)> auroc;
};

class Trainer {
 public:
  // A run that is resumed must have these settings, but for those that may change, and unless Begin says otherwise this
  // data set. Throws Error otherwise.
  Trainer(Device& device, const data::Dataset& dataset, TrainOptions options, const std::filesystem::path& run,
          Begin begin, TrainListener listener);

  // Until the last epoch, early stopping, or a request to stop; then the state is saved and false is returned.
  bool train(Requests& requests);
  bool is_complete() const;                                // there is nothing left to train
  std::int64_t epochs() const { return progress_.epoch; }  // done so far
  Model& model() { return model_; }

 private:
  bool train_epoch(Requests& requests);
  const data::Batch* next_batch(data::Loader& loader);
  void queue_step(const data::Batch& batch);
  void collect(int leave);
  bool finish_epoch(Requests& requests, double seconds, double waiting);
  void save(const std::filesystem::path& path, bool state);
  bool restore(bool any_data);
  std::string hash_of_data() const;
  bool is_same_data(const CheckpointMeta& meta, bool any_data);
  void note(const std::string& text) const;
  void write_metrics() const;
  void write_implementations() const;
  double rate() const;

  TrainOptions options_;
  const data::Dataset& dataset_;
  RunFolder run_;
  TrainListener listener_;
  std::vector<std::int64_t> train_rows_, val_rows_;
  std::vector<float> positive_weights_;
  Model model_;
  std::int64_t first_batch_ = 0;  // of this epoch that was not done before a resumption
  int queued_ = 0;                // steps whose losses are not in progress_ yet

  struct Progress {
    std::int64_t epoch = 0, batch = 0;  // where the next step is, behind those that are queued
    double loss_sum = 0;                // of this epoch's batches so far
    double best_loss = std::numeric_limits<double>::infinity();
    std::int64_t since_best = 0, since_drop = 0, drops = 0;
  } progress_;
  std::int64_t batches_ = 0;       // in an epoch
  std::vector<std::string> rows_;  // of metrics.csv
};

}  // namespace densetree::nn
