#include "metrics/bootstrap.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/core/error.h"
#include "kernels/core/integer.h"
#include "kernels/core/philox.h"

namespace densetree::metrics {

namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

template <class T>
using Lanes = std::array<T, kLanes>;

// GCC's and Clang's vectors: a lookup and add per image in two instructions where the processor has AVX-512.
using Bytes [[gnu::vector_size(kLanes)]] = std::uint8_t;
using Words [[gnu::vector_size(2 * kLanes)]] = std::uint16_t;

// Adds to `sum` the weights of these patients, for every draw.
void add_weights(std::span<const std::uint32_t> patients, const std::uint8_t* weights, Lanes<std::uint32_t>& sum) {
  constexpr std::size_t kRun = 256;
  static_assert(kRun * 255 <= 65535, "a run of the largest bytes has to fit a word");
  while (!patients.empty()) {
    const auto run = patients.first(std::min(patients.size(), kRun));
    Words part{};
    for (const std::uint32_t patient : run) {
      Bytes weight;
      std::memcpy(&weight, weights + patient * kLanes, kLanes);
      part += __builtin_convertvector(weight, Words);
    }
    for (std::size_t l = 0; l < kLanes; ++l) {
      sum[l] += part[l];
    }
    patients = patients.subspan(run.size());
  }
}

// A ranking whose images have been replaced by their patients, so that the walk looks up one table only.
struct PatientRanking {
  std::vector<std::uint32_t> patients;
  const std::vector<Ranking::Step>* steps = nullptr;
};

// As auroc() and average_precision(), with the weights of kLanes draws.
void rank_metrics(const PatientRanking& ranking, const std::uint8_t* weights, std::span<DrawMetrics> out,
                  std::size_t stride) {
  Lanes<std::uint32_t> above{}, found{};
  Lanes<std::uint64_t> wrong{};
  Lanes<double> precision{};
  std::span<const std::uint32_t> left(ranking.patients);
  const auto add = [&](std::size_t count, Lanes<std::uint32_t>& sum) {
    add_weights(left.first(count), weights, sum);
    left = left.subspan(count);
  };
  for (const Ranking::Step& step : *ranking.steps) {
    Lanes<std::uint32_t> tied{}, positives{};
    add(step.negatives, above);
    add(step.tied, tied);
    add(step.positives, positives);
    for (std::size_t l = 0; l < kLanes; ++l) {
      wrong[l] += std::uint64_t{positives[l]} * (2 * std::uint64_t{above[l]} + tied[l]);
      above[l] += tied[l];
      found[l] += positives[l];
      const double called = std::max(1.0, double(found[l]) + double(above[l]));
      precision[l] += double(positives[l]) * double(found[l]) / called;
    }
  }
  for (std::size_t l = 0; l < kLanes; ++l) {
    const std::uint64_t pairs = 2 * std::uint64_t{found[l]} * above[l];
    DrawMetrics& draw = out[l * stride];
    draw.auroc = pairs ? static_cast<double>(pairs - wrong[l]) / static_cast<double>(pairs) : kUndefined;
    draw.average_precision = found[l] ? precision[l] / found[l] : kUndefined;
  }
}

// Squared misses and images with a target, summed by patient: (patients, labels).
struct PatientMisses {
  std::vector<double> sum;
  std::vector<double> count;
};

PatientMisses misses_by_patient(std::span<const double> scores, std::span<const float> targets,
                                std::span<const std::uint32_t> patients, std::size_t patient_count,
                                std::size_t labels) {
  PatientMisses misses{std::vector<double>(patient_count * labels), std::vector<double>(patient_count * labels)};
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (!std::isnan(targets[i])) {
      const std::size_t cell = patients[i / labels] * labels + i % labels;
      const double miss = scores[i] - targets[i];
      misses.sum[cell] += miss * miss;
      misses.count[cell] += 1;
    }
  }
  return misses;
}

