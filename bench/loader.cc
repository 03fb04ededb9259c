// The input pipeline: how many images/s the loader gathers when nobody else wants the cores, and how much of a training
// step is spent waiting for it when it has to share them.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "bench/harness.h"
#include "data/hash.h"
#include "data/loader.h"
#include "data/npy.h"
#include "data/prepare.h"
#include "kernels/core/philox.h"
#include "nn/model.h"

namespace densetree::bench {
namespace {

using benchmark::Counter;
namespace fs = std::filesystem;

struct LoaderSettings {
  Settings common;
  std::int64_t images = 2000, source = 256, batch = 16, size = 224;
  std::string arch = "densenet121";
  int steps = 8;
};

std::string random_pixels(std::size_t bytes) {
  std::string pixels(bytes, '\0');
  RandomStream random(1, RandomUse::kSynth);
  for (char& pixel : pixels) {
    pixel = static_cast<char>(random.below(256));
  }
  return pixels;
}

// A prepared data set of random pixels in a temporary folder: all training images, two per patient, all 14 findings.
class TemporaryDataset {
 public:
  TemporaryDataset(std::int64_t images, std::int64_t size)
      : folder_(fs::temp_directory_path() / fmt::format("densetree-bench-{}", getpid())) {
    make_folder(folder_);
    const auto n = static_cast<std::size_t>(images), side = static_cast<std::size_t>(size);
    const std::size_t shape[] = {n, side, side};
    const std::string pixels = data::npy_header("|u1", shape) + random_pixels(n * side * side);
    std::string index = "Image Index,Patient ID,Finding Labels,split\n";
    for (std::int64_t i = 0; i < images; ++i) {
      index += fmt::format("{:08}_{:03}.png,{},{},train\n", i / 2, i % 2, i / 2,
                           data::findings_text(data::FindingSet{1} << (i % 14)));
    }
    const nlohmann::json none{{"images", 0}, {"patients", 0}};
    const nlohmann::json manifest{
        {"format", std::string(data::kDataFormat)},
        {"version", data::kDataVersion},
        {"images", images},
        {"image_size", size},
        {"splits", {{"train", {{"images", images}, {"patients", (images + 1) / 2}}}, {"val", none}, {"test", none}}},
        {"images_xxh64", data::hash_text(data::xxh64(std::string_view(pixels)))},
        {"index_xxh64", data::hash_text(data::xxh64(std::string_view(index)))}};
    write_file(folder_ / "images.npy", pixels);
    write_file(folder_ / "index.csv", index);
    write_file(folder_ / "manifest.json", manifest.dump());
  }
  ~TemporaryDataset() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  TemporaryDataset(const TemporaryDataset&) = delete;
  TemporaryDataset& operator=(const TemporaryDataset&) = delete;

  const fs::path& folder() const { return folder_; }

 private:
  fs::path folder_;
};

data::Loader make_loader(const data::Dataset& dataset, const LoaderSettings& s, std::int64_t batch, int workers) {
  data::LoaderOptions options;
  options.batch_size = batch;
  options.output_size = s.size;
  options.shuffle = true;
  options.drop_last = true;
  options.workers = workers;
  options.augment.enabled = true;
  return {dataset, data::LabelSet(), dataset.rows_of(data::Side::kTrain), options};
}

// Batches that never end: epoch after epoch.
class Feed {
 public:
  Feed(const data::Dataset& dataset, const LoaderSettings& s, std::int64_t batch, int workers)
      : loader_(make_loader(dataset, s, batch, workers)) {
    loader_.start(0);
  }
  const data::Batch& next() {
    const data::Batch* batch = loader_.next();
    if (!batch) {
      waited_ += loader_.waited_seconds();
      loader_.start(++epoch_);
      batch = loader_.next();
    }
    return *batch;
  }
  bool ready() const { return loader_.ready(); }
  double waited_seconds() const { return waited_ + loader_.waited_seconds(); }

 private:
  data::Loader loader_;
  std::int64_t epoch_ = 0;
  double waited_ = 0;
};

void time_alone(benchmark::State& state, const data::Dataset& dataset, const LoaderSettings& s) {
  Feed feed(dataset, s, state.range(0), static_cast<int>(state.range(1)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(feed.next().pixels.data());
  }
  state.counters["images"] = Counter(static_cast<double>(state.range(0)), Counter::kIsIterationInvariantRate);
}

void time_beside_training(benchmark::State& state, const data::Dataset& dataset, const LoaderSettings& s) {
  const auto device = s.common.open();
  nn::Model model(*device, {.arch = nn::parse_architecture(s.arch),
                            .batch_size = s.batch,
                            .image_size = s.size,
                            .source_size = dataset.image_size(),
                            .inference = false,
                            .positive_weights = {}});
  model.initialize(1);
  Feed feed(dataset, s, s.batch, static_cast<int>(state.range(0)));
  // As a trainer does it: one step ahead of the losses, and waiting counts when the device has nothing to do.
  const auto step = [&] {
    if (!feed.ready() && model.steps() > 0) {
      model.loss();
    }
    const data::Batch& batch = feed.next();
    model.set_images(batch.pixels, batch.transforms, true);
    model.set_targets(batch.targets);
    model.train_step({});
    if (model.steps() > 1) {
      model.loss(1);
    }
  };
  step();
  const double waited_before = feed.waited_seconds();
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) {
    step();
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  state.counters["images"] = Counter(static_cast<double>(s.batch), Counter::kIsIterationInvariantRate);
  state.counters["waiting_share"] = (feed.waited_seconds() - waited_before) / seconds;
}

void run(const LoaderSettings& s) {
  const TemporaryDataset files(s.images, s.source);
  const data::Dataset dataset(files.folder());
  benchmark::RegisterBenchmark("loader", [&](benchmark::State& state) { time_alone(state, dataset, s); })
      ->ArgNames({"batch", "workers"})
      ->ArgsProduct({{16, 128}, {1, 2}})
      ->Unit(benchmark::kMicrosecond)
      ->UseRealTime();
  benchmark::RegisterBenchmark(fmt::format("train/{}/{}x{}", s.arch, s.batch, s.size).c_str(),
                               [&](benchmark::State& state) { time_beside_training(state, dataset, s); })
      ->ArgName("workers")
      ->Arg(1)
      ->Arg(2)
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime()
      ->Iterations(s.steps);
  run_registered(s.common.open()->info());
}

}  // namespace
}  // namespace densetree::bench

int main(int argc, char** argv) {
  using namespace densetree::bench;
  CLI::App app("Times the loader, alone and beside a training step.", "bench_loader");
  LoaderSettings s;
  s.common.add_to(app);
  app.add_option("--images", s.images, "in the temporary data set")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--source-size", s.source, "side of the stored images")->capture_default_str();
  app.add_option("--arch", s.arch, "of the network that trains beside it")->capture_default_str();
  app.add_option("--batch-size", s.batch, "of that network")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--image-size", s.size, "of that network")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--steps", s.steps, "training steps to time")->check(CLI::PositiveNumber)->capture_default_str();
  return run_program(app, argc, argv, [&] { run(s); });
}
