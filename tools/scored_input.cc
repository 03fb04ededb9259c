#include "tools/scored_input.h"

#include <iostream>

#include "kernels/core/error.h"
#include "nn/checkpoint_labels.h"
#include "nn/run_folder.h"
#include "nn/trained_model.h"
#include "tools/progress.h"
#include "tools/setting_options.h"

namespace densetree::tools {

namespace {

data::LabelSet labels_of_run(const std::filesystem::path& run) {
  return nn::labels_of(CheckpointMeta::from(TensorFile::open(nn::trained_weights(run))));
}

}  // namespace

void ScoredInput::add(CLI::App& command, const char* default_split) {
  split = default_split;
  command.add_option("--run", run, "a trained run, with --data");
  auto* of_data = command.add_option("--data", data, "a prepared data set");
  command.add_option("--split", split, "of the data set")
      ->check(CLI::IsMember(names_of<data::Side>()))
      ->capture_default_str();
  command.add_option("--scores", scores, "a table of scores from any classifier, with --labels");
  command.add_option("--labels", labels, "NIH's label table, plain or gzipped");
  add_settings(command, inference);
  command
      .add_flag("--other-split", other_split,
                "take images that the run was trained on with another split or other labels")
      ->needs(of_data);
  command.add_flag("--verify", verify, "read the whole data set first and compare it with its hashes")->needs(of_data);
}

void ScoredInput::add_to(Outputs& outputs) const {
  for (const std::string* file : {&scores, &labels, &tree}) {
    outputs.read(*file);
  }
  outputs.read_run(run);
  outputs.read_data(data);
}

// Images that a run was trained on are no test of it.
void ScoredInput::check_split(const data::Dataset& dataset, std::span<const std::int64_t> rows) const {
  const std::filesystem::path known = nn::run_data(run);
  if (!std::filesystem::exists(known)) {
    std::cerr << fmt::format("{} does not say which images it was trained on; these may be among them\n", run);
    return;
  }
  const std::string conflict = data::find_conflict(data::read_known_rows(known), dataset.rows_with_pixels(rows));
  check(conflict.empty() || other_split,
        "{}, split {}: is not as {} was trained on it: {}; take the data that it was trained on, or insist with "
        "--other-split",
        data, split, run, conflict);
}

bool ScoredInput::from_run() const {
  const bool a_run = !run.empty() && !data.empty(), a_table = !scores.empty() && !labels.empty();
  check(a_run != a_table && (a_run ? scores.empty() && labels.empty() : run.empty() && data.empty()),
        "give either --run and --data, or --scores and --labels");
  return a_run;
}

std::string ScoredInput::source() const {
  return from_run() ? run : scores;
}

tree::LabelTree ScoredInput::label_tree() const {
  if (!tree.empty()) {
    return tree::LabelTree::read(tree);
  }
  if (!from_run()) {
    return tree::LabelTree::of_14_labels();
  }
  return run_tree(run, labels_of_run(run));
}

metrics::ScoredImages ScoredInput::score_split(Device& device, const data::LabelSet& wanted) const {
  const data::Dataset dataset(data);
  const std::vector<std::int64_t> rows = dataset.rows_of(split);
  check(!rows.empty(), "{} has no images in the split '{}'", data, split);
  check_split(dataset, rows);
  if (verify) {
    dataset.verify();
  }
  nn::TrainedModel trained(device, run, inference.batch_of(rows.size()));
  check(trained.labels == wanted, "{}: was trained on the labels {}; wanted are {}", trained.weights.string(),
        fmt::join(trained.labels.names(), ", "), fmt::join(wanted.names(), ", "));
  trained.check_source(dataset);
  ProgressBar bar("scoring");
  bar.update(0, rows.size());
  nn::Scores result = nn::score(*trained.model, dataset, trained.labels, rows, [&](std::int64_t done) {
    bar.update(done, rows.size());
    return true;
  });
  metrics::ScoredImages set;
  for (const std::int64_t row : rows) {
    set.images.push_back(dataset.row(row).image);
    set.patients.push_back(dataset.row(row).patient);
  }
  set.labels = trained.labels.names();
  set.scores = std::move(result.probabilities);
  set.targets = std::move(result.targets);
  return set;
}

metrics::ScoredImages ScoredInput::read(Device& device, const data::LabelSet& wanted) const {
  if (from_run()) {
    return score_split(device, wanted);
  }
  const metrics::ScoreTable table = metrics::read_score_table(
      scores, wanted, allow_missing_labels ? metrics::MissingLabels::kLeftOut : metrics::MissingLabels::kRefused);
  for (const std::string& note : table.notes) {
    std::cerr << fmt::format("{}: {}\n", table.source, note);
  }
  return metrics::join(table, data::read_label_table(labels), wanted);
}

tree::LabelTree run_tree(const std::filesystem::path& run, const data::LabelSet& labels) {
  const std::filesystem::path own = nn::run_tree(run);
  return std::filesystem::exists(own) ? tree::LabelTree::read(own) : tree::LabelTree::standard_for(labels);
}

}  // namespace densetree::tools
