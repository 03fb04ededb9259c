#include "tree/thresholds.h"

#include <fmt/format.h>

#include <omp.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/philox.h"
#include "tree/binomial.h"

namespace densetree::tree {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr std::pair<std::string_view, Guarantee> kGuarantees[] = {
    {"precision", Guarantee::kPrecision}, {"any-false", Guarantee::kAnyFalse}, {"miss", Guarantee::kMiss}};

// The number of "<name>:<number>", where the text has that form.
std::optional<double> number_after(std::string_view name, std::string_view text) {
  if (!text.starts_with(name) || !text.substr(name.size()).starts_with(':')) {
    return std::nullopt;
  }
  const std::string_view digits = text.substr(name.size() + 1);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool ok = error == std::errc() && end == digits.data() + digits.size() && value > 0 && value < 1;
  return ok ? std::optional(value) : std::nullopt;
}

void check_table(const Confidences& set, const char* name) {
  const NodeTable<double>& posterior = set.posterior;
  const NodeTable<std::uint8_t>& truth = set.truth;
  check(posterior.nodes == truth.nodes && posterior.images == truth.images &&
            posterior.values.size() == posterior.nodes * posterior.images &&
            truth.values.size() == posterior.values.size(),
        "{} images: posteriors of {} nodes and {} images, but truths of {} nodes and {} images", name, posterior.nodes,
        posterior.images, truth.nodes, truth.images);
  for (std::size_t i = 0; i < truth.values.size(); ++i) {
    if (!std::isfinite(posterior.values[i]) || truth.values[i] > kUnknown) {
      fail("{} images: node {} of image {} has posterior {} and truth {}; a posterior is finite, a truth 0, 1 or 2",
           name, i / posterior.images, i % posterior.images, posterior.values[i], truth.values[i]);
    }
  }
}

// What reporting at C >= threshold would do.
struct Candidate {
  double threshold = 0;
  std::int64_t reported = 0, wrong = 0;
  double p_value = 1;
};

// One candidate for every distinct C of a node's images with known truth, thresholds falling, so counts rising.
std::vector<Candidate> candidates(std::span<const double> posterior, std::span<const std::uint8_t> truth) {
  std::vector<std::pair<double, bool>> known;
  known.reserve(posterior.size());
  for (std::size_t i = 0; i < posterior.size(); ++i) {
    if (truth[i] != kUnknown) {
      known.emplace_back(posterior[i], truth[i] == 0);
    }
  }
  std::sort(known.begin(), known.end(), std::greater<>());
  std::vector<Candidate> result;
  Candidate candidate;
  for (std::size_t i = 0; i < known.size(); ++i) {
    ++candidate.reported;
    candidate.wrong += known[i].second;
    if (i + 1 == known.size() || known[i + 1].first != known[i].first) {
      candidate.threshold = known[i].first;
      result.push_back(candidate);
    }
  }
  return result;
}

// The counts at C >= threshold, from the candidates of a set that need not have one at that threshold.
Candidate at_threshold(const std::vector<Candidate>& falling, double threshold) {
  const auto below = std::partition_point(falling.begin(), falling.end(),
                                          [&](const Candidate& c) { return c.threshold >= threshold; });
  Candidate result = below == falling.begin() ? Candidate{} : *(below - 1);
  result.threshold = threshold;
  return result;
}

// Fixed-sequence testing: A says in which order, B alone decides. Without images p is 1: nothing is certified by none.
NodeThreshold certify(const Confidences& fitted, const Confidences& chosen, std::size_t node, double error,
                      double delta) {
  std::vector<Candidate> order = candidates(fitted.posterior.node(node), fitted.truth.node(node));
  for (Candidate& candidate : order) {
    candidate.p_value = binomial_cdf(candidate.wrong, candidate.reported, error);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const Candidate& a, const Candidate& b) { return a.p_value < b.p_value; });
  const std::vector<Candidate> counts = candidates(chosen.posterior.node(node), chosen.truth.node(node));
  NodeThreshold result;
  result.images = counts.empty() ? 0 : counts.back().reported;
  for (const Candidate& next : order) {
    const Candidate tested = at_threshold(counts, next.threshold);
    const double p_value = binomial_cdf(tested.wrong, tested.reported, error);
    if (p_value > delta) {
      break;
    }
    if (!result.threshold || next.threshold < *result.threshold) {
      result.threshold = next.threshold, result.p_value = p_value;
      result.reported = tested.reported, result.wrong = tested.wrong;
    }
  }
  return result;
}

