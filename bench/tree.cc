// The label tree and its metrics over as many images, patients and labels as ChestX-ray14 has: calibration, posteriors,
// answers, ranking, AUROC, and the bootstrap over patients. compare_tree.py runs it beside NumPy and scikit-learn.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <memory>

#include "bench/harness.h"
#include "kernels/core/philox.h"
#include "metrics/bootstrap.h"
#include "metrics/ranking.h"
#include "tree/device_tree.h"

namespace densetree::bench {
namespace {

struct TreeSettings {
  std::size_t images = 112'120, labels = 14, draws = 1000;
  std::uint32_t patients = 30'805;
  int threads = 0;
  std::string device = "cpu";
};

// Scores that know something of the truth; one label in ten is positive.
struct RandomScores {
  explicit RandomScores(const TreeSettings& s) {
    RandomStream random(1, RandomUse::kSynth);
    for (std::size_t i = 0; i < s.images; ++i) {
      patients.push_back(random.below(s.patients));
      for (std::size_t label = 0; label < s.labels; ++label) {
        const bool positive = random.uniform() < 0.1f;
        scores.push_back(1 / (1 + std::exp(3 - 1.5 * random.normal() - (positive ? 2 : 0))));
        targets.push_back(positive ? 1.0f : 0.0f);
      }
    }
  }
  std::vector<double> scores;
  std::vector<float> targets;
  std::vector<std::uint32_t> patients;
};

std::vector<metrics::Ranking> rank_all(const TreeSettings& s, const RandomScores& set) {
  std::vector<metrics::Ranking> rankings;
  for (std::size_t label = 0; label < s.labels; ++label) {
    rankings.push_back(metrics::rank({set.scores.data() + label, s.images, s.labels},
                                     {set.targets.data() + label, s.images, s.labels}));
  }
  return rankings;
}

void run(const TreeSettings& s) {
  const RandomScores set(s);
  const std::vector<metrics::Ranking> rankings = rank_all(s, set);
  const std::string shape = fmt::format("{}x{}", s.images, s.labels);
  benchmark::RegisterBenchmark(("rank/" + shape).c_str(), [&](benchmark::State& state) {
    for (auto _ : state) {
      benchmark::DoNotOptimize(rank_all(s, set).data());
    }
  })->Unit(benchmark::kMillisecond);
  const std::unique_ptr<Device> device = make_device(s.device, s.threads);
  const tree::LabelTree label_tree = tree::LabelTree::of_14_labels();
  tree::FitSettings fit;
  fit.priors.assign(static_cast<std::size_t>(label_tree.size()), std::numeric_limits<double>::quiet_NaN());
  if (s.labels == static_cast<std::size_t>(label_tree.leaves())) {
    const auto register_tree = [&](const std::string& name, auto work) {
      benchmark::RegisterBenchmark((name + "/" + shape).c_str(),
                                   [&, work](benchmark::State& state) {
                                     tree::DeviceTree tree(*device, label_tree, Pooling::kNoisyOr);
                                     const tree::Histograms histograms = tree.fit(set.scores, set.targets, fit);
                                     const tree::NodeTable<double> posteriors = tree.posteriors(set.scores, histograms);
                                     for (auto _ : state) {
                                       work(tree, histograms, posteriors);
                                     }
                                   })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    };
    register_tree("calibrate", [&](auto& tree, auto&, auto&) {
      benchmark::DoNotOptimize(tree.fit(set.scores, set.targets, fit).posteriors.data());
    });
    register_tree("posteriors", [&](auto& tree, auto& histograms, auto&) {
      benchmark::DoNotOptimize(tree.posteriors(set.scores, histograms).values.data());
    });
    register_tree("answers", [&](auto& tree, auto&, auto& posteriors) {
      const std::vector<double> thresholds(posteriors.nodes, 0.5);
      benchmark::DoNotOptimize(tree.answering(posteriors).at(thresholds).frontier.values.data());
    });
  }
  benchmark::RegisterBenchmark(("auroc/" + shape).c_str(), [&](benchmark::State& state) {
    for (auto _ : state) {
      for (const metrics::Ranking& ranking : rankings) {
        benchmark::DoNotOptimize(metrics::auroc(ranking));
      }
    }
  })->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark(
      fmt::format("bootstrap/{}/{}_draws", shape, s.draws).c_str(),
      [&](benchmark::State& state) {
        for (auto _ : state) {
          benchmark::DoNotOptimize(
              metrics::bootstrap(rankings, set.scores, set.targets, set.patients, s.patients, s.draws, 1, s.threads)
                  .data());
        }
        state.counters["weights"] = benchmark::Counter(static_cast<double>(s.images * s.labels * s.draws),
                                                       benchmark::Counter::kIsIterationInvariantRate);
      })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
  run_registered(device->info());
}

}  // namespace
}  // namespace densetree::bench

int main(int argc, char** argv) {
  CLI::App app("Times the metrics of a label set as large as ChestX-ray14.", "bench_tree");
  densetree::bench::TreeSettings s;
  app.add_option("--images", s.images)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--labels", s.labels)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--patients", s.patients)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--draws", s.draws, "of the bootstrap")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--device", s.device, "cpu, cpu:SET, cuda or cuda:N, for what runs along the tree")
      ->capture_default_str();
  app.add_option("--threads", s.threads, "0: all cores")->check(CLI::NonNegativeNumber);
  return densetree::bench::run_program(app, argc, argv, [&] { densetree::bench::run(s); });
}
