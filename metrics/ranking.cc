#include "metrics/ranking.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/error.h"

namespace densetree::metrics {

namespace {

struct Scored {
  double score;
  std::uint32_t image;
  bool positive;
};

// By falling score; in a tie negatives first, then by image, so that the order is the same on every machine.
bool comes_before(const Scored& a, const Scored& b) {
  if (a.score != b.score) {
    return a.score > b.score;
  }
  return a.positive != b.positive ? b.positive : a.image < b.image;
}

std::vector<Scored> sorted(Column<double> scores, Column<float> targets) {
  std::vector<Scored> list;
  list.reserve(scores.size);
  for (std::size_t i = 0; i < scores.size; ++i) {
    if (!std::isnan(targets[i])) {
      check(!std::isnan(scores[i]), "the score of image {} is {}; it has no rank", i, scores[i]);
      list.push_back({scores[i], static_cast<std::uint32_t>(i), targets[i] > 0.5f});
    }
  }
  std::sort(list.begin(), list.end(), comes_before);
  return list;
}

}  // namespace

Ranking rank(Column<double> scores, Column<float> targets) {
  check(scores.size == targets.size, "{} scores but {} targets", scores.size, targets.size);
  check(scores.size <= kMaxRankedImages, "{} images; at most {} can be ranked at once", scores.size, kMaxRankedImages);
  const std::vector<Scored> list = sorted(scores, targets);
  Ranking ranking;
  ranking.images.reserve(list.size());
  Ranking::Step step;
  for (std::size_t begin = 0; begin < list.size();) {
    std::size_t end = begin, positives = 0;
    for (; end < list.size() && list[end].score == list[begin].score; ++end) {
      positives += list[end].positive;
      ranking.images.push_back(list[end].image);
    }
    const auto negatives = static_cast<std::uint32_t>(end - begin - positives);
    ranking.negatives += negatives;
    ranking.positives += static_cast<std::int64_t>(positives);
    if (positives == 0) {
      step.negatives += negatives;
    } else {
      step.tied = negatives, step.positives = static_cast<std::uint32_t>(positives), step.score = list[begin].score;
      ranking.steps.push_back(step);
      step = {};
    }
    begin = end;
  }
  if (step.negatives > 0) {
    ranking.steps.push_back(step);
  }
  return ranking;
}

std::optional<double> auroc(const Ranking& ranking) {
  if (ranking.positives == 0 || ranking.negatives == 0) {
    return std::nullopt;
  }
  // Twice the number of pairs (positive, negative) in the wrong order, a tie counting half a pair.
  std::int64_t wrong = 0, above = 0;
  for (const Ranking::Step& step : ranking.steps) {
    above += step.negatives;
    wrong += step.positives * (2 * above + step.tied);
    above += step.tied;
  }
  const std::int64_t pairs = 2 * ranking.positives * ranking.negatives;
  return static_cast<double>(pairs - wrong) / static_cast<double>(pairs);
}

std::optional<double> average_precision(const Ranking& ranking) {
  if (ranking.positives == 0) {
    return std::nullopt;
  }
  std::int64_t found = 0, called = 0;
  double sum = 0;
  for (const Ranking::Step& step : ranking.steps) {
    found += step.positives;
    called += std::int64_t{step.negatives} + step.tied + step.positives;
    sum += step.positives * static_cast<double>(found) / static_cast<double>(called);
  }
  return sum / static_cast<double>(ranking.positives);
}

std::optional<double> brier(Column<double> scores, Column<float> targets) {
  double sum = 0;
  std::int64_t count = 0;
  for (std::size_t i = 0; i < scores.size; ++i) {
    if (!std::isnan(targets[i])) {
      const double miss = scores[i] - targets[i];
      sum += miss * miss;
      ++count;
    }
  }
  return count ? std::optional(sum / static_cast<double>(count)) : std::nullopt;
}

// Keeps a point when it has moved on by 1/(limit − 2) of the way, the way being recall and false-positive rate
// together.
std::vector<CurvePoint> curve(const Ranking& ranking, Column<double> scores, std::size_t limit) {
  std::vector<CurvePoint> points(1), kept;
  std::size_t at = 0;
  const auto walk = [&](std::size_t count, bool positive) {
    for (std::size_t i = 0; i < count; ++i) {
      const double score = scores[ranking.images[at++]];
      if (score != points.back().threshold) {
        points.push_back(points.back());
        points.back().threshold = score;
      }
      ++(positive ? points.back().true_positives : points.back().false_positives);
    }
  };
  for (const Ranking::Step& step : ranking.steps) {
    walk(std::size_t{step.negatives} + step.tied, false);
    walk(step.positives, true);
  }
  const auto way = [&](const CurvePoint& p) {
    const auto share = [](std::int64_t part, std::int64_t all) {
      return all ? static_cast<double>(part) / static_cast<double>(all) : 0.0;
    };
    return share(p.true_positives, ranking.positives) + share(p.false_positives, ranking.negatives);
  };
  const double stride = way(points.back()) / static_cast<double>(limit - 2);
  for (std::size_t i = 0; i < points.size(); ++i) {
    const bool edge = i == 0 || i + 1 == points.size();
    if (edge || points.size() <= limit || way(points[i]) - way(kept.back()) >= stride) {
      kept.push_back(points[i]);
    }
  }
  return kept;
}

}  // namespace densetree::metrics
