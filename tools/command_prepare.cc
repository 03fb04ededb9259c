#include <chrono>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "data/prepare.h"
#include "engine/io/json.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/outputs.h"
#include "tools/progress.h"
#include "tools/setting_options.h"

namespace densetree::tools {
namespace {

using data::PrepareOptions;
using data::PrepareProgress;
using data::PrepareResult;

void print_json(const PrepareOptions& options, const PrepareResult& result, double seconds) {
  nlohmann::ordered_json json{{"outcome", name_of(result.outcome)},
                              {"data", options.out.string()},
                              {"images", result.images},
                              {"image_size", options.size},
                              {"rejected", result.rejected},
                              {"decoded", result.decoded},
                              {"seconds", seconds}};
  for (const data::Side side : data::kSides) {
    const data::SideCount& count = result.sides[static_cast<std::size_t>(side)];
    json["splits"][name_of(side)] = {{"images", count.images}, {"patients", count.patients}};
  }
  std::cout << json_text(json, 2) << '\n';
}

void print_text(const PrepareOptions& options, const PrepareResult& result, double seconds) {
  if (result.outcome == PrepareResult::Outcome::kStopped) {
    std::cout << fmt::format("stopped after {} images; the same command continues\n", result.decoded);
    return;
  }
  const bool already = result.outcome == PrepareResult::Outcome::kAlreadyDone;
  std::cout << fmt::format("{} {}: {} images of {}x{} pixels{}\n", options.out.string(),
                           already ? "is complete already" : "is complete", result.images, options.size, options.size,
                           already ? "" : fmt::format(", {} decoded in {:.1f} s", result.decoded, seconds));
  for (const data::Side side : data::kSides) {
    const data::SideCount& count = result.sides[static_cast<std::size_t>(side)];
    std::cout << fmt::format("  {:5} {:7} images of {:6} patients\n", name_of(side), count.images, count.patients);
  }
  std::cout << fmt::format("  {} rejected, listed with the reason in {}\n", result.rejected,
                           (options.out / "rejected.csv").string());
}

void run(const Common& common, PrepareOptions options) {
  if (options.jobs == 0) options.jobs = common.threads;
  Outputs outputs(common, options.replace);
  for (const std::filesystem::path* file : {&options.labels, &options.split.train_val_list, &options.split.test_list}) {
    outputs.read(*file);
  }
  for (const std::filesystem::path& file : data::data_files(options.out)) {
    outputs.write(file, [](const std::filesystem::path&) { return true; });  // prepare() itself knows a data set
  }
  options.stop = &requests().stop;
  const auto start = std::chrono::steady_clock::now();
  ProgressBar bar("prepare");
  const PrepareResult result = data::prepare(options, [&](const PrepareProgress& at) {
    if (!at.note.empty()) bar.note(at.note);
    bar.update(at.done, at.total, at.rejected > 0 ? fmt::format("{} rejected", at.rejected) : "");
  });
  bar.finish();
  if (result.outcome == PrepareResult::Outcome::kStopped) {
    set_interrupted();
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  (common.json ? print_json : print_text)(options, result, seconds);
}

}  // namespace

void add_prepare(CLI::App& app, const Common& common) {
  auto options = std::make_shared<PrepareOptions>();
  auto* command = app.add_subcommand("prepare", "decode, resize, pack and split X-rays by patient");
  command->add_option("--images", options->images, "folders of PNG or JPEG files, searched with all below")->required();
  command->add_option("--labels", options->labels, "NIH's Data_Entry table, plain or .gz")->required();
  command->add_option("--out", options->out, "folder of the packed data set")->required();
  add_settings(*command, *options);
  command->add_option("--jobs", options->jobs, "decoding threads; 0: --threads, or one per core")
      ->check(thread_range());
  command->add_flag("--strict", options->strict,
                    "fail on the first image that cannot be taken, and on list names without an image");
  command->add_flag("--replace", options->replace, "whatever lies in --out, such as a data set of other settings");
  auto* seed = add_setting(*command, options->split.seed,
                           {"split-seed", "draws the split; without it --seed does", kSeedSetting.limits});
  seed->default_str("");
  auto* train_val = command->add_option("--train-val-list", options->split.train_val_list,
                                        "image names for training and validation, one a line");
  auto* test = command->add_option("--test-list", options->split.test_list, "image names for testing, one a line");
  train_val->needs(test)->excludes("--test-fraction");
  test->needs(train_val);
  command->callback([&common, options, seed] {
    if (seed->count() == 0) options->split.seed = common.seed;
    run(common, *options);
  });
}

}  // namespace densetree::tools
