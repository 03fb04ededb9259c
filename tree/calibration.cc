#include "tree/calibration.h"

#include <fmt/format.h>

#include <limits>

#include "kernels/core/error.h"
#include "metrics/patients.h"

namespace densetree::tree {

namespace {

void check_for_tree(const CalibrationSettings& settings, const LabelTree& tree) {
  check_settings(settings);
  for (const auto& [name, prior] : settings.node_priors) {
    check(tree.find(name).has_value(), "a prior is given for '{}', which is no node of the tree", name);
    check(prior > 0 && prior < 1, "the prior of '{}' is {}; it must be between 0 and 1", name, prior);
  }
}

std::vector<double> priors_of(const CalibrationSettings& settings, const LabelTree& tree) {
  std::vector<double> priors;
  for (const Node& node : tree.nodes()) {
    const auto given = settings.node_priors.find(node.name);
    const double of_all = settings.prior == Prior::kData ? std::numeric_limits<double>::quiet_NaN() : 0.5;
    priors.push_back(given != settings.node_priors.end() ? given->second : of_all);
  }
  return priors;
}

Confidences confidences(Device& device, const Calibration& calibration, const metrics::ScoredImages& set) {
  return {calibration.posteriors(device, set.scores),
          DeviceTree(device, calibration.tree, calibration.settings.pooling).truths(set.targets)};
}

}  // namespace

CalibrationSettings CalibrationSettings::paper() {
  return {.binning = Binning::kUniform,
          .bins = 10,
          .alpha = 0,
          .prior = Prior::kData,
          .node_priors = {},
          .pooling = Pooling::kSum,
          .monotone = false};
}

std::vector<std::pair<std::string, std::string>> describe(const CalibrationSettings& settings) {
  std::vector<std::pair<std::string, std::string>> result;
  CalibrationSettings::settings(settings, [&](const auto& value, const Setting& setting) {
    result.emplace_back(setting.name, setting_text(value));
  });
  for (const auto& [name, prior] : settings.node_priors) {
    result.emplace_back("prior of " + name, fmt::format("{}", prior));
  }
  return result;
}

NodeTable<double> Calibration::posteriors(Device& device, std::span<const double> scores) const {
  return DeviceTree(device, tree, settings.pooling).posteriors(scores, histograms);
}

std::vector<double> Calibration::chosen_thresholds(const std::string& name) const {
  check(choice.has_value(), "{}: holds no thresholds; `densetree calibrate --choose …` chooses them", name);
  std::vector<double> thresholds;
  for (const NodeThreshold& node : choice->nodes) {
    thresholds.push_back(node.threshold.value_or(std::numeric_limits<double>::infinity()));
  }
  return thresholds;
}

Calibration fit(Device& device, const LabelTree& tree, const CalibrationSettings& settings,
                const metrics::ScoredImages& set, const std::string& source) {
  set.check_values(source);
  require_labels(tree, set.labels, source);
  check_for_tree(settings, tree);
  Calibration calibration;
  calibration.tree = tree;
  calibration.settings = settings;
  calibration.images = static_cast<std::int64_t>(set.images.size());
  calibration.patients = static_cast<std::int64_t>(metrics::number_patients(set.patients).count);
  calibration.source = source;
  calibration.histograms = DeviceTree(device, tree, settings.pooling)
                               .fit(set.scores, set.targets,
                                    {.binning = settings.binning,
                                     .bins = settings.bins,
                                     .posterior = {.alpha = settings.alpha, .monotone = settings.monotone},
                                     .priors = priors_of(settings, tree)});
  return calibration;
}

Calibration fit_and_choose(Device& device, const LabelTree& tree, const CalibrationSettings& settings,
                           const metrics::ScoredImages& set, const std::string& source, const ThresholdRequest& request,
                           double share, std::uint64_t seed, int threads) {
  check(share > 0 && share < 1, "the share of patients that choose thresholds is {}; it must be between 0 and 1",
        share);
  set.check_values(source);
  const auto [choosing, fitting] = metrics::draw_patients(metrics::number_patients(set.patients), share, seed);
  check(!choosing.empty() && !fitting.empty(),
        "{}: its {} images are of too few patients to fit on some and choose thresholds on others", source,
        set.images.size());
  const metrics::ScoredImages fit_on = select(set, fitting), others = select(set, choosing);
  const metrics::ScoredImages choose_on =
      select(others, one_image_per_patient(metrics::number_patients(others.patients).of_image, seed));
  Calibration calibration = fit(device, tree, settings, fit_on, source);
  calibration.choice = choose_thresholds(request, confidences(device, calibration, fit_on),
                                         confidences(device, calibration, choose_on), threads);
  return calibration;
}

metrics::ScoredImages select(const metrics::ScoredImages& set, std::span<const std::uint32_t> chosen) {
  const std::size_t labels = set.labels.size();
  metrics::ScoredImages result;
  result.labels = set.labels;
  for (const std::uint32_t image : chosen) {
    result.images.push_back(set.images[image]);
    result.patients.push_back(set.patients[image]);
    const auto begin = static_cast<std::ptrdiff_t>(image * labels), end = begin + static_cast<std::ptrdiff_t>(labels);
    result.scores.insert(result.scores.end(), set.scores.begin() + begin, set.scores.begin() + end);
    result.targets.insert(result.targets.end(), set.targets.begin() + begin, set.targets.begin() + end);
  }
  return result;
}

std::string calibration_table(const Calibration& calibration) {
  const auto bins = static_cast<std::size_t>(calibration.histograms.bins);
  std::vector<std::string> notes;
  for (std::size_t v = 0; v < calibration.tree.nodes().size(); ++v) {
    std::int64_t positives = 0, negatives = 0;
    for (std::size_t b = 0; b < bins; ++b) {
      positives += calibration.histograms.counts[v * 2 * bins + b];
      negatives += calibration.histograms.counts[(v * 2 + 1) * bins + b];
    }
    const std::int64_t images = positives + negatives;
    std::string note = fmt::format("{:>7} of {:>7} images", positives, images);
    note += images > 0
                ? fmt::format(" ({:4.1f} %)", 100.0 * static_cast<double>(positives) / static_cast<double>(images))
                : std::string(" (  –  )");
    if (calibration.choice) {
      const NodeThreshold& chosen = calibration.choice->nodes[v];
      note += chosen.threshold ? fmt::format("  report at {:.4f}", *chosen.threshold) : "  none can be certified";
    }
    notes.push_back(note);
  }
  std::string text = calibration.tree.draw(notes);
  text += fmt::format("fitted on {} images of {} patients\n", calibration.images, calibration.patients);
  return calibration.choice ? text + guarantee_text(*calibration.choice) + "\n" : text;
}

}  // namespace densetree::tree
