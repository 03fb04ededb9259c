#include "data/loader.h"

#include <gtest/gtest.h>

#include <numeric>
#include <stdexcept>
#include <thread>

#include "kernels/functors/image.h"
#include "tests/data/tiny_dataset.h"

namespace densetree::data {
namespace {

// All that a batch holds, as bytes.
std::string bytes_of(const Batch& batch) {
  std::string bytes = fmt::format("{} {} {} ", batch.epoch, batch.index, batch.count);
  const auto append = [&](const auto& span) {
    bytes.append(reinterpret_cast<const char*>(span.data()), span.size_bytes());
  };
  append(batch.pixels), append(batch.targets), append(batch.transforms), append(batch.rows);
  return bytes;
}

std::vector<std::string> run(Loader& loader, std::int64_t epoch, std::int64_t first = 0) {
  std::vector<std::string> batches;
  loader.start(epoch, first);
  while (const Batch* batch = loader.next()) {
    batches.push_back(bytes_of(*batch));
  }
  EXPECT_EQ(loader.next(), nullptr);
  return batches;
}

class LoaderTest : public testing::Test {
 protected:
  LoaderTest() {
    write_tiny_dataset(folder_.path(), 50, 5);
    dataset_ = std::make_unique<Dataset>(folder_.path());
    rows_ = dataset_->rows_of(Side::kTrain);  // 30
  }
  static LoaderOptions options(int workers = 1) {
    LoaderOptions o;
    o.batch_size = 4, o.output_size = 4, o.shuffle = true, o.workers = workers;
    o.augment.enabled = true;
    return o;
  }

  TemporaryFolder folder_;
  std::unique_ptr<Dataset> dataset_;
  std::vector<std::int64_t> rows_;
  LabelSet labels_;
};

TEST_F(LoaderTest, GathersPixelsTargetsAndRows) {
  LoaderOptions plain = options();
  plain.shuffle = false, plain.augment.enabled = false;
  Loader loader(*dataset_, labels_, rows_, plain);
  ASSERT_EQ(loader.batches(), 8);
  EXPECT_EQ(loader.images(), 30);
  loader.start(0);
  for (std::int64_t b = 0; b < 8; ++b) {
    const Batch* batch = loader.next();
    ASSERT_NE(batch, nullptr);
    EXPECT_EQ(batch->index, b);
    ASSERT_EQ(batch->count, b < 7 ? 4 : 2);
    for (std::int64_t i = 0; i < 4; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const bool real = i < batch->count;
      const std::int64_t row = real ? rows_[static_cast<std::size_t>(b * 4 + i)] : -1;
      EXPECT_EQ(batch->rows[at], row);
      for (std::int64_t p = 0; p < 25; ++p) {
        EXPECT_EQ(batch->pixels[at * 25 + static_cast<std::size_t>(p)], real ? tiny_pixel(row, p) : 0);
      }
      for (std::size_t l = 0; l < 14; ++l) {
        EXPECT_EQ(batch->targets[at * 14 + l], real && l == static_cast<std::size_t>(row % 14) ? 1.0f : 0.0f);
      }
      EXPECT_EQ(batch->transforms[at].xx, resize_transform(5, 4).xx);
    }
  }
  EXPECT_EQ(loader.next(), nullptr);
}

TEST_F(LoaderTest, SameBytesWhateverTheWorkers) {
  Loader one(*dataset_, labels_, rows_, options(1));
  const auto expected = run(one, 3);
  for (const int workers : {2, 3, 8}) {
    Loader many(*dataset_, labels_, rows_, options(workers));
    EXPECT_EQ(run(many, 3), expected) << workers << " workers";
  }
}

TEST_F(LoaderTest, TransformsBelongToTheRows) {
  const LoaderOptions o = options(2);
  Loader loader(*dataset_, labels_, rows_, o);
  loader.start(6);
  while (const Batch* batch = loader.next()) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(batch->count); ++i) {
      const ImageTransform expected =
          augment_transform(o.augment, o.seed, 6, static_cast<std::uint32_t>(batch->rows[i]), 5, 4);
      EXPECT_EQ(batch->transforms[i], expected);
    }
  }
}

TEST_F(LoaderTest, ResumesAtAnyBatch) {
  Loader whole(*dataset_, labels_, rows_, options(2));
  const auto expected = run(whole, 1);
  for (std::int64_t first = 0; first <= whole.batches(); ++first) {
    Loader resumed(*dataset_, labels_, rows_, options(2));
    EXPECT_EQ(run(resumed, 1, first), std::vector<std::string>(expected.begin() + first, expected.end()));
  }
}

TEST_F(LoaderTest, EpochsDifferAndComeBack) {
  Loader loader(*dataset_, labels_, rows_, options(2));
  const auto first = run(loader, 0), second = run(loader, 1);
  EXPECT_NE(first, second);
  EXPECT_EQ(run(loader, 0), first);
  LoaderOptions other = options(2);
  other.seed = 2;
  Loader reseeded(*dataset_, labels_, rows_, other);
  EXPECT_NE(run(reseeded, 0), first);
}

TEST_F(LoaderTest, RestartsInTheMiddle) {
  Loader loader(*dataset_, labels_, rows_, options(3));
  const auto expected = run(loader, 2);
  for (int stop = 0; stop < 6; ++stop) {
    loader.start(stop);
    for (int i = 0; i < stop; ++i) {
      loader.next();
    }
  }
  EXPECT_EQ(run(loader, 2), expected);
}

