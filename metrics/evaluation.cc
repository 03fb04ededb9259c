#include "metrics/evaluation.h"

#include <fmt/format.h>

#include <omp.h>
#include <algorithm>
#include <cmath>

#include "kernels/core/error.h"
#include "metrics/patients.h"

namespace densetree::metrics {

namespace {

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
#pragma omp parallel for schedule(dynamic) num_threads(options.threads > 0 ? options.threads : omp_get_max_threads())
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

}  // namespace densetree::metrics
