// Training one step ahead of its losses gives what training step by step gives: losses, weights, checkpoints. The
// comparison is a loop that waits for every step.
#include "nn/trainer.h"

#include <cmath>
#include <cstring>

#include "engine/io/csv.h"
#include "engine/io/file.h"
#include "tests/data/tiny_dataset.h"
#include "tests/error_of.h"
#include "tests/nn/counting_device.h"
#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"
#include "tests/nn/temporary.h"

namespace densetree::test {
namespace {

using nn::Begin;
using nn::Trainer;
using nn::TrainListener;
using nn::TrainOptions;

constexpr std::int64_t kImages = 50, kSource = 20;  // 30 of them for training, 10 for validation
constexpr std::int64_t kBatches = 7;                // of 4

class TrainerTest : public DeviceTest {
 protected:
  TrainerTest() {
    make_folder(folder_ / "data");
    data::write_tiny_dataset(folder_ / "data", kImages, kSource);
    dataset_ = std::make_unique<data::Dataset>(folder_ / "data");
  }

  static TrainOptions options() {
    TrainOptions o;
    o.arch = nn::parse_architecture(kSmall);
    o.image_size = 16, o.batch_size = 4, o.epochs = 2, o.clip_norm = 1;
    o.schedule.kind = nn::ScheduleKind::kCosine;
    o.loss = LossKind::kBce;
    return o;
  }
  // On a device that replays captured work without the work.
  Trainer trainer(const TrainOptions& o, const std::string& run, Begin begin, TrainListener listener = {}) {
    return {capturing(), *dataset_, o, folder_ / run, begin, std::move(listener)};
  }
  Device& capturing() {
    if (!capturing_) {
      capturing_ = std::make_unique<CountingDevice>(device());
      capturing_->captures = true;
    }
    return *capturing_;
  }

  // The losses of an epoch's steps, each waited for, up to the first that is not finite.
  std::vector<double> losses_step_by_step(nn::Model& model, const TrainOptions& o, std::int64_t epoch) const {
    data::Loader loader(*dataset_, o.labels, dataset_->rows_of(data::Side::kTrain),
                        {.batch_size = o.batch_size,
                         .output_size = o.image_size,
                         .seed = o.seed,
                         .shuffle = true,
                         .drop_last = true,
                         .augment = o.augment});
    loader.start(epoch);
    std::vector<double> losses;
    while (const data::Batch* batch = loader.next()) {
      const double factor = o.schedule.factor(model.steps(), kBatches, o.epochs * kBatches, 0);
      model.set_images(batch->pixels, batch->transforms, true);
      model.set_targets(batch->targets);
      model.train_step({.lr = o.lr * factor, .weight_decay = o.weight_decay, .clip_norm = o.clip_norm});
      losses.push_back(model.loss());
      if (!std::isfinite(losses.back())) {
        break;
      }
    }
    return losses;
  }
  nn::Model plain_model(const TrainOptions& o) {
    return {device(),
            {.arch = o.arch,
             .labels = 14,
             .batch_size = o.batch_size,
             .image_size = o.image_size,
             .source_size = kSource,
             .memory = o.memory,
             .loss = o.loss,
             .positive_weights = {},
             .capture = false}};
  }

  std::string file(const std::string& name) const { return read_file(folder_ / name); }
  // metrics.csv without what differs from run to run: times.
  std::vector<std::string> metrics(const std::string& run) const {
    const CsvTable table = CsvTable::read(folder_ / run / "metrics.csv");
    std::vector<std::string> rows;
    for (std::size_t row = 0; row < table.rows(); ++row) {
      const auto& cells = table.row(row);
      rows.push_back(fmt::format("{}", fmt::join(cells.begin(), cells.begin() + 6, ",")));
    }
    return rows;
  }
  // progress.counters and progress.losses of a run's last checkpoint.
  std::pair<std::vector<std::int64_t>, std::vector<double>> progress(const std::string& run) const {
    const TensorFile checkpoint = TensorFile::open(folder_ / run / "checkpoint-last.safetensors");
    return {checkpoint.at("progress.counters").to_int64(), checkpoint.at("progress.losses").to_float64()};
  }

  const TemporaryFolder folder_;
  std::unique_ptr<data::Dataset> dataset_;
  Requests never_;  // nothing is asked for

