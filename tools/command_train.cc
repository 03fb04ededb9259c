#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/io/file.h"
#include "engine/io/json.h"
#include "kernels/core/error.h"
#include "metrics/ranking.h"
#include "nn/run_config.h"
#include "nn/trainer.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/outputs.h"
#include "tools/progress.h"
#include "tools/provenance.h"
#include "tools/scored_input.h"
#include "tools/setting_options.h"

namespace densetree::tools {
namespace {

struct Flags {
  nn::TrainOptions options;
  std::string data, run, tree;
  bool resume = false, replace = false, other_split = false, verify = false;
};

std::optional<double> mean_auroc(const nn::Scores& scores, std::int64_t labels) {
  double sum = 0;
  int defined = 0;
  for (std::int64_t label = 0; label < labels; ++label) {
    const std::size_t count = scores.targets.size() / static_cast<std::size_t>(labels);
    const auto stride = static_cast<std::size_t>(labels);
    if (const auto value = metrics::auroc(metrics::rank({scores.probabilities.data() + label, count, stride},
                                                        {scores.targets.data() + label, count, stride}))) {
      sum += *value;
      ++defined;
    }
  }
  return defined > 0 ? std::optional(sum / defined) : std::nullopt;
}

nlohmann::ordered_json to_json(const nn::EpochMetrics& m, bool best) {
  return {{"epoch", m.epoch},
          {"steps", m.steps},
          {"lr", m.lr},
          {"train_loss", m.train_loss},
          {"val_loss", m.val_loss},
          {"val_mean_auroc", m.val_auroc ? nlohmann::ordered_json(*m.val_auroc) : nullptr},
          {"seconds", m.seconds},
          {"images_per_second", m.images_per_second},
          {"waiting", m.waiting},
          {"best", best}};
}

void print_epoch(const Common& common, const nn::EpochMetrics& m, bool best) {
  if (common.json) {
    std::cout << json_text(to_json(m, best)) << std::endl;
    return;
  }
  std::cout << fmt::format("epoch {:3}  train loss {:.5f}  val loss {:.5f}  val AUROC {}  {:.1f} images/s{}", m.epoch,
                           m.train_loss, m.val_loss, m.val_auroc ? fmt::format("{:.4f}", *m.val_auroc) : "-",
                           m.images_per_second, best ? "  best so far" : "")
            << std::endl;
}

// The label tree to train for: --tree, which a resumed run may only repeat, or the resumed run's own.
std::optional<tree::LabelTree> read_tree(const Flags& flags) {
  const std::filesystem::path own = nn::run_tree(flags.run);
  std::optional<tree::LabelTree> tree;
  if (!flags.tree.empty()) {
    tree = tree::LabelTree::read(flags.tree);
  }
  if (flags.resume && (tree || std::filesystem::exists(own))) {
    check(std::filesystem::exists(own), "{} was begun without a tree; --tree cannot be given to resume it", flags.run);
    const tree::LabelTree begun_with = tree::LabelTree::read(own);
    check(!tree || tree->to_toml() == begun_with.to_toml(), "{} was begun with another tree than {}; see {}", flags.run,
          flags.tree, own.string());
    return begun_with;
  }
  return tree;
}

nn::Begin begin_of(const Flags& flags) {
  check(!flags.resume || !flags.replace, "give --resume to go on with the run, or --replace to begin it anew");
  check(flags.resume || !flags.other_split, "--other-split is for --resume");
  return flags.replace       ? nn::Begin::kReplace
         : flags.other_split ? nn::Begin::kResumeOtherData
         : flags.resume      ? nn::Begin::kResume
                             : nn::Begin::kNew;
}

// A new run must not overwrite what it reads.
void check_outputs(const Common& common, const Flags& flags) {
  Outputs outputs(common, true);
  outputs.read(flags.tree);
  outputs.read(flags.options.init);
  outputs.read_data(flags.data);
  for (const std::filesystem::path& file : nn::run_files(flags.run)) {
    outputs.write(file, [](const std::filesystem::path&) { return true; });  // the run's folder knows its own
  }
}

// The command that continues the run, as a shell takes it.
std::string resume_command(const Common& common, const Flags& flags) {
  std::string command = "densetree train --resume";
  const auto add = [&](const char* flag, const std::string& value) {
    command += fmt::format(" {} {}", flag, shell_quoted(value));
  };
  add("--data", flags.data);
  add("--out", flags.run);
  if (common.device != "auto") {
    add("--device", common.device);
  }
  if (common.threads != 0) {
    add("--threads", fmt::format("{}", common.threads));
  }
  return command;
}

void print_complete(const Common& common, const Flags& flags, std::int64_t epochs) {
  if (common.json) {
    std::cout << json_text({{"outcome", "already-done"}, {"run", flags.run}, {"epochs", epochs}}) << std::endl;
  } else {
    std::cout << fmt::format("{} is complete already, with {} epochs; --epochs sets how many\n", flags.run, epochs);
  }
}

void run(const Common& common, Flags flags) {
  nn::TrainOptions& o = flags.options;
  const std::optional<tree::LabelTree> label_tree = read_tree(flags);
  if (label_tree) {
    o.labels = label_tree->labels();
    o.tree = label_tree->to_toml();
  }
  const nn::Begin begin = begin_of(flags);
  if (!flags.resume) {
    check_outputs(common, flags);
  }
  const data::Dataset dataset(flags.data);
  if (flags.verify) {
    dataset.verify();
  }
  const auto device = common.open_device();
  std::unique_ptr<ProgressBar> bar;
  nn::TrainListener listener;
  listener.note = [](const std::string& text) { std::cerr << "train: " << text << '\n'; };
  listener.progress = [&](std::int64_t epoch, std::int64_t done, std::int64_t total, double loss) {
    if (!bar) {
      bar = std::make_unique<ProgressBar>(fmt::format("epoch {}", epoch));
    }
    bar->update(done, total, fmt::format("loss {:.5f}", loss));
  };
  listener.epoch = [&](const nn::EpochMetrics& metrics, bool best) {
    bar.reset();
    print_epoch(common, metrics, best);
  };
  listener.auroc = mean_auroc;
  nn::Trainer trainer(*device, dataset, o, flags.run, begin, listener);
  if (trainer.is_complete()) {
    print_complete(common, flags, trainer.epochs());
    return;
  }
  const nn::ModelPlan& plan = trainer.model().plan();
  std::cerr << fmt::format("train: {} with {} labels on {}, {:.2f} GiB in one allocation, batch norm {}\n", o.arch.name,
                           o.labels.size(), device->info().name, plan.bytes() / 0x1p30, plan.batch_norms().describe());
  // From here on signals save; before, they end the program, and nothing is lost.
  const bool complete = trainer.train(requests());
  bar.reset();
  if (!complete) {
    set_interrupted();
    std::cerr << fmt::format("train: interrupted and saved; `{}` continues\n", resume_command(common, flags));
  }
}

// With --resume the run's own settings stand in for flags that are not given.
void read_settings(const CLI::App& command, Flags& flags) {
  const std::filesystem::path file = std::filesystem::path(flags.run) / "config.toml";
  check(std::filesystem::exists(file), "{} is not a run to resume: it has no config.toml", flags.run);
  nn::read_run_config(flags.options, file, [&](const Setting& setting) {
    const std::string flag = std::string("--") + setting.name;
    const CLI::Option* option = command.get_option_no_throw(flag);
    return (option != nullptr ? option : command.get_parent()->get_option(flag))->count() == 0;
  });
}

void add_options(CLI::App& command, Flags& flags) {
  command.add_option("--data", flags.data, "a prepared data set")->required();
  command.add_option("--out", flags.run, "the run folder")->required();
  command.add_option("--tree", flags.tree, "a label tree, whose leaves are the labels to train; the 14 findings else");
  add_settings(command, flags.options);
  command.add_flag("--resume", flags.resume, "continue the run in --out; settings are its own unless given");
  command.add_flag("--other-split", flags.other_split, "resume with other data, or another split of them, than before");
  command.add_flag("--verify", flags.verify, "read the whole data set first and compare it with its hashes");
  add_replace_flag(command, flags.replace);
}

}  // namespace

void add_train(CLI::App& app, const Common& common) {
  auto flags = std::make_shared<Flags>();
  auto* command = app.add_subcommand("train", "trains a DenseNet on a prepared data set");
  add_options(*command, *flags);
  command->callback([&common, flags, command] {
    flags->options.seed = common.seed;
    if (flags->resume) {
      read_settings(*command, *flags);
    }
    run(common, *flags);
  });
}

}  // namespace densetree::tools
