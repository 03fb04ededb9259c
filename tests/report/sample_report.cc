#include "tests/report/sample_report.h"

#include <array>
#include <cmath>
#include <limits>
#include <memory>

#include "kernels/core/philox.h"
#include "kernels/device.h"

namespace densetree::report {

namespace {

constexpr std::array<double, 5> kPrevalence = {0.12, 0.025, 0.18, 0.05, 0.004};

double logistic(double x) {
  return 1 / (1 + std::exp(-x));
}

// Findings share a severity, so that they come together; a patient has one to five images.
metrics::ScoredImages draw_images(const std::vector<std::string>& labels, std::size_t images, std::uint64_t seed) {
  RandomStream random(seed, RandomUse::kSynth);
  metrics::ScoredImages set;
  set.labels = labels;
  std::int64_t patient = 0;
  for (std::size_t i = 0; i < images; ++i) {
    patient += random.below(5) < 2;
    set.patients.push_back(patient);
    set.images.push_back("image" + std::to_string(i) + ".png");
    const double severity = random.normal();
    for (std::size_t l = 0; l < labels.size(); ++l) {
      const double prior = std::log(kPrevalence[l % kPrevalence.size()]);
      const bool there = random.uniform() < logistic(prior + severity);
      const bool known = random.uniform() < 0.99f;
      const double quality = 1.2 + 0.25 * static_cast<double>(l % 6);
      set.scores.push_back(logistic(prior + quality * there + 0.3 * severity + random.normal() + 0.4));
      set.targets.push_back(known ? static_cast<float>(there) : std::numeric_limits<float>::quiet_NaN());
    }
  }
  return set;
}

}  // namespace

SampleReport sample_report(const tree::LabelTree& tree, std::size_t images) {
  const std::unique_ptr<Device> device = make_device("cpu", 1);
  const std::vector<std::string>& labels = tree.labels().names();
  const tree::Calibration calibration =
      tree::fit_and_choose(*device, tree, {}, draw_images(labels, 2 * images, 1), "sample",
                           {tree::Guarantee::kPrecision, 0.3, 0.1}, 0.5, 1, 1);
  const metrics::ScoredImages set = draw_images(labels, images, 2);
  metrics::EvaluationOptions options;
  options.draws = 96, options.threads = 1;
  const ReportContext context{"Evaluation of runs/first on drawn scores, split test",
                              {{"Command",
                                "densetree eval --scores scores.csv --labels Data_Entry_2017.csv "
                                "--calibration calibration.json --confidence 0.2,0.5,0.8 --out evaluation"},
                               {"Version", "densetree 0.1.0"},
                               {"Date", "2020-01-31"}}};
  return {metrics::evaluate(set, options),
          tree::evaluate_tree(*device, calibration, set, {0.2, 0.5, 0.8}, options, "sample"), context};
}

}  // namespace densetree::report