 private:
  std::unique_ptr<CountingDevice> capturing_;
};

double sum_of(const std::vector<double>& losses, std::size_t count) {
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    sum += losses[i];
  }
  return sum;
}

TEST_P(TrainerTest, GivesTheBitsOfTrainingStepByStep) {
  const TrainOptions o = options();
  struct Told {
    std::int64_t epoch, done;
    double loss;
  };
  std::vector<Told> told;
  std::vector<double> train_losses;
  TrainListener listener;
  listener.progress = [&](std::int64_t epoch, std::int64_t done, std::int64_t total, double loss) {
    EXPECT_EQ(total, kBatches * o.batch_size);
    told.push_back({epoch, done, loss});
  };
  listener.epoch = [&](const nn::EpochMetrics& m, bool) { train_losses.push_back(m.train_loss); };
  Trainer ahead = trainer(o, "run", Begin::kNew, listener);
  EXPECT_TRUE(ahead.train(never_));

  nn::Model model = plain_model(o);
  model.initialize(o.seed);
  ASSERT_EQ(told.size(), static_cast<std::size_t>(o.epochs * kBatches));
  ASSERT_EQ(train_losses.size(), static_cast<std::size_t>(o.epochs));
  for (std::int64_t epoch = 0; epoch < o.epochs; ++epoch) {
    const std::vector<double> losses = losses_step_by_step(model, o, epoch);
    for (std::size_t i = 0; i < losses.size(); ++i) {
      const Told& t = told[epoch * kBatches + i];
      EXPECT_EQ(t.epoch, epoch + 1);
      EXPECT_EQ(t.done, static_cast<std::int64_t>(i + 1) * o.batch_size);
      EXPECT_EQ(t.loss, sum_of(losses, i + 1) / static_cast<double>(i + 1));
    }
    EXPECT_EQ(train_losses[epoch], sum_of(losses, kBatches) / kBatches);
  }
  for (const Parameters::Entry& entry : model.plan().parameters().entries()) {
    EXPECT_EQ(ahead.model().read(entry.name), model.read(entry.name)) << entry.name;
  }
}

// Stopped after each step of an epoch, wherever its loss is by then, and resumed.
TEST_P(TrainerTest, StoppedAnywhereAndResumedIsTheSameRun) {
  const TrainOptions o = options();
  EXPECT_TRUE(trainer(o, "whole", Begin::kNew).train(never_));
  for (std::int64_t after = 1; after < kBatches; ++after) {
    const std::string run = fmt::format("stopped-{}", after);
    Requests requests;
    TrainListener listener;
    listener.progress = [&](std::int64_t, std::int64_t done, std::int64_t, double) {
      requests.stop = done >= after * o.batch_size;
    };
    EXPECT_FALSE(trainer(o, run, Begin::kNew, listener).train(requests));
    const auto [counters, losses] = progress(run);
    const std::int64_t steps = counters[0] * kBatches + counters[1];
    EXPECT_GE(steps, after);
    EXPECT_LE(steps, after + 1);  // one was queued by then
    EXPECT_TRUE(trainer(o, run, Begin::kResume).train(never_));
    for (const char* name : {"checkpoint-last.safetensors", "checkpoint-best.safetensors"}) {
      EXPECT_EQ(file(run + "/" + name), file(fmt::format("whole/{}", name))) << "stopped after " << after;
    }
    EXPECT_EQ(metrics(run), metrics("whole")) << "stopped after " << after;
  }
}

TEST_P(TrainerTest, SaysWhereOtherConvolutionsGoOn) {
  TrainOptions o = options();
  o.epochs = 1;
  int told = 0;
  TrainListener listener;
  listener.note = [&](const std::string& note) {
    told += note.find("last bits may differ; see ") != std::string::npos;
  };
  trainer(o, "run", Begin::kNew, listener);
  const std::string name = "run/implementations.txt", here = file(name);
  EXPECT_NE(here.find("features.conv0 forward: "), std::string::npos) << here;
  EXPECT_NE(here.find("features.transition2.conv backward: "), std::string::npos) << here;
  EXPECT_NE(here.find(GetParam() == "cpu" ? "oneDNN " : "cuDNN "), std::string::npos) << here;
  trainer(o, "run", Begin::kResume, listener);
  EXPECT_EQ(told, 0);
  write_file(folder_ / name, "features.conv0: elsewhere\n");
  trainer(o, "run", Begin::kResume, listener);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(file(name), here);
}

TEST_P(TrainerTest, ACheckpointHoldsTheLossesOfItsSteps) {
  TrainOptions o = options();
  o.epochs = 1, o.checkpoint_steps = 3;
  nn::Model model = plain_model(o);
  model.initialize(o.seed);
  const std::vector<double> losses = losses_step_by_step(model, o, 0);
  std::int64_t seen = 0;
  TrainListener listener;
  listener.progress = [&](std::int64_t, std::int64_t done, std::int64_t, double) {
    const auto [counters, sums] = progress("run");
    const std::int64_t steps = done / o.batch_size, saved = counters[1];
    EXPECT_EQ(saved, (steps - 1) / 3 * 3);  // the step told of now is not yet saved
    EXPECT_EQ(sums[0], sum_of(losses, static_cast<std::size_t>(saved)));
    seen = std::max(seen, saved);
  };
  EXPECT_TRUE(trainer(o, "run", Begin::kNew, listener).train(never_));
  EXPECT_EQ(seen, 6);
}

// The step that is named is the one whose loss it was, though another one has been queued by then.
TEST_P(TrainerTest, NamesTheStepWhoseLossBroke) {
  TrainOptions o = options();
  o.schedule.kind = nn::ScheduleKind::kConstant;
  o.weight_decay = 1e25;  // each step multiplies weights by -1e22
  nn::Model model = plain_model(o);
  model.initialize(o.seed);
  const std::vector<double> losses = losses_step_by_step(model, o, 0);
  ASSERT_FALSE(std::isfinite(losses.back()));
  ASSERT_GT(losses.size(), 1u);
  ASSERT_LT(losses.size(), static_cast<std::size_t>(kBatches));
  Trainer breaks = trainer(o, "run", Begin::kNew);
  try {
    breaks.train(never_);
    FAIL() << "it trained on";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(fmt::format("epoch 1, step {};", losses.size())), std::string::npos)
        << error.what() << " after " << losses.size();
  }
  EXPECT_EQ(progress("run").first[1], 0);  // nothing of it was saved
}