void brier_scores(const PatientMisses& misses, std::size_t patient_count, std::size_t labels,
                  const std::uint8_t* weights, std::span<DrawMetrics> out) {
  std::vector<Lanes<double>> sum(labels), count(labels);
  for (std::size_t p = 0; p < patient_count; ++p) {
    Lanes<double> w;
    for (std::size_t l = 0; l < kLanes; ++l) {
      w[l] = weights[p * kLanes + l];
    }
    for (std::size_t label = 0; label < labels; ++label) {
      const double miss = misses.sum[p * labels + label], images = misses.count[p * labels + label];
      for (std::size_t l = 0; l < kLanes; ++l) {
        sum[label][l] += w[l] * miss;
        count[label][l] += w[l] * images;
      }
    }
  }
  for (std::size_t label = 0; label < labels; ++label) {
    for (std::size_t l = 0; l < kLanes; ++l) {
      out[l * labels + label].brier = count[label][l] > 0 ? sum[label][l] / count[label][l] : kUndefined;
    }
  }
}

}  // namespace

std::vector<std::uint8_t> draw_weights(std::uint64_t seed, std::size_t block, std::size_t patients) {
  std::vector<std::uint8_t> weights(patients * kLanes), one(patients);
  for (std::size_t l = 0; l < kLanes; ++l) {
    std::fill(one.begin(), one.end(), std::uint8_t{0});
    RandomStream random(seed, RandomUse::kBootstrap, static_cast<std::uint32_t>(block * kLanes + l));
    for (std::size_t i = 0; i < patients; ++i) {
      std::uint8_t& count = one[random.below(static_cast<std::uint32_t>(patients))];
      count = static_cast<std::uint8_t>(count + (count < 255));  // 256 times one patient: once in 256! draws
    }
    for (std::size_t p = 0; p < patients; ++p) {
      weights[p * kLanes + l] = one[p];
    }
  }
  return weights;
}

std::vector<DrawMetrics> bootstrap(std::span<const Ranking> rankings, std::span<const double> scores,
                                   std::span<const float> targets, std::span<const std::uint32_t> patients,
                                   std::size_t patient_count, std::size_t draws, std::uint64_t seed, int threads) {
  const std::size_t labels = rankings.size(), blocks = quotient_up(draws, kLanes);
  check(scores.size() == patients.size() * labels && targets.size() == scores.size(),
        "bootstrap: {} scores and {} targets for {} images of {} labels", scores.size(), targets.size(),
        patients.size(), labels);
  std::vector<PatientRanking> walks(labels);
  for (std::size_t label = 0; label < labels; ++label) {
    walks[label].steps = &rankings[label].steps;
    for (const std::uint32_t image : rankings[label].images) {
      walks[label].patients.push_back(patients[image]);
    }
  }
  const PatientMisses misses = misses_by_patient(scores, targets, patients, patient_count, labels);
  std::vector<DrawMetrics> result(blocks * kLanes * labels);
#pragma omp parallel for schedule(dynamic) num_threads(threads > 0 ? threads : omp_get_max_threads())
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::vector<std::uint8_t> weights = draw_weights(seed, block, patient_count);
    const auto out = std::span(result).subspan(block * kLanes * labels, kLanes * labels);
    for (std::size_t label = 0; label < labels; ++label) {
      rank_metrics(walks[label], weights.data(), out.subspan(label), labels);
    }
    brier_scores(misses, patient_count, labels, weights.data(), out);
  }
  result.resize(draws * labels);
  return result;
}

std::optional<Interval> percentile_interval(std::vector<double> values) {
  std::erase_if(values, [](double v) { return std::isnan(v); });
  if (values.empty()) {
    return std::nullopt;
  }
  std::sort(values.begin(), values.end());
  const auto percentile = [&](double share) {
    const double at = share * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(at);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
  };
  return Interval{percentile(0.025), percentile(0.975)};
}

}  // namespace densetree::metrics
