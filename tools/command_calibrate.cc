#include <iostream>

#include "engine/io/file.h"
#include "kernels/core/error.h"
#include "tools/commands.h"
#include "tools/outputs.h"
#include "tools/scored_input.h"
#include "tools/setting_options.h"
#include "tree/calibration.h"

namespace densetree::tools {
namespace {

struct Flags {
  ScoredInput input;
  tree::CalibrationSettings settings;
  std::string out, choose;
  std::vector<std::string> node_priors;
  double choose_share = 0.5;
  bool paper = false, replace = false;
};

bool is_calibration(const std::filesystem::path& file) {
  tree::read_calibration(file);  // throws where it is none
  return true;
}

// "Effusion=0.1"
std::pair<std::string, double> parse_node_prior(const std::string& text) {
  const std::size_t at = text.rfind('=');
  double value = 0;
  const bool ok = at != std::string::npos && at > 0 && CLI::detail::lexical_cast(text.substr(at + 1), value);
  check(ok, "--node-prior is '{}'; it must be NODE=PROBABILITY, as in Effusion=0.1", text);
  return {text.substr(0, at), value};
}

tree::CalibrationSettings settings_of(const Flags& flags) {
  tree::CalibrationSettings s = flags.paper ? tree::CalibrationSettings::paper() : flags.settings;
  for (const std::string& text : flags.node_priors) {
    const auto [at, is_new] = s.node_priors.insert(parse_node_prior(text));
    check(is_new, "--node-prior is given twice for {}", at->first);
  }
  return s;
}

void run(const Common& common, const Flags& flags) {
  const tree::CalibrationSettings settings = settings_of(flags);
  std::optional<tree::ThresholdRequest> request;
  if (!flags.choose.empty()) {
    request = tree::parse_threshold_request(flags.choose);
  }
  Outputs outputs(common, flags.replace);
  flags.input.add_to(outputs);
  outputs.write(flags.out, is_calibration);
  const tree::LabelTree label_tree = flags.input.label_tree();
  const auto device = common.open_device();
  const metrics::ScoredImages set = flags.input.read(*device, label_tree.labels());
  const std::string source = flags.input.source();
  const tree::Calibration calibration = request
                                            ? tree::fit_and_choose(*device, label_tree, settings, set, source, *request,
                                                                   flags.choose_share, common.seed, common.threads)
                                            : tree::fit(*device, label_tree, settings, set, source);
  const std::string json = tree::calibration_json(calibration);
  write_file(flags.out, json);
  std::cout << (common.json ? json : tree::calibration_table(calibration));
  std::cerr << fmt::format("calibrate: {} is written\n", flags.out);
}

}  // namespace

void add_calibrate(CLI::App& app, const Common& common) {
  auto flags = std::make_shared<Flags>();
  auto* command = app.add_subcommand("calibrate", "posteriors along the label tree, and thresholds with a guarantee");
  flags->input.add(*command, "val");
  command->add_option("--tree", flags->input.tree, "the label tree; the run's own or the standard one by default");
  command->add_option("--out", flags->out, "the calibration file")->required();
  const std::vector<CLI::Option*> settings = add_settings(*command, flags->settings);
  auto* paper = command->add_flag("--paper", flags->paper, "the settings of Davis et al. 2019");
  for (CLI::Option* option : settings) {
    paper->excludes(option);
  }
  command->add_option("--node-prior", flags->node_priors, "NODE=PROBABILITY, may be repeated")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--choose", flags->choose,
                      "choose thresholds: precision:0.8,delta:0.1 | any-false:0.1 | miss:0.1");
  command
      ->add_option("--choose-share", flags->choose_share,
                   "of the patients, that choose thresholds; the others calibrate")
      ->check(share_range())
      ->capture_default_str();
  add_replace_flag(*command, flags->replace);
  command->callback([&common, flags] { run(common, *flags); });
}

}  // namespace densetree::tools