TEST_F(LoaderTest, EveryRowOnceAnEpoch) {
  Loader loader(*dataset_, labels_, rows_, options(2));
  std::vector<std::int64_t> seen;
  loader.start(4);
  while (const Batch* batch = loader.next()) {
    seen.insert(seen.end(), batch->rows.begin(), batch->rows.begin() + batch->count);
  }
  EXPECT_NE(seen, rows_);
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, rows_);
}

TEST_F(LoaderTest, OrderIgnoresHowRowsWereGiven) {
  std::vector<std::int64_t> reversed(rows_.rbegin(), rows_.rend());
  Loader a(*dataset_, labels_, rows_, options()), b(*dataset_, labels_, reversed, options());
  EXPECT_EQ(run(a, 0), run(b, 0));
}

TEST_F(LoaderTest, DropsTheRemainderWhenAsked) {
  LoaderOptions o = options();
  o.drop_last = true;
  Loader loader(*dataset_, labels_, rows_, o);
  EXPECT_EQ(loader.batches(), 7);
  EXPECT_EQ(loader.images(), 28);
  EXPECT_EQ(run(loader, 0).size(), 7u);
}

TEST_F(LoaderTest, BatchStaysWhileWorkersGoOn) {
  Loader loader(*dataset_, labels_, rows_, options(4));
  loader.start(0);
  while (const Batch* batch = loader.next()) {
    const std::string before = bytes_of(*batch);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_EQ(bytes_of(*batch), before);
  }
}

TEST_F(LoaderTest, StopsAtAnyTime) {
  for (int taken = 0; taken < 5; ++taken) {
    Loader loader(*dataset_, labels_, rows_, options(4));
    loader.start(0);
    for (int i = 0; i < taken; ++i) {
      loader.next();
    }
  }
  Loader never_started(*dataset_, labels_, rows_, options(4));
}

TEST_F(LoaderTest, SaysWhetherTheNextBatchIsReady) {
  std::atomic<bool> held = false;
  const TargetSource targets = [&](std::int64_t, std::span<float> out) {
    held.wait(true);
    out[0] = 0;
  };
  Loader loader(*dataset_, 1, targets, rows_, options(2));
  EXPECT_NE(error_of([&] { loader.ready(); }), "");  // not started
  run(loader, 0);
  held = true;
  loader.start(1);
  EXPECT_FALSE(loader.ready());
  held = false, held.notify_all();
  for (std::int64_t i = 0; i < loader.batches(); ++i) {
    while (!loader.ready()) {
      std::this_thread::yield();
    }
    EXPECT_NE(loader.next(), nullptr);
  }
  EXPECT_EQ(loader.waited_seconds(), 0);  // it was never asked too early
  EXPECT_TRUE(loader.ready());            // for the end of the epoch nobody waits
  EXPECT_EQ(loader.next(), nullptr);
}

TEST_F(LoaderTest, WorkerErrorsSurfaceAtTheirBatch) {
  std::atomic<bool> broken = true;
  const TargetSource targets = [&](std::int64_t row, std::span<float> out) {
    if (broken && row == rows_[9]) {
      throw std::runtime_error("row is broken");
    }
    out[0] = static_cast<float>(row);
  };
  LoaderOptions o = options(3);
  o.shuffle = false;
  Loader loader(*dataset_, 1, targets, rows_, o);
  loader.start(0);
  EXPECT_NE(loader.next(), nullptr);
  EXPECT_NE(loader.next(), nullptr);
  EXPECT_THROW(loader.next(), std::runtime_error);  // row 9 is in batch 2
  EXPECT_THROW(loader.next(), std::runtime_error);
  broken = false;
  EXPECT_EQ(run(loader, 0).size(), 8u);
}

TEST_F(LoaderTest, MissingLabelsPassThrough) {
  const TargetSource targets = [](std::int64_t row, std::span<float> out) { out[0] = row % 2 ? 1.0f : std::nanf(""); };
  Loader loader(*dataset_, 1, targets, rows_, options());
  loader.start(0);
  const Batch* batch = loader.next();
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(std::isnan(batch->targets[i]), batch->rows[i] % 2 == 0);
  }
}

TEST_F(LoaderTest, RefusesBadOptions) {
  const auto refused = [&](auto change, std::vector<std::int64_t> rows) {
    LoaderOptions o = options();
    change(o);
    return error_of([&] { Loader loader(*dataset_, labels_, std::move(rows), o); });
  };
  expect_contains(refused([](LoaderOptions& o) { o.batch_size = 0; }, rows_), "batch size is 0");
  expect_contains(refused([](LoaderOptions& o) { o.workers = 0; }, rows_), "workers");
  expect_contains(refused([](LoaderOptions&) {}, {}), "no images");
  expect_contains(refused([](LoaderOptions&) {}, {50}), "row 50");
  expect_contains(refused([](LoaderOptions& o) { o.drop_last = true; }, {1, 2, 3}), "3 images");
  Loader loader(*dataset_, labels_, rows_, options());
  error_of([&] { loader.next(); });
  expect_contains(error_of([&] { loader.start(0, 9); }), "first batch is 9");
  expect_contains(error_of([&] { loader.start(-1); }), "epoch is -1");
}

TEST(ShuffleRows, IsFair) {
  constexpr int kRows = 6, kEpochs = 6000;
  int at[kRows][kRows] = {};
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    std::int64_t rows[kRows] = {5, 3, 1, 0, 2, 4};
    shuffle_rows(rows, 9, epoch);
    for (int place = 0; place < kRows; ++place) {
      ++at[place][rows[place]];
    }
  }
  for (const auto& place : at) {
    for (const int count : place) {
      EXPECT_NEAR(count, kEpochs / kRows, 150);  // 5 standard deviations
    }
  }
}

}  // namespace
}  // namespace densetree::data
