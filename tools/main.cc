// densetree: trains and runs DenseNets on chest X-rays, and answers with calibrated confidence.
#include <iostream>

#include "kernels/core/error.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/provenance.h"
#include "tools/toml_settings.h"

namespace {

constexpr int kFailed = 1, kWrongUsage = 2;

int run(int argc, char** argv) {
  using namespace densetree::tools;
  CLI::App app(
      "densetree trains and runs DenseNets on chest X-rays and answers with calibrated confidence.\n"
      "It is a research tool, not a medical device.",
      "densetree");
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // a repeated flag: the last one wins
  app.require_subcommand(1);
  app.fallthrough();
  Common common;
  common.config = app.set_config("--config", "", "settings from a TOML file; flags win");
  app.config_formatter(std::make_shared<TomlSettings>(app));
  add_common(app, common);
  add_synth(app, common);
  add_prepare(app, common);
  add_train(app, common);
  add_calibrate(app, common);
  add_eval(app, common);
  add_predict(app, common);
  add_embed(app, common);
  add_trace(app, common);
  add_tree(app, common);
  add_plan(app, common);
  add_devices(app, common);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    app.exit(e, std::cout, std::cerr);
    return kWrongUsage;
  }
  return interrupted() ? kInterrupted : 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    densetree::tools::remember_command_line(argc, argv);
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::cerr << "densetree: error: " << e.what() << '\n';
    return kFailed;
  }
}
