#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/philox.h"
#include "kernels/functors/image.h"

namespace densetree::data {
namespace {

constexpr std::int64_t kMaxEpochs = std::int64_t{1} << 32;

struct Slot {
  std::vector<std::uint8_t> pixels;
  std::vector<float> targets;
  std::vector<ImageTransform> transforms;
  std::vector<std::int64_t> rows;
  Batch batch;
  std::int64_t ready = -1;  // the batch that lies here, whole or failed
  std::exception_ptr failure;
};

void validate(const Dataset& dataset, std::int64_t label_count, const std::vector<std::int64_t>& rows,
              const LoaderOptions& options) {
  check(options.batch_size >= 1, "batch size is {}; it must be at least 1", options.batch_size);
  check(options.output_size >= 1, "image size is {}; it must be at least 1", options.output_size);
  check(options.workers >= 1, "loader workers: {}; at least 1 is needed", options.workers);
  check(label_count >= 1, "{} labels; at least 1 is needed", label_count);
  options.augment.validate();
  const auto count = static_cast<std::int64_t>(rows.size());
  check(count >= 1, "{}: no images to load", dataset.folder().string());
  check(!options.drop_last || count >= options.batch_size,
        "{} images do not fill one batch of {}, and incomplete batches are dropped", count, options.batch_size);
  for (const std::int64_t row : rows) {
    check(row >= 0 && row < dataset.size(), "row {} of {}: there are {}", row, dataset.folder().string(),
          dataset.size());
  }
}

// Batches that lie ready or are being made: enough that no worker waits for another.
int queue_depth(const LoaderOptions& options) {
  return std::max(3, options.workers);
}

}  // namespace

void shuffle_rows(std::span<std::int64_t> rows, std::uint64_t seed, std::int64_t epoch) {
  std::sort(rows.begin(), rows.end());
  RandomStream random(seed, RandomUse::kShuffle, static_cast<std::uint32_t>(epoch));
  for (std::size_t left = rows.size(); left > 1; --left) {
    std::swap(rows[left - 1], rows[random.below(static_cast<std::uint32_t>(left))]);
  }
}

// Batch b goes to slot b mod slots. A worker takes the next batch when its slot is free: when the consumer has
// moved past the batch that lay there. One slot more than the queue's depth: the one the consumer reads.
class Loader::Impl {
 public:
  Impl(const Dataset& dataset, std::int64_t label_count, TargetSource targets, std::vector<std::int64_t> rows,
       const LoaderOptions& options)
      : dataset_(dataset),
        options_(options),
        targets_(std::move(targets)),
        label_count_(label_count),
        order_(std::move(rows)),
        slots_(static_cast<std::size_t>(queue_depth(options)) + 1) {
    for (Slot& slot : slots_) {
      make_buffers(slot);
    }
    for (int i = 0; i < options.workers; ++i) {
      workers_.emplace_back([this](const std::stop_token& stop) { work(stop); });
    }
  }

  std::int64_t images() const {
    return options_.drop_last ? batches() * options_.batch_size : static_cast<std::int64_t>(order_.size());
  }
  std::int64_t batches() const {
    const auto count = static_cast<std::int64_t>(order_.size());
    return (options_.drop_last ? count : count + options_.batch_size - 1) / options_.batch_size;
  }

  void start(std::int64_t epoch, std::int64_t first_batch) {
    check(epoch >= 0 && epoch < kMaxEpochs, "epoch is {}; it must lie in [0, {})", epoch, kMaxEpochs);
    check(first_batch >= 0 && first_batch <= batches(), "first batch is {}; the epoch has {}", first_batch, batches());
    std::unique_lock lock(mutex_);
    to_take_ = batches();  // nobody takes another one
    idle_.wait(lock, [&] { return busy_ == 0; });
    for (Slot& slot : slots_) {
      slot.ready = -1, slot.failure = nullptr;
    }
    if (options_.shuffle) {
      shuffle_rows(order_, options_.seed, epoch);
    }
    epoch_ = epoch, to_take_ = to_deliver_ = released_ = first_batch;
    started_ = true, waited_ = {};
    free_.notify_all();
  }

  const Batch* next() {
    std::unique_lock lock(mutex_);
    check(started_, "the loader was asked for a batch before start()");
    if (released_ < to_deliver_) {
      released_ = to_deliver_;  // the caller is done with the batch before
      free_.notify_all();
    }
    if (to_deliver_ == batches()) {
      return nullptr;
    }
    Slot& slot = slot_of(to_deliver_);
    if (slot.ready != to_deliver_) {
      const auto begin = std::chrono::steady_clock::now();
      filled_.wait(lock, [&] { return slot.ready == to_deliver_; });
      waited_ += std::chrono::steady_clock::now() - begin;
    }
    if (slot.failure) {
      std::rethrow_exception(slot.failure);
    }
    ++to_deliver_;
    return &slot.batch;
  }

  bool ready() {
    const std::unique_lock lock(mutex_);
    check(started_, "the loader was asked for a batch before start()");
    return to_deliver_ == batches() || slot_of(to_deliver_).ready == to_deliver_;
  }

  double waited_seconds() const { return std::chrono::duration<double>(waited_).count(); }

 private:
  Slot& slot_of(std::int64_t batch) { return slots_[static_cast<std::size_t>(batch) % slots_.size()]; }

