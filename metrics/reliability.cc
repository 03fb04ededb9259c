#include "metrics/reliability.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/tree_types.h"

namespace densetree::metrics {

namespace {

void check_images(std::span<const double> probability, std::span<const std::uint8_t> truth) {
  check(probability.size() == truth.size(), "{} probabilities but {} truths", probability.size(), truth.size());
  for (std::size_t i = 0; i < truth.size(); ++i) {
    check(truth[i] <= kUnknown, "image {}: truth is {}; it must be 0, 1 or {} (unknown)", i, truth[i], kUnknown);
    check(truth[i] == kUnknown || (probability[i] >= 0 && probability[i] <= 1),
          "image {}: probability is {}; it must lie in [0, 1]", i, probability[i]);
  }
}

void check_bins(std::size_t bins) {
  check(bins > 0, "0 bins; there must be at least 1");
}

struct Marked {
  double value;
  bool mark;
};

// The probabilities of images with known truth, the positive ones marked.
std::vector<Marked> known_images(std::span<const double> probability, std::span<const std::uint8_t> truth) {
  check_images(probability, truth);
  std::vector<Marked> known;
  known.reserve(truth.size());
  for (std::size_t i = 0; i < truth.size(); ++i) {
    if (truth[i] != kUnknown) {
      known.push_back({probability[i], truth[i] == 1});
    }
  }
  return known;
}

// Images that share a value.
struct Block {
  double value = 0;
  std::int64_t images = 0, marked = 0;
};

// By rising value. A list of n images has at most n blocks, and few where probabilities come from histograms.
std::vector<Block> blocks_of(std::vector<Marked> list) {
  std::sort(list.begin(), list.end(), [](const Marked& a, const Marked& b) { return a.value < b.value; });
  std::vector<Block> blocks;
  for (const Marked& image : list) {
    if (blocks.empty() || blocks.back().value != image.value) {
      blocks.push_back({image.value, 0, 0});
    }
    ++blocks.back().images;
    blocks.back().marked += image.mark;
  }
  return blocks;
}

// Until here mean_probability held the sum.
void divide(std::vector<ReliabilityBin>& bins) {
  for (ReliabilityBin& bin : bins) {
    if (bin.images > 0) {
      bin.mean_probability /= static_cast<double>(bin.images);
    }
  }
}

}  // namespace

std::vector<ReliabilityBin> equal_width_bins(std::span<const double> probability, std::span<const std::uint8_t> truth,
                                             std::size_t bins) {
  check_bins(bins);
  check_images(probability, truth);
  std::vector<ReliabilityBin> result(bins);
  for (std::size_t i = 0; i < truth.size(); ++i) {
    if (truth[i] != kUnknown) {
      const auto at = static_cast<std::size_t>(static_cast<double>(bins) * probability[i]);
      ReliabilityBin& bin = result[std::min(at, bins - 1)];
      ++bin.images;
      bin.positives += truth[i];
      bin.mean_probability += probability[i];
    }
  }
  divide(result);
  return result;
}

std::vector<ReliabilityBin> equal_mass_bins(std::span<const double> probability, std::span<const std::uint8_t> truth,
                                            std::size_t bins) {
  check_bins(bins);
  std::vector<Marked> known = known_images(probability, truth);
  const std::size_t count = known.size();
  std::vector<ReliabilityBin> result;
  std::size_t before = 0, next_cut = 0, k = 0;  // next_cut = ⌊k·count/bins⌋
  for (const Block& block : blocks_of(std::move(known))) {
    if (before >= next_cut) {
      result.emplace_back();
      while (next_cut <= before) {
        next_cut = ++k * count / bins;
      }
    }
    result.back().images += block.images;
    result.back().positives += block.marked;
    result.back().mean_probability += block.value * static_cast<double>(block.images);
    before += static_cast<std::size_t>(block.images);
  }
  divide(result);
  return result;
}

std::optional<double> calibration_error(std::span<const ReliabilityBin> bins) {
  std::int64_t images = 0;
  double sum = 0;
  for (const ReliabilityBin& bin : bins) {
    images += bin.images;
    sum += std::abs(static_cast<double>(bin.positives) - bin.mean_probability * static_cast<double>(bin.images));
  }
  return images ? std::optional(sum / static_cast<double>(images)) : std::nullopt;
}

std::optional<double> brier_score(std::span<const double> probability, std::span<const std::uint8_t> truth) {
  check_images(probability, truth);
  double sum = 0;
  std::int64_t images = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    if (truth[i] != kUnknown) {
      const double miss = probability[i] - truth[i];
      sum += miss * miss;
      ++images;
    }
  }
  return images ? std::optional(sum / static_cast<double>(images)) : std::nullopt;
}

std::optional<RiskCoverage> risk_coverage(std::span<const double> probability, std::span<const std::uint8_t> truth) {
  std::vector<Marked> answers = known_images(probability, truth);
  for (Marked& image : answers) {  // its confidence, and whether it is wrong
    const double p = image.value;
    image = {std::max(p, 1 - p), (p >= 0.5) != image.mark};
  }
  if (answers.empty()) {
    return std::nullopt;
  }
  const auto count = static_cast<double>(answers.size());
  std::vector<Block> blocks = blocks_of(std::move(answers));
  std::reverse(blocks.begin(), blocks.end());
  RiskCoverage result;
  std::int64_t kept = 0, wrong = 0, twice_wrong_sum = 0;
  for (const Block& block : blocks) {
    const double share = static_cast<double>(block.marked) / static_cast<double>(block.images);
    for (std::int64_t i = 1; i <= block.images; ++i) {
      result.aurc += (static_cast<double>(wrong) + static_cast<double>(i) * share) / static_cast<double>(kept + i);
    }
    twice_wrong_sum += 2 * wrong * block.images + block.marked * (block.images + 1);
    kept += block.images;
    wrong += block.marked;
    result.curve.push_back({static_cast<double>(kept) / count, static_cast<double>(wrong) / static_cast<double>(kept)});
  }
  result.aurc /= count;
  result.augrc = static_cast<double>(twice_wrong_sum) / (2 * count * count);
  return result;
}

}  // namespace densetree::metrics