// ⌊α·(n+1)⌋, of the α that was written: 0.29·100 is 28.999… in doubles and means 29.
std::int64_t allowed_failures(double alpha, std::size_t n) {
  const double failures = alpha * static_cast<double>(n + 1), nearest = std::round(failures);
  const bool whole = std::abs(failures - nearest) <= 4 * std::numeric_limits<double>::epsilon() * failures;
  return static_cast<std::int64_t>(whole ? nearest : std::floor(failures));
}

// The k-th smallest, k from 1.
double kth_smallest(std::vector<double> values, std::int64_t k) {
  const auto at = values.begin() + (k - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

std::int64_t count_at_least(std::span<const double> values, double threshold) {
  return std::count_if(values.begin(), values.end(), [&](double value) { return value >= threshold; });
}

NodeThreshold limit_misses(const Confidences& chosen, std::size_t node, double alpha) {
  std::vector<double> positives;
  for (std::size_t i = 0; i < chosen.posterior.images; ++i) {
    if (chosen.truth.at(node, i) == 1) {
      positives.push_back(chosen.posterior.at(node, i));
    }
  }
  const std::int64_t k = allowed_failures(alpha, positives.size());
  NodeThreshold result;
  result.threshold = k == 0 ? -kInfinity : kth_smallest(positives, k);
  result.images = static_cast<std::int64_t>(positives.size());
  result.reported = count_at_least(positives, *result.threshold);
  result.wrong = result.images - result.reported;
  return result;
}

// Of every image with a known truth, the highest C of its nodes, and of its false nodes (−∞ where there is none).
struct Highest {
  std::vector<double> any, wrong;
};

Highest highest_posteriors(const Confidences& set) {
  const std::size_t images = set.posterior.images;
  Highest all{std::vector<double>(images, -kInfinity), std::vector<double>(images, -kInfinity)};
  for (std::size_t node = 0; node < set.posterior.nodes; ++node) {
    const auto posterior = set.posterior.node(node);
    const auto truth = set.truth.node(node);
    for (std::size_t i = 0; i < images; ++i) {
      all.any[i] = std::max(all.any[i], truth[i] == kUnknown ? -kInfinity : posterior[i]);
      all.wrong[i] = std::max(all.wrong[i], truth[i] == 0 ? posterior[i] : -kInfinity);
    }
  }
  Highest known;
  for (std::size_t i = 0; i < images; ++i) {
    if (all.any[i] != -kInfinity) {
      known.any.push_back(all.any[i]);
      known.wrong.push_back(all.wrong[i]);
    }
  }
  return known;
}

NodeThreshold limit_false_images(const Confidences& chosen, double alpha) {
  const Highest highest = highest_posteriors(chosen);
  const std::size_t images = highest.any.size();
  NodeThreshold result;
  result.images = static_cast<std::int64_t>(images);
  // ⌈(n+1)(1−α)⌉ = n + 1 − ⌊(n+1)α⌋, which is above n where no failure is allowed.
  const std::int64_t allowed = allowed_failures(alpha, images);
  if (allowed > 0) {
    const double theta = kth_smallest(highest.wrong, result.images + 1 - allowed);
    result.threshold = theta == -kInfinity ? theta : std::nextafter(theta, kInfinity);
    result.reported = count_at_least(highest.any, *result.threshold);
    // Where −∞ is the threshold, images without a false node still have none reported.
    result.wrong = count_at_least(highest.wrong, std::max(*result.threshold, std::numeric_limits<double>::lowest()));
  }
  return result;
}

std::string percent(double share) {
  return fmt::format("{:.10g} %", 100 * share);
}

std::string count_of(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string promise(const ThresholdChoice& choice) {
  const ThresholdRequest& request = choice.request;
  const std::string basis = fmt::format("chosen on {}, one per patient", count_of(choice.images, "image"));
  const auto nodes = static_cast<std::int64_t>(choice.nodes.size());
  const auto count_if = [&](auto&& is) { return std::count_if(choice.nodes.begin(), choice.nodes.end(), is); };
  const std::int64_t never = count_if([](const NodeThreshold& n) { return !n.threshold; });
  switch (request.kind) {
    case Guarantee::kPrecision: {
      const std::string text = fmt::format(
          "With a probability of at least {}, at least {} of the reports of every node are right, for all "
          "{} at once; thresholds {}",
          percent(1 - request.delta), percent(request.target), count_of(nodes, "node"), basis);
      return never == 0 ? text + "."
                        : fmt::format("{}; for {} none can be certified, so {} never reported.", text,
                                      count_of(never, "node"), never == 1 ? "it is" : "they are");
    }
    case Guarantee::kAnyFalse:
      return fmt::format("The probability that a false node is reported in an image is at most {}; threshold {}{}.",
                         percent(request.target), basis,
                         never == 0 ? "" : ", too few for any: nothing is ever reported");
    case Guarantee::kMiss: {
      const std::int64_t always = count_if([](const NodeThreshold& n) { return n.threshold == -kInfinity; });
      const std::string text = fmt::format(
          "The probability that a node is not reported where it is present is at most {}, for each node by "
          "itself; thresholds {}",
          percent(request.target), basis);
      return always == 0 ? text + "."
                         : fmt::format("{}; {} with too few positives {} always reported.", text,
                                       count_of(always, "node"), always == 1 ? "is" : "are");
    }
  }
  fail("threshold request of unknown kind {}", static_cast<int>(request.kind));
}

}  // namespace

ThresholdRequest parse_threshold_request(std::string_view text) {
  const std::size_t comma = text.find(',');
  for (const auto& [name, kind] : kGuarantees) {
    ThresholdRequest request{kind};
    const std::optional<double> target = number_after(name, text.substr(0, comma));
    const bool has_delta = comma != std::string_view::npos;
    const std::optional<double> delta = has_delta ? number_after("delta", text.substr(comma + 1)) : request.delta;
    if (target && delta && (!has_delta || kind == Guarantee::kPrecision)) {
      request.target = *target, request.delta = *delta;
      return request;
    }
  }
  fail(
      "'{}' asks for no known guarantee; the three forms are precision:0.8,delta:0.1 (delta may be left out), "
      "any-false:0.1 and miss:0.1, with numbers above 0 and below 1",
      text);
}

std::string to_text(const ThresholdRequest& request) {
  for (const auto& [name, kind] : kGuarantees) {
    if (kind == request.kind) {
      const std::string text = fmt::format("{}:{}", name, request.target);
      return kind == Guarantee::kPrecision ? fmt::format("{},delta:{}", text, request.delta) : text;
    }
  }
  fail("threshold request of unknown kind {}", static_cast<int>(request.kind));
}

// Each patient has a random stream of its own, so its image does not depend on which other patients there are.
std::vector<std::uint32_t> one_image_per_patient(std::span<const std::uint32_t> patients, std::uint64_t seed) {
  std::vector<std::uint32_t> images(patients.size());
  std::iota(images.begin(), images.end(), 0u);
  std::stable_sort(images.begin(), images.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return patients[a] < patients[b]; });
  std::vector<std::uint32_t> drawn;
  for (std::size_t begin = 0, end = 0; begin < images.size(); begin = end) {
    const std::uint32_t patient = patients[images[begin]];
    while (end < images.size() && patients[images[end]] == patient) {
      ++end;
    }
    RandomStream random(seed, RandomUse::kThreshold, patient);
    drawn.push_back(images[begin + random.below(static_cast<std::uint32_t>(end - begin))]);
  }
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

ThresholdChoice choose_thresholds(const ThresholdRequest& request, const Confidences& fitted, const Confidences& chosen,
                                  int threads) {
  const auto is_share = [](double value) { return value > 0 && value < 1; };
  check(is_share(request.target) && is_share(request.delta),
        "thresholds for {} with delta {}; both are above 0 and below 1", to_text(request), request.delta);
  check_table(fitted, "fitted");
  check_table(chosen, "chosen");
  const std::size_t nodes = chosen.posterior.nodes;
  check(fitted.posterior.nodes == nodes, "thresholds of {} nodes, but posteriors were fitted for {} nodes", nodes,
        fitted.posterior.nodes);
  check(chosen.posterior.images > 0,
        "no image to choose thresholds on; they need patients that the posteriors were not fitted on");
  ThresholdChoice choice{request, static_cast<std::int64_t>(chosen.posterior.images), {}};
  if (request.kind == Guarantee::kAnyFalse) {
    choice.nodes.assign(nodes, limit_false_images(chosen, request.target));
    return choice;
  }
  choice.nodes.resize(nodes);
#pragma omp parallel for schedule(dynamic) num_threads(threads > 0 ? threads : omp_get_max_threads())
  for (std::size_t node = 0; node < nodes; ++node) {
    choice.nodes[node] = request.kind == Guarantee::kMiss ? limit_misses(chosen, node, request.target)
                                                          : certify(fitted, chosen, node, 1 - request.target,
                                                                    request.delta / static_cast<double>(nodes));
  }
  return choice;
}

std::string guarantee_text(const ThresholdChoice& choice) {
  return promise(choice) + " It holds for images drawn as these were, one of each patient.";
}

}  // namespace densetree::tree
