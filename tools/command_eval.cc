#include <iostream>

#include "kernels/core/error.h"
#include "tools/commands.h"
#include "tools/progress.h"
#include "tools/trained_model.h"
#include "tree/evaluation.h"

namespace densetree::tools {
namespace {

struct Flags {
  std::string run, data, split = "test", scores, labels, out;
  std::size_t draws = 1000;
  std::int64_t batch_size = 16;
};

tree::ScoredImages score_split(const Common& common, const Flags& flags) {
  const data::Dataset dataset(flags.data);
  const std::vector<std::int64_t> rows = dataset.rows_of(flags.split);
  check(!rows.empty(), "{} has no images in the split '{}'", flags.data, flags.split);
  const auto device = common.open_device();
  TrainedModel trained(*device, flags.run, std::min(flags.batch_size, static_cast<std::int64_t>(rows.size())));
  check(dataset.image_size() == trained.meta.preprocessing.source_size,
        "{} holds images of {} pixels a side and {} was trained on {}; prepare the data with --size {}", flags.data,
        dataset.image_size(), trained.weights.string(), trained.meta.preprocessing.source_size,
        trained.meta.preprocessing.source_size);
  ProgressBar bar("eval");
  bar.update(0, rows.size());
  nn::Scores scores = nn::score(*trained.model, dataset, trained.labels, rows,
                                [&](std::int64_t done) { bar.update(done, rows.size()); });
  tree::ScoredImages set;
  for (const std::int64_t row : rows) {
    set.images.push_back(dataset.row(row).image);
    set.patients.push_back(dataset.row(row).patient);
  }
  set.labels = trained.labels.names();
  set.scores = std::move(scores.probabilities);
  set.targets = std::move(scores.targets);
  return set;
}

void run(const Common& common, const Flags& flags) {
  const bool from_run = !flags.run.empty() && !flags.data.empty();
  const bool from_scores = !flags.scores.empty() && !flags.labels.empty();
  check(from_run != from_scores, "eval needs either --run and --data, or --scores and --labels");
  const tree::EvaluationOptions options{.draws = flags.draws, .seed = common.seed, .threads = common.threads};
  tree::Evaluation evaluation;
  if (from_scores) {
    evaluation = tree::evaluate_scores(
        {.scores = flags.scores, .labels = flags.labels, .out = flags.out, .label_set = {}}, options);
  } else {
    const tree::ScoredImages set = score_split(common, flags);
    evaluation = tree::evaluate(set, options, flags.run);
    tree::write_evaluation(flags.out, set, evaluation);
  }
  std::cout << (common.json ? tree::metrics_json(evaluation) : tree::text_table(evaluation));
  std::cerr << fmt::format("eval: metrics, scores and curves are in {}\n", flags.out);
}

}  // namespace

void add_eval(CLI::App& app, const Common& common) {
  auto flags = std::make_shared<Flags>();
  auto* command = app.add_subcommand("eval", "AUROC, average precision and Brier score, with intervals over patients");
  command->add_option("--run", flags->run, "a trained run, with --data");
  command->add_option("--data", flags->data, "a prepared data set");
  command->add_option("--split", flags->split, "train, val or test")->capture_default_str();
  command->add_option("--scores", flags->scores, "a table of scores from any classifier, with --labels");
  command->add_option("--labels", flags->labels, "NIH's label table, plain or gzipped");
  command->add_option("--batch-size", flags->batch_size, "images scored at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--draws", flags->draws, "bootstrap draws; 0: no intervals")->capture_default_str();
  command->add_option("--out", flags->out, "folder of the results")->required();
  command->callback([&common, flags] { run(common, *flags); });
}

}  // namespace densetree::tools
