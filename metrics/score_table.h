// Score files: a CSV (plain or gzipped) with `Image Index` and one column of probabilities per label, named by the
// label with or without `prob_` before it; and their meeting with NIH's label table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/labels.h"

namespace densetree::metrics {

struct ScoreTable {
  std::string source;
  std::vector<std::string> images;  // N, in the file's order
  std::vector<std::size_t> lines;   // N, in the file
  std::vector<std::string> labels;  // L, in the order of the label set
  std::vector<double> scores;       // (N, L), in [0, 1]
  std::vector<std::string> notes;   // what a user should hear: columns and labels that are left out
};

// What becomes of labels that no column is called after.
enum class MissingLabels : std::uint8_t { kRefused, kLeftOut };

// Reads the columns of the labels in `labels`. Other columns are left out and named in the notes, those that look like
// a missing label by themselves. Throws Error naming file, line and column: missing labels where they are refused, or
// if all are, a label twice, an image twice, a score that is no number in [0, 1], no rows.
ScoreTable read_score_table(const std::filesystem::path& path, const data::LabelSet& labels,
                            MissingLabels allowed = MissingLabels::kRefused);

// Scores with the truth: what an evaluation or a calibration works on.
struct ScoredImages {
  std::vector<std::string> images;     // N
  std::vector<std::int64_t> patients;  // N
  std::vector<std::string> labels;     // L
  std::vector<double> scores;          // (N, L), in [0, 1]
  std::vector<float> targets;          // (N, L): 1, 0, or NaN where unknown

  // Throws Error, opened by `source`, on sizes that do not agree, no image, no label, and naming image and label on a
  // score outside [0, 1] or a target that is not 0, 1 or NaN.
  void check_values(const std::string& source) const;
};

// Looks up every scored image in the label table, which may hold more. Throws Error saying how many are not there,
// naming the first.
ScoredImages join(const ScoreTable& scores, const data::LabelTable& truth, const data::LabelSet& labels);

// The score file of `set`: `Image Index,prob_<label>…`, read back as the same numbers.
std::string score_csv(const ScoredImages& set);

}  // namespace densetree::metrics
