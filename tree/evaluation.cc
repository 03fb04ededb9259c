#include "tree/evaluation.h"

#include <fmt/format.h>

#include <omp.h>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/io/csv.h"
#include "engine/io/file.h"
#include "kernels/core/error.h"
#include "tree/patients.h"

namespace densetree::tree {

namespace {

using nlohmann::ordered_json;

template <class T>
Column<T> column(const std::vector<T>& matrix, std::size_t label, std::size_t labels) {
  return {matrix.data() + label, matrix.size() / labels, labels};
}

LabelEvaluation evaluate_label(const ScoredImages& set, std::size_t label, const Ranking& ranking,
                               std::size_t curve_points) {
  const auto scores = column(set.scores, label, set.labels.size());
  LabelEvaluation result;
  result.name = set.labels[label];
  result.images = ranking.positives + ranking.negatives;
  result.positives = ranking.positives;
  result.auroc.value = auroc(ranking);
  result.average_precision.value = average_precision(ranking);
  result.brier.value = brier(scores, column(set.targets, label, set.labels.size()));
  result.curve = curve(ranking, scores, curve_points);
  return result;
}

// Ranks and evaluates every label, in parallel.
std::vector<Ranking> evaluate_labels(const ScoredImages& set, const EvaluationOptions& options,
                                     Evaluation& evaluation) {
  const std::size_t labels = set.labels.size();
  std::vector<Ranking> rankings(labels);
  evaluation.labels.resize(labels);
  const int threads = options.threads > 0 ? options.threads : omp_get_max_threads();
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (std::size_t label = 0; label < labels; ++label) {
    rankings[label] = rank(column(set.scores, label, labels), column(set.targets, label, labels));
    evaluation.labels[label] = evaluate_label(set, label, rankings[label], options.curve_points);
  }
  return rankings;
}

// One number of every draw for one label. A metric without a point estimate gets no interval.
void set_interval(Estimate& estimate, const std::vector<DrawMetrics>& draws, std::size_t label, std::size_t labels,
                  double DrawMetrics::*metric) {
  std::vector<double> values;
  for (std::size_t at = label; estimate.value && at < draws.size(); at += labels) {
    values.push_back(draws[at].*metric);
  }
  estimate.interval = percentile_interval(std::move(values));
}

void set_intervals(Evaluation& evaluation, const std::vector<DrawMetrics>& draws) {
  const std::size_t labels = evaluation.labels.size();
  for (std::size_t label = 0; label < labels; ++label) {
    LabelEvaluation& result = evaluation.labels[label];
    set_interval(result.auroc, draws, label, labels, &DrawMetrics::auroc);
    set_interval(result.average_precision, draws, label, labels, &DrawMetrics::average_precision);
    set_interval(result.brier, draws, label, labels, &DrawMetrics::brier);
    for (std::size_t at = label; result.auroc.value && at < draws.size(); at += labels) {
      result.undefined_draws += std::isnan(draws[at].auroc);
    }
  }
}

// The mean over the labels that have this metric, and its interval. A draw's mean is NaN where one of them is.
Estimate mean_of(const Evaluation& evaluation, const std::vector<DrawMetrics>& draws, Estimate LabelEvaluation::*metric,
                 double DrawMetrics::*of_draw) {
  const std::size_t labels = evaluation.labels.size();
  std::vector<double> means(draws.size() / labels, 0.0);
  double sum = 0, count = 0;
  for (std::size_t label = 0; label < labels; ++label) {
    const std::optional<double> value = (evaluation.labels[label].*metric).value;
    if (!value) {
      continue;
    }
    sum += *value, count += 1;
    for (std::size_t draw = 0; draw < means.size(); ++draw) {
      means[draw] += draws[draw * labels + label].*of_draw;
    }
  }
  if (count == 0) {
    return {};
  }
  for (double& mean : means) {
    mean /= count;
  }
  return {sum / count, percentile_interval(std::move(means))};
}

void put(ordered_json& object, const std::string& name, const Estimate& estimate, bool with_interval) {
  object[name] = estimate.value ? ordered_json(*estimate.value) : ordered_json(nullptr);
  if (with_interval) {
    object[name + "_interval"] = estimate.interval
                                     ? ordered_json::array({estimate.interval->low, estimate.interval->high})
                                     : ordered_json(nullptr);
  }
}

std::string with_interval(const Estimate& estimate) {
  if (!estimate.value) {
    return "undefined";
  }
  std::string text = fmt::format("{:.4f}", *estimate.value);
  if (estimate.interval) {
    text += fmt::format(" [{:.4f}, {:.4f}]", estimate.interval->low, estimate.interval->high);
  }
  return text;
}

double share(std::int64_t part, std::int64_t all) {
  return all > 0 ? static_cast<double>(part) / static_cast<double>(all) : 0.0;
}

// No ROC where a class is missing: its rates would be 0/0.
std::string roc_csv(const Evaluation& evaluation) {
  std::string text = "label,threshold,false_positive_rate,true_positive_rate\n";
  for (const LabelEvaluation& label : evaluation.labels) {
    for (const CurvePoint& p : label.auroc.value ? label.curve : std::vector<CurvePoint>()) {
      const std::string fields[] = {label.name, fmt::format("{}", p.threshold),
                                    fmt::format("{}", share(p.false_positives, label.images - label.positives)),
                                    fmt::format("{}", share(p.true_positives, label.positives))};
      text += csv_row(fields);
    }
  }
  return text;
}

// The first point, where nothing is called positive, has no precision and is left out.
std::string precision_recall_csv(const Evaluation& evaluation) {
  std::string text = "label,threshold,recall,precision\n";
  for (const LabelEvaluation& label : evaluation.labels) {
    for (const CurvePoint& p : label.average_precision.value ? label.curve : std::vector<CurvePoint>()) {
      const std::int64_t called = p.true_positives + p.false_positives;
      if (called > 0) {
        const std::string fields[] = {label.name, fmt::format("{}", p.threshold),
                                      fmt::format("{}", share(p.true_positives, label.positives)),
                                      fmt::format("{}", share(p.true_positives, called))};
        text += csv_row(fields);
      }
    }
  }
  return text;
}

}  // namespace

Evaluation evaluate(const ScoredImages& set, const EvaluationOptions& options, const std::string& source) {
  set.check_values(source);
  check(set.images.size() <= kMaxRankedImages, "{}: {} images; at most {} can be evaluated at once", source,
        set.images.size(), kMaxRankedImages);
  check(options.curve_points >= 3, "a curve of {} points; it needs at least 3", options.curve_points);
  const Patients patients = number_patients(set.patients);
  Evaluation evaluation;
  evaluation.images = static_cast<std::int64_t>(set.images.size());
  evaluation.patients = static_cast<std::int64_t>(patients.count);
  evaluation.draws = options.draws;
  evaluation.seed = options.seed;
  const std::vector<Ranking> rankings = evaluate_labels(set, options, evaluation);
  const std::vector<DrawMetrics> draws = bootstrap(rankings, set.scores, set.targets, patients.of_image, patients.count,
                                                   options.draws, options.seed, options.threads);
  set_intervals(evaluation, draws);
  evaluation.mean_auroc = mean_of(evaluation, draws, &LabelEvaluation::auroc, &DrawMetrics::auroc);
  evaluation.mean_average_precision =
      mean_of(evaluation, draws, &LabelEvaluation::average_precision, &DrawMetrics::average_precision);
  return evaluation;
}

std::string metrics_json(const Evaluation& evaluation) {
  const bool intervals = evaluation.draws > 0;
  ordered_json root;
  root["images"] = evaluation.images;
  root["patients"] = evaluation.patients;
  if (intervals) {
    root["bootstrap"] = {{"draws", evaluation.draws}, {"seed", evaluation.seed}, {"over", "patients"}, {"level", 0.95}};
  }
  put(root, "mean_auroc", evaluation.mean_auroc, intervals);
  put(root, "mean_average_precision", evaluation.mean_average_precision, intervals);
  root["labels"] = ordered_json::object();
  for (const LabelEvaluation& label : evaluation.labels) {
    ordered_json& object = root["labels"][label.name];
    object["images"] = label.images;
    object["positives"] = label.positives;
    put(object, "auroc", label.auroc, intervals);
    put(object, "average_precision", label.average_precision, intervals);
    put(object, "brier", label.brier, intervals);
    if (intervals) {
      object["undefined_draws"] = label.undefined_draws;
    }
  }
  return root.dump(2) + "\n";
}

std::string text_table(const Evaluation& evaluation) {
  std::size_t width = 5;
  for (const LabelEvaluation& label : evaluation.labels) {
    width = std::max(width, label.name.size());
  }
  std::string text = fmt::format("{:<{}}  {:>7} {:>9}  {:<23}  {:<23}  {}\n", "label", width, "images", "positives",
                                 "AUROC", "average precision", "Brier");
  for (const LabelEvaluation& label : evaluation.labels) {
    text += fmt::format("{:<{}}  {:>7} {:>9}  {:<23}  {:<23}  {}\n", label.name, width, label.images, label.positives,
                        with_interval(label.auroc), with_interval(label.average_precision), with_interval(label.brier));
  }
  text += fmt::format("{:<{}}  {:>7} {:>9}  {:<23}  {}\n", "mean", width, "", "", with_interval(evaluation.mean_auroc),
                      with_interval(evaluation.mean_average_precision));
  if (evaluation.draws > 0) {
    text += fmt::format("{} images of {} patients; 95 % intervals from {} draws of patients, seed {}\n",
                        evaluation.images, evaluation.patients, evaluation.draws, evaluation.seed);
  }
  return text;
}

void write_evaluation(const std::filesystem::path& folder, const ScoredImages& set, const Evaluation& evaluation) {
  make_folder(folder / "curves");
  write_file(folder / "scores.csv", score_csv(set));
  write_file(folder / "curves" / "roc.csv", roc_csv(evaluation));
  write_file(folder / "curves" / "precision_recall.csv", precision_recall_csv(evaluation));
  write_file(folder / "metrics.json", metrics_json(evaluation));
}

Evaluation evaluate_scores(const ScoreFiles& files, const EvaluationOptions& options) {
  const ScoreTable scores = read_score_table(files.scores, files.label_set);
  const data::LabelTable truth = data::read_label_table(files.labels);
  const ScoredImages set = join(scores, truth, files.label_set);
  const Evaluation evaluation = evaluate(set, options, scores.source);
  write_evaluation(files.out, set, evaluation);
  return evaluation;
}

}  // namespace densetree::tree
