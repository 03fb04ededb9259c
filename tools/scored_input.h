// Scores with their truths, from a trained run over a data set or from a table of any classifier: what `eval` and
// `calibrate` work on.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "data/dataset.h"

#include "metrics/score_table.h"
#include "tools/commands.h"
#include "tools/image_batches.h"
#include "tools/outputs.h"
#include "tree/label_tree.h"

namespace densetree::tools {

// The label tree that a run was trained with, which lies in its folder, or the standard tree for these labels.
tree::LabelTree run_tree(const std::filesystem::path& run, const data::LabelSet& labels);

struct ScoredInput {
  std::string run, data, split, scores, labels, tree;
  InferenceSettings inference;
  bool other_split = false, verify = false;
  bool allow_missing_labels = false;  // of a table

  void add(CLI::App& command, const char* default_split);
  bool from_run() const;                // Error unless it is clear which of the two is meant
  std::string source() const;           // for messages: the run or the table of scores
  void add_to(Outputs& outputs) const;  // the files that it reads

  // The label tree: --tree, else the run's own, else the standard one for the run's labels, or for the 14 findings.
  tree::LabelTree label_tree() const;
  // `labels` say what the columns of a table mean; others are named on standard error. A run must have been trained
  // on them.
  metrics::ScoredImages read(Device& device, const data::LabelSet& labels) const;

 private:
  void check_split(const data::Dataset& dataset, std::span<const std::int64_t> rows) const;
  metrics::ScoredImages score_split(Device& device, const data::LabelSet& labels) const;
};

}  // namespace densetree::tools