TEST_P(TrainerTest, CapturingOrNotIsTheSameRunAndMayChangeInResuming) {
  TrainOptions o = options();
  EXPECT_TRUE(trainer(o, "captured", Begin::kNew).train(never_));
  Requests requests;
  TrainListener listener;
  listener.progress = [&](std::int64_t, std::int64_t, std::int64_t, double) { requests.stop = true; };
  o.capture = false;
  EXPECT_FALSE(trainer(o, "called", Begin::kNew, listener).train(requests));
  o.capture = true;
  EXPECT_TRUE(trainer(o, "called", Begin::kResume).train(never_));
  EXPECT_EQ(file("called/checkpoint-last.safetensors"), file("captured/checkpoint-last.safetensors"));
  EXPECT_EQ(metrics("called"), metrics("captured"));
}

TEST_P(TrainerTest, WaitingIsAShareOfTheEpoch) {
  TrainListener listener;
  int epochs = 0;
  listener.epoch = [&](const nn::EpochMetrics& m, bool) {
    ++epochs;
    EXPECT_GE(m.waiting, 0);
    EXPECT_LT(m.waiting, 1);
  };
  EXPECT_TRUE(trainer(options(), "run", Begin::kNew, listener).train(never_));
  EXPECT_EQ(epochs, 2);
}

// What validation finds out about the last step of an epoch stops the run as a broken loss does.
TEST_P(TrainerTest, AValidationThatIsNotFiniteStopsTheRun) {
  TrainOptions o = options();
  o.batch_size = 28;  // one step an epoch
  o.weight_decay = 1e38, o.clip_norm = 0;
  const std::string message = error_of([&] { trainer(o, "run", Begin::kNew).train(never_); });
  EXPECT_NE(message.find(": the network's output is "), std::string::npos) << message;
  EXPECT_EQ(progress("run").first[0], 0);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run/metrics.csv"));
}

// A checkpoint in the middle of an epoch, after a step that broke the weights: the one before stays.
TEST_P(TrainerTest, WeightsThatAreNotFiniteAreNotSaved) {
  TrainOptions o = options();
  o.schedule.kind = nn::ScheduleKind::kConstant;
  o.weight_decay = 1e45, o.clip_norm = 0, o.checkpoint_steps = 1;
  const std::string message = error_of([&] { trainer(o, "run", Begin::kNew).train(never_); });
  EXPECT_NE(message.find(" by step 1; it is not saved"), std::string::npos) << message;
  EXPECT_EQ(progress("run").first[1], 0);
  EXPECT_NO_THROW(trainer(o, "run", Begin::kResume));
}

