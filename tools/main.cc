// densetree: trains and runs DenseNets on chest X-rays, and answers with calibrated confidence.
#include <fcntl.h>
#include <unistd.h>

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
  app.set_version_flag("--version", "densetree " DENSETREE_VERSION);
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
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    if (CLI::Option* out = command->get_option_no_throw("--out")) {
      out->check([](const std::string& text) { return text.empty() ? "it is empty; name a file or folder" : ""; }, "");
    }
  }
  try {
    std::vector<std::string> arguments;  // CLI11 wants the last one first
    for (int i = argc - 1; i > 0; --i) {
      arguments.push_back(literal(argv[i]));
    }
    app.parse(std::move(arguments));
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    app.exit(e, std::cout, std::cerr);
    return kWrongUsage;
  }
  if (interrupted()) {
    return kInterrupted;
  }
  densetree::check(static_cast<bool>(std::cout.flush()), "standard output cannot be written");
  return 0;
}

}  // namespace

// Where standard input or output is closed, the first file that is opened would take its place.
void open_standard_streams() {
  int file = 0;
  while (file >= 0 && file <= STDERR_FILENO) {
    file = ::open("/dev/null", O_RDWR);
  }
  ::close(file);
}

int main(int argc, char** argv) {
  open_standard_streams();
  try {
    densetree::tools::remember_command_line(argc, argv);
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::cerr << "densetree: error: " << e.what() << '\n';
    return kFailed;
  }
}
