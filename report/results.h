// What `densetree eval` leaves in its folder:
//   metrics.json                 labels.<L>.auroc, .average_precision, .brier, their intervals, counts; with a
//                                calibration nodes.<V>, confidence.<T>, confusions, co_occurrence and thresholds
//   scores.csv                   the scores, readable by `--scores` again
//   posteriors.csv               with a calibration: a column per node of the label tree
//   curves/roc.csv               label,threshold,false_positive_rate,true_positive_rate
//   curves/precision_recall.csv  label,threshold,recall,precision
//   curves/reliability.csv, curves/risk_coverage.csv  with a calibration, per node
//   report.html                  all of it for people
// Undefined numbers are null, never a guess.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "metrics/evaluation.h"
#include "report/report.h"
#include "tree/tree_evaluation.h"

namespace densetree::report {

// `tree` is null where there is no calibration.
std::string metrics_json(const metrics::Evaluation& evaluation, const tree::TreeEvaluation* tree = nullptr);

// The files above.
std::vector<std::filesystem::path> result_files(const std::filesystem::path& folder);

// Writes them into `folder`, made where needed; metrics.json last, so that it stands for all of them. Files
// of an earlier evaluation that this one has no successor for are removed.
void write_results(const std::filesystem::path& folder, const metrics::ScoredImages& set,
                   const metrics::Evaluation& evaluation, const tree::TreeEvaluation* tree,
                   const ReportContext& context);

}  // namespace densetree::report
