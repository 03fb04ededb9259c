// Evaluates scores against the truth and writes what `densetree eval` leaves in its folder:
//   metrics.json                 INTERFACE.md: labels.<L>.auroc, .average_precision, .brier, their intervals, counts
//   scores.csv                   the scores, readable by `--scores` again
//   curves/roc.csv               label,threshold,false_positive_rate,true_positive_rate
//   curves/precision_recall.csv  label,threshold,recall,precision
// Undefined numbers are null, never a guess.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/data/labels.h"
#include "tree/bootstrap.h"
#include "tree/metrics.h"
#include "tree/score_table.h"

namespace densetree::tree {

struct EvaluationOptions {
  std::size_t draws = 1000;  // of the bootstrap over patients; 0: no intervals
  std::uint64_t seed = 1;
  int threads = 0;                  // 0: all cores
  std::size_t curve_points = 1000;  // at most, per label
};

// A number, and the interval that holds it with 95 %.
struct Estimate {
  std::optional<double> value;
  std::optional<Interval> interval;
};

struct LabelEvaluation {
  std::string name;
  std::int64_t images = 0, positives = 0;  // with a known truth
  Estimate auroc, average_precision, brier;
  // Draws that held no positive or no negative: they have no AUROC, and the interval speaks of the others.
  std::int64_t undefined_draws = 0;
  std::vector<CurvePoint> curve;
};

struct Evaluation {
  std::int64_t images = 0, patients = 0;
  std::size_t draws = 0;
  std::uint64_t seed = 0;
  std::vector<LabelEvaluation> labels;
  // Over the labels where defined; a draw counts where all of those are defined in it.
  Estimate mean_auroc, mean_average_precision;
};

// Throws Error, opened by `source`, when the set's values make no sense (ScoredImages::check_values).
Evaluation evaluate(const ScoredImages& set, const EvaluationOptions& options,
                    const std::string& source = "evaluation");

std::string metrics_json(const Evaluation& evaluation);
std::string text_table(const Evaluation& evaluation);  // for a terminal, one line a label

// Writes the files above into `folder`, made where needed; metrics.json last, so that it stands for all of them.
void write_evaluation(const std::filesystem::path& folder, const ScoredImages& set, const Evaluation& evaluation);

// `densetree eval --scores CSV --labels CSV --out DIR`: reads, joins, evaluates, writes.
struct ScoreFiles {
  std::filesystem::path scores, labels, out;
  data::LabelSet label_set;  // what the score columns mean
};
Evaluation evaluate_scores(const ScoreFiles& files, const EvaluationOptions& options);

}  // namespace densetree::tree
