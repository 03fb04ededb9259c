// Batches of images for training and evaluation, gathered ahead of time by worker threads.
//
// What a batch holds depends only on the seed, the epoch and its place in the epoch, never on threads or on where
// the epoch was entered: a run that starts at batch 700 sees the bytes that the uninterrupted run saw. Buffers are
// made once, in the constructor; after that nothing allocates. Pixels leave as they are stored: augmentation is a
// transform per image, which op::ImagesToInput applies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "data/augment.h"
#include "data/dataset.h"
#include "data/labels.h"
#include "kernels/core/image_transform.h"

namespace densetree::data {

struct LoaderOptions {
  std::int64_t batch_size = 128;
  std::int64_t output_size = 224;  // side that the transforms sample to
  std::uint64_t seed = 1;
  bool shuffle = false;    // a new order every epoch
  bool drop_last = false;  // leave the remainder of an epoch out
  int workers = 1;         // threads, at least 1
  AugmentOptions augment{.enabled = false};
};

// Row i of each array belongs to image i. Beyond `count`, up to the batch size, rows are zero, transforms plain and
// dataset rows −1.
struct Batch {
  std::int64_t epoch = 0, index = 0;           // which batch of which epoch
  std::int64_t count = 0;                      // images that are real
  std::span<const std::uint8_t> pixels;        // (N, S, S), S = the data set's image size
  std::span<const float> targets;              // (N, L), 1 or 0; NaN is allowed and means unknown
  std::span<const ImageTransform> transforms;  // (N)
  std::span<const std::int64_t> rows;          // (N), of the data set
};

// Writes the targets of a data set's row, one float per label. Called from worker threads.
using TargetSource = std::function<void(std::int64_t row, std::span<float> targets)>;

class Loader {
 public:
  // The data set must outlive the loader. `rows` are rows of the data set, in the order of an unshuffled epoch.
  // Throws Error naming the option that is out of range, a row that is not there, or when no whole batch is left.
  Loader(const Dataset& dataset, const LabelSet& labels, std::vector<std::int64_t> rows, const LoaderOptions& options);
  // The same with targets from elsewhere, for instance a table in which labels are missing (NaN).
  Loader(const Dataset& dataset, std::int64_t label_count, TargetSource targets, std::vector<std::int64_t> rows,
         const LoaderOptions& options);
  ~Loader();  // at any time; waits for the workers

  std::int64_t images() const;   // of an epoch
  std::int64_t batches() const;  // of an epoch

  // Begins an epoch, from batch `first_batch` on; what was going on is given up. May be called any number of times.
  void start(std::int64_t epoch, std::int64_t first_batch = 0);

  // The next batch, or null at the end of the epoch. It stays valid until the following next() or start().
  // Rethrows what a worker threw, at the batch it was working on; start() begins anew.
  const Batch* next();

  // Whether next() would answer at once.
  bool ready() const;

  // Time that next() has waited for workers since start(), in seconds.
  double waited_seconds() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The order of a shuffled epoch: the rows sorted, then Fisher–Yates keyed by seed and epoch. Does not allocate.
void shuffle_rows(std::span<std::int64_t> rows, std::uint64_t seed, std::int64_t epoch);

}  // namespace densetree::data
