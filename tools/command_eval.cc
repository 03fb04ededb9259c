#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/io/file.h"
#include "kernels/core/error.h"
#include "report/results.h"
#include "report/tables.h"
#include "tools/commands.h"
#include "tools/outputs.h"
#include "tools/provenance.h"
#include "tools/scored_input.h"
#include "tools/setting_options.h"

namespace densetree::tools {
namespace {

struct Flags {
  ScoredInput input;
  std::string calibration, out;
  std::vector<double> confidence = {0.5, 0.8, 0.95};
  metrics::EvaluationOptions options;
  bool replace = false;
};

// What lies in a folder with the metrics of an evaluation is of that evaluation.
bool is_result(const std::filesystem::path& file) {
  const auto holds_metrics = [](const std::filesystem::path& folder) {
    if (!std::filesystem::exists(folder / "metrics.json")) {
      return false;
    }
    const auto json = nlohmann::json::parse(read_file(folder / "metrics.json"), nullptr, false);
    return json.is_object() && json.contains("images") && json.contains("labels") && json.contains("mean_auroc");
  };
  const std::filesystem::path folder = file.parent_path();
  return holds_metrics(folder.filename() == "curves" ? folder.parent_path() : folder);
}

void check_outputs(const Common& common, const Flags& flags) {
  Outputs outputs(common, flags.replace);
  flags.input.add_to(outputs);
  outputs.read(flags.calibration);
  for (const std::filesystem::path& file : report::result_files(flags.out)) {
    outputs.write(file, is_result);
  }
}

report::ReportContext report_context(const Flags& flags, const Common& common, const Device& device) {
  const std::string what = flags.input.from_run()
                               ? fmt::format("{} on {}, split {}", flags.input.run, flags.input.data, flags.input.split)
                               : flags.input.scores;
  report::ReportContext context{"Evaluation of " + what, provenance(common, device)};
  if (!flags.calibration.empty()) {
    context.provenance.emplace_back("calibration", flags.calibration);
  }
  return context;
}

void run(const Common& common, const Flags& flags) {
  const std::string source = flags.input.source();
  check_outputs(common, flags);
  metrics::EvaluationOptions options = flags.options;
  options.seed = common.seed, options.threads = common.threads;
  std::optional<tree::Calibration> calibration;
  if (!flags.calibration.empty()) {
    calibration = tree::read_calibration(flags.calibration);
    check(flags.input.tree.empty() || flags.input.label_tree().to_toml() == calibration->tree.to_toml(),
          "{}: was made with another tree than {}", flags.calibration, flags.input.tree);
  }
  const data::LabelSet labels = calibration ? calibration->tree.labels() : flags.input.label_tree().labels();
  const auto device = common.open_device();
  const metrics::ScoredImages set = flags.input.read(*device, labels);
  const metrics::Evaluation evaluation = metrics::evaluate(set, options, source);
  std::optional<tree::TreeEvaluation> along_tree;
  if (calibration) {
    along_tree = tree::evaluate_tree(*device, *calibration, set, flags.confidence, options, source);
  }
  const tree::TreeEvaluation* tree = along_tree ? &*along_tree : nullptr;
  report::write_results(flags.out, set, evaluation, tree, report_context(flags, common, *device));
  if (common.json) {
    std::cout << report::metrics_json(evaluation, tree);
  } else {
    std::cout << report::text_table(evaluation) << (tree ? "\n" + report::text_table(*tree) : "");
  }
  std::cerr << fmt::format("eval: metrics, scores, curves and report.html are in {}\n", flags.out);
}

}  // namespace

void add_eval(CLI::App& app, const Common& common) {
  auto flags = std::make_shared<Flags>();
  auto* command = app.add_subcommand("eval", "how good scores are, and with a calibration, posteriors and thresholds");
  flags->input.add(*command, "test");
  command->add_option("--tree", flags->input.tree, "the label tree; the run's own or the standard one by default");
  auto* calibration =
      command->add_option("--calibration", flags->calibration, "a file that `densetree calibrate` wrote");
  command
      ->add_flag("--allow-missing-labels", flags->input.allow_missing_labels,
                 "evaluate the labels that --scores has columns for; without it, a missing one is an error")
      ->needs("--scores")
      ->excludes(calibration);  // posteriors along a tree need all of its labels
  command->add_option("--confidence", flags->confidence, "thresholds to evaluate, after commas")
      ->delimiter(',')
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->capture_default_str();
  add_settings(*command, flags->options);
  command->add_option("--out", flags->out, "folder of the results")->required();
  add_replace_flag(*command, flags->replace);
  command->callback([&common, flags] { run(common, *flags); });
}

}  // namespace densetree::tools