TEST_P(TrainerTest, RefusesWeightsThatAreNotFinite) {
  TrainOptions o = options();
  trainer(o, "first", Begin::kNew);
  std::string bytes = file("first/checkpoint-last.safetensors");
  const std::size_t header = 8 + static_cast<unsigned char>(bytes[0]) + 256 * static_cast<unsigned char>(bytes[1]);
  const float nan = NAN;
  std::memcpy(bytes.data() + header, &nan, sizeof nan);
  write_file(folder_ / "nan.safetensors", bytes);
  o.init = (folder_ / "nan.safetensors").string();
  const std::string message = error_of([&] { trainer(o, "second", Begin::kNew); });
  EXPECT_NE(message.find("nan.safetensors: 'features."), std::string::npos) << message;
  EXPECT_NE(message.find("' holds nan"), std::string::npos) << message;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "second"));
}

// Stopped while it validates, it validates when it is resumed.
TEST_P(TrainerTest, AStopDuringValidationLosesNothing) {
  const TrainOptions o = options();
  trainer(o, "whole", Begin::kNew).train(never_);
  Requests requests;
  TrainListener listener;
  listener.progress = [&](std::int64_t, std::int64_t done, std::int64_t total, double) {
    requests.stop = done == total;
  };
  EXPECT_FALSE(trainer(o, "stopped", Begin::kNew, listener).train(requests));
  EXPECT_EQ(progress("stopped").first[1], kBatches);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "stopped/metrics.csv"));
  EXPECT_TRUE(trainer(o, "stopped", Begin::kResume).train(never_));
  EXPECT_EQ(file("stopped/checkpoint-last.safetensors"), file("whole/checkpoint-last.safetensors"));
  EXPECT_EQ(metrics("stopped"), metrics("whole"));
}

TEST_P(TrainerTest, SavesWhenAskedAndGoesOn) {
  TrainOptions o = options();
  o.epochs = 1;
  Requests requests;
  TrainListener listener;
  std::int64_t saved = 0;
  listener.progress = [&](std::int64_t, std::int64_t done, std::int64_t, double) {
    requests.save = requests.save || done == 3 * o.batch_size;
    saved = std::max(saved, progress("run").first[1]);
  };
  EXPECT_TRUE(trainer(o, "run", Begin::kNew, listener).train(requests));
  EXPECT_GE(saved, 4);
  EXPECT_FALSE(requests.save);
}

// ---- The folder of a run

// Whatever a beginning left that was cut off before the first checkpoint, both ways to go on work.
TEST_P(TrainerTest, EveryBeginningCanBeBegunAgain) {
  TrainOptions o = options();
  o.epochs = 1, o.tree = "[labels]\n";
  trainer(o, "whole", Begin::kNew).train(never_);
  const std::vector<std::string> names{".densetree-lock", "tree.toml", "data.csv", "config.toml",
                                       "implementations.txt"};
  for (std::size_t count = 0; count <= names.size(); ++count) {
    for (const Begin begin : {Begin::kNew, Begin::kResume}) {
      SCOPED_TRACE(fmt::format("{} files, {}", count, begin == Begin::kNew ? "new" : "resumed"));
      const std::string run = fmt::format("cut-{}-{}", count, static_cast<int>(begin));
      make_folder(folder_ / run);
      for (std::size_t i = 0; i < count; ++i) {
        std::filesystem::copy(folder_ / ("whole/" + names[i]), folder_ / (run + "/" + names[i]));
      }
      if (begin == Begin::kResume && count < 4) {  // without config.toml there are no settings
        EXPECT_NE(error_of([&] { trainer(o, run, begin); }).find("no config.toml"), std::string::npos);
        continue;
      }
      EXPECT_TRUE(trainer(o, run, begin).train(never_));
      EXPECT_EQ(file(run + "/checkpoint-last.safetensors"), file("whole/checkpoint-last.safetensors"));
    }
  }
}

