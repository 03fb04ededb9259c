// Evaluates scores against the truth: AUROC, average precision and Brier score of every label, with intervals over
// patients, and the curves behind them (docs/method.md §8). What is undefined has no value, never a guess.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/io/settings.h"
#include "metrics/bootstrap.h"
#include "metrics/ranking.h"
#include "metrics/score_table.h"

namespace densetree::metrics {

struct EvaluationOptions {
  std::size_t draws = 1000;
  std::uint64_t seed = 1;
  int threads = 0;                  // 0: all cores
  std::size_t curve_points = 1000;  // at most, per label

  static void settings(auto& o, auto&& f) {
    f(o.draws, Setting{"draws", "of the bootstrap over patients; 0: no intervals", between(0, 1e6)});
  }
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

}  // namespace densetree::metrics