  void make_buffers(Slot& slot) {
    const auto n = static_cast<std::size_t>(options_.batch_size), labels = static_cast<std::size_t>(label_count_);
    const auto bytes = n * static_cast<std::size_t>(dataset_.image_size() * dataset_.image_size());
    slot.pixels.resize(bytes);
    slot.targets.resize(n * labels), slot.transforms.resize(n), slot.rows.resize(n);
    slot.batch.pixels = slot.pixels;
    slot.batch.targets = slot.targets, slot.batch.transforms = slot.transforms, slot.batch.rows = slot.rows;
  }

  void work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    for (;;) {
      const auto can_take = [&] {
        return to_take_ < batches() && to_take_ - released_ < static_cast<std::int64_t>(slots_.size());
      };
      if (!free_.wait(lock, stop, can_take) || stop.stop_requested()) {
        return;
      }
      const std::int64_t index = to_take_++, epoch = epoch_;
      Slot& slot = slot_of(index);
      ++busy_;
      lock.unlock();
      std::exception_ptr failure;
      try {
        fill(slot, epoch, index);
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      slot.ready = index, slot.failure = std::move(failure);
      --busy_;
      filled_.notify_one();
      idle_.notify_one();
    }
  }

  // Outside the lock: the slot is this worker's alone, and the order stands still while anybody is busy.
  void fill(Slot& slot, std::int64_t epoch, std::int64_t index) {
    const std::int64_t first = index * options_.batch_size;
    const std::int64_t count = std::min(options_.batch_size, static_cast<std::int64_t>(order_.size()) - first);
    slot.batch.epoch = epoch, slot.batch.index = index, slot.batch.count = count;
    for (std::int64_t i = 0; i < options_.batch_size; ++i) {
      if (i < count) {
        fill_image(slot, static_cast<std::size_t>(i), order_[static_cast<std::size_t>(first + i)], epoch);
      } else {
        clear_image(slot, static_cast<std::size_t>(i));
      }
    }
  }

  void fill_image(Slot& slot, std::size_t i, std::int64_t row, std::int64_t epoch) {
    const std::span<const std::uint8_t> pixels = dataset_.pixels(row);
    std::memcpy(slot.pixels.data() + i * pixels.size(), pixels.data(), pixels.size());
    targets_(row, targets_of(slot, i));
    slot.transforms[i] =
        augment_transform(options_.augment, options_.seed, static_cast<std::uint32_t>(epoch),
                          static_cast<std::uint32_t>(row), dataset_.image_size(), options_.output_size);
    slot.rows[i] = row;
  }

  void clear_image(Slot& slot, std::size_t i) {
    const auto bytes = static_cast<std::size_t>(dataset_.image_size() * dataset_.image_size());
    std::memset(slot.pixels.data() + i * bytes, 0, bytes);
    std::ranges::fill(targets_of(slot, i), 0.0f);
    slot.transforms[i] = resize_transform(dataset_.image_size(), options_.output_size);
    slot.rows[i] = -1;
  }

  std::span<float> targets_of(Slot& slot, std::size_t i) const {
    const auto labels = static_cast<std::size_t>(label_count_);
    return std::span(slot.targets).subspan(i * labels, labels);
  }

  const Dataset& dataset_;
  const LoaderOptions options_;
  const TargetSource targets_;
  const std::int64_t label_count_;
  std::vector<std::int64_t> order_;
  std::vector<Slot> slots_;
  std::chrono::steady_clock::duration waited_{};

  std::mutex mutex_;  // guards all below, and `ready` and `failure` of the slots
  std::condition_variable_any free_, filled_, idle_;
  bool started_ = false;
  std::int64_t epoch_ = 0;
  std::int64_t to_take_ = 0;     // the next batch a worker takes
  std::int64_t to_deliver_ = 0;  // the next batch next() returns
  std::int64_t released_ = 0;    // batches before this one are no longer read
  int busy_ = 0;                 // workers that are filling a slot

  std::vector<std::jthread> workers_;  // last: stopped and joined before the rest goes
};

Loader::Loader(const Dataset& dataset, std::int64_t label_count, TargetSource targets, std::vector<std::int64_t> rows,
               const LoaderOptions& options) {
  validate(dataset, label_count, rows, options);
  impl_ = std::make_unique<Impl>(dataset, label_count, std::move(targets), std::move(rows), options);
}

Loader::Loader(const Dataset& dataset, const LabelSet& labels, std::vector<std::int64_t> rows,
               const LoaderOptions& options)
    : Loader(
          dataset, static_cast<std::int64_t>(labels.size()),
          [&dataset, labels](std::int64_t row, std::span<float> out) {
            labels.targets(dataset.row(row).findings, out);
          },
          std::move(rows), options) {}

Loader::~Loader() = default;

std::int64_t Loader::images() const {
  return impl_->images();
}
std::int64_t Loader::batches() const {
  return impl_->batches();
}
void Loader::start(std::int64_t epoch, std::int64_t first_batch) {
  impl_->start(epoch, first_batch);
}
const Batch* Loader::next() {
  return impl_->next();
}
bool Loader::ready() const {
  return impl_->ready();
}
double Loader::waited_seconds() const {
  return impl_->waited_seconds();
}

}  // namespace densetree::data
