#include <iostream>
#include <nlohmann/json.hpp>

#include "data/synth/synth.h"
#include "engine/io/json.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/progress.h"
#include "tools/setting_options.h"

namespace densetree::tools {
namespace {

using data::SynthOptions;
using data::SynthResult;

void print_result(const SynthOptions& options, const SynthResult& result, double seconds, bool json) {
  const bool whole = result.images == options.count;
  if (json) {
    std::cout << json_text({{"outcome", whole ? "done" : "stopped"},
                            {"out", options.out.string()},
                            {"images", result.images},
                            {"drawn", result.drawn},
                            {"image_size", options.size},
                            {"seed", options.seed},
                            {"seconds", seconds}},
                           2)
              << '\n';
  } else if (whole) {
    std::cout << fmt::format("{}: {} images of {}x{} pixels, {} drawn in {:.1f} s\n", options.out.string(),
                             result.images, options.size, options.size, result.drawn, seconds);
  } else {
    std::cout << fmt::format("stopped after {} of {} images; the same command continues\n", result.images,
                             options.count);
  }
}

void run(const Common& common, SynthOptions options) {
  options.seed = common.seed, options.threads = common.threads, options.stop = &requests().stop;
  const auto start = std::chrono::steady_clock::now();
  ProgressBar bar("synth");
  const SynthResult result = data::write_synth(options, [&](std::int64_t done) {
    bar.update(static_cast<std::size_t>(done), static_cast<std::size_t>(options.count));
  });
  bar.finish();
  if (result.images < options.count) {
    set_interrupted();
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  print_result(options, result, seconds, common.json);
}

}  // namespace

void add_synth(CLI::App& app, const Common& common) {
  auto options = std::make_shared<SynthOptions>();
  auto* command = app.add_subcommand("synth", "draw synthetic chest X-rays with findings, in NIH's layout");
  command->add_option("--out", options->out, "folder for images/ and Data_Entry_2017.csv")->required();
  add_settings(*command, *options);
  command->get_option("--count")->required()->default_str("");
  command->callback([&common, options] { run(common, *options); });
}

}  // namespace densetree::tools