TEST_P(TrainerTest, AFolderWithOtherFilesIsLeftAlone) {
  for (const std::string name : {"config.toml", "metrics.csv", "tree.toml", "checkpoint-best.safetensors"}) {
    SCOPED_TRACE(name);
    make_folder(folder_ / name);
    write_file(folder_ / (name + "/" + name), "mine");
    for (int time = 0; time < 2; ++time) {  // the first refusal leaves nothing that would open the folder
      EXPECT_NE(error_of([&] { trainer(options(), name, Begin::kNew); }).find("of no run"), std::string::npos);
    }
    EXPECT_EQ(file(name + "/" + name), "mine");
    trainer(options(), name, Begin::kReplace);
    EXPECT_NO_THROW(trainer(options(), name, Begin::kResume));
  }
}

TEST_P(TrainerTest, OneTrainingAtATime) {
  const Trainer first = trainer(options(), "run", Begin::kNew);
  for (const Begin begin : {Begin::kResume, Begin::kReplace}) {
    EXPECT_NE(error_of([&] { trainer(options(), "run", begin); }).find("another training is at work"),
              std::string::npos);
  }
}

TEST_P(TrainerTest, ARefusalLeavesNoFolderAndReplacesNothing) {
  TrainOptions o = options();
  o.batch_size = 1;  // and the last maps have one pixel
  EXPECT_NE(error_of([&] { trainer(o, "run", Begin::kNew); }).find("use a larger batch"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
  o.image_size = 2;  // too small for the network
  EXPECT_THROW(trainer(o, "run", Begin::kNew), Error);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
  make_folder(folder_ / "made");
  EXPECT_THROW(trainer(o, "made", Begin::kNew), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "made"));
  trainer(options(), "run", Begin::kNew).train(never_);
  const std::string before = file("run/checkpoint-last.safetensors");
  EXPECT_THROW(trainer(o, "run", Begin::kReplace), Error);
  EXPECT_EQ(file("run/checkpoint-last.safetensors"), before);
}

TEST_P(TrainerTest, MoreEpochsAndAnotherMemoryModeAreKeptInTheSettings) {
  TrainOptions o = options();
  o.schedule.kind = nn::ScheduleKind::kConstant, o.epochs = 1;
  trainer(o, "run", Begin::kNew).train(never_);
  o.epochs = 2, o.memory = nn::MemoryMode::kStore;
  trainer(o, "run", Begin::kResume).train(never_);
  const std::string config = file("run/config.toml");
  EXPECT_NE(config.find("epochs = 2\n"), std::string::npos) << config;
  EXPECT_NE(config.find("memory = \"store\"\n"), std::string::npos) << config;
}

// ---- The data of a run

TEST_P(TrainerTest, OtherDataAreRefusedByName) {
  const TrainOptions o = options();
  trainer(o, "run", Begin::kNew).train(never_);
  const auto change = [&](const std::string& from, const std::string& to) {
    std::string index = data::tiny_index(kImages);
    index.replace(index.find(from), from.size(), to);
    const std::string pixels = data::tiny_images(kImages, kSource);
    write_file(folder_ / "data/index.csv", index);
    write_file(folder_ / "data/manifest.json", data::tiny_manifest(pixels, index, kImages, kSource).dump());
    dataset_ = std::make_unique<data::Dataset>(folder_ / "data");
  };
  const struct {
    const char *from, *to, *said;
  } changes[] = {{",test\n", ",train\n", "00000004_000.png, in 'test', not 'train'"},
                 {"Cardiomegaly", "Hernia", "00000000_001.png, 'Cardiomegaly', not 'Hernia'"},
                 {",0,", ",77,", "its images or patients are others"}};
  for (const auto& [from, to, said] : changes) {
    change(from, to);
    const std::string message = error_of([&] { trainer(o, "run", Begin::kResume); });
    EXPECT_NE(message.find(said), std::string::npos) << message;
  }
  change(",0,", ",0,");
  EXPECT_NO_THROW(trainer(o, "run", Begin::kResume));
  change(",test\n", ",train\n");
  EXPECT_TRUE(trainer(o, "run", Begin::kResumeOtherData).is_complete());
  const std::string known = file("run/data.csv");
  EXPECT_NE(known.find("00000004_000.png,4,Consolidation,train,"), std::string::npos) << known;
  EXPECT_NO_THROW(trainer(o, "run", Begin::kResume));  // these are its data now
  change(",test\n", ",test\n");
  EXPECT_THROW(trainer(o, "run", Begin::kResume), Error);
}

RUN_ON_DEVICES(TrainerTest);

}  // namespace
}  // namespace densetree::test
