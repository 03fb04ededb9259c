// Whole training steps and inference of a DenseNet: images/s, the memory of the plan, and where the time goes.
//
//   bench_step                                   Google Benchmark: DenseNet-121, 224x224, batch 16, all memory modes
//   bench_step --profile                         a table of the time by kind of operation
//   bench_step --worker train --memory shared    answers compare_step.py: JSON lines on standard output
#include <benchmark/benchmark.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bench/harness.h"
#include "bench/step_subject.h"
#include "bench/timed_device.h"
#include "kernels/core/error.h"

namespace densetree::bench {
namespace {

struct StepSettings {
  Settings common;
  std::string arch = "densenet121", precision = "fp32", batch_norm = "auto";
  std::int64_t batch = 16, size = 224, labels = 14;
  std::vector<std::string> memory{"shared", "store", "recompute"};
  bool profile = false;
  int steps = 5;
  std::string worker;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

StepOptions options_of(const StepSettings& s, const std::string& memory) {
  return {s.arch, memory, s.batch_norm, s.precision, s.batch, s.size, s.labels};
}

// Runs steps on a device that times its operations; the seconds of all of them together.
double run_profiled(TimedDevice& device, Subject& subject, int steps) {
  warm_up(device, subject);
  device.reset();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < steps; ++i) {
    subject.run();
  }
  device.synchronize();
  return seconds_since(start);
}

void time_steps(benchmark::State& state, const StepSettings& s, const std::string& memory, bool training) {
  const auto device = s.common.open();
  Subject subject(*device, options_of(s, memory), training);
  warm_up(*device, subject);
  for (std::int64_t done = 0; auto _ : state) {
    subject.run();
    if (++done == s.steps) {
      device->synchronize();  // a step may end after its call has; the last one's end counts too
    }
  }
  state.counters["images"] =
      benchmark::Counter(static_cast<double>(s.batch), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["plan_bytes"] = static_cast<double>(subject.model().plan().bytes());

  TimedDevice timed(s.common.open());
  Subject profiled(timed, options_of(s, memory), training);
  const double seconds = run_profiled(timed, profiled, 1);
  state.counters["convolution_share"] = convolution_seconds_of(timed.profile()) / seconds;
}

std::string title(const StepSettings& s, const std::string& what) {
  return fmt::format("{}/{}/{}x{}", what, s.arch, s.batch, s.size);
}

void run_benchmarks(const StepSettings& s) {
  const auto add = [&](const std::string& name, const std::string& memory, bool training) {
    benchmark::RegisterBenchmark(
        name.c_str(), [&s, memory, training](benchmark::State& state) { time_steps(state, s, memory, training); })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime()
        ->Iterations(s.steps);
  };
  for (const std::string& memory : s.memory) {
    add(title(s, "train") + "/" + memory, memory, true);
  }
  add(title(s, "infer"), s.memory[0], false);
  run_registered(s.common.open()->info());
}

void run_profile(const StepSettings& s) {
  for (const auto& [what, training] : {std::pair{"train", true}, {"infer", false}}) {
    TimedDevice device(s.common.open());
    Subject subject(device, options_of(s, s.memory[0]), training);
    const double seconds = run_profiled(device, subject, s.steps);
    std::cout << fmt::format("{}{} on {}, {} threads: {:.2f} images/s\n", title(s, what),
                             training ? "/" + s.memory[0] : "", device.info().hardware, device.info().threads,
                             static_cast<double>(s.batch * s.steps) / seconds)
              << profile_table(device.profile(), seconds, s.steps) << '\n';
  }
}

// ---- One side of compare_step.py

// Standard input "run N": N steps, one JSON line with the seconds of each and the memory so far. Ends with the input.
// Steps may be queued while the one before still computes; the last one's seconds hold the wait for all of them.
void run_worker(const StepSettings& s) {
  check(s.worker == "train" || s.worker == "infer", "--worker is '{}'; use train or infer", s.worker);
  const std::int64_t baseline = process_bytes("VmRSS");
  const auto device = s.common.open();
  Subject subject(*device, options_of(s, s.memory[0]), s.worker == "train");
  std::cout << nlohmann::json({{"name", "densetree " + s.memory[0]},
                               {"version", DENSETREE_VERSION},
                               {"hardware", device->info().hardware},
                               {"threads", device->info().threads},
                               {"batch_norms", subject.model().plan().batch_norms().describe()},
                               {"baseline_bytes", baseline},
                               {"plan_bytes", subject.model().plan().bytes()}})
            << std::endl;
  for (std::string command; std::getline(std::cin, command);) {
    check(command.starts_with("run "), "'{}' is no command; use 'run N'", command);
    std::vector<double> seconds;
    for (int i = std::stoi(command.substr(4)); i > 0; --i) {
      const auto start = std::chrono::steady_clock::now();
      subject.run();
      if (i == 1) {
        device->synchronize();
      }
      seconds.push_back(seconds_since(start));
    }
    std::cout << nlohmann::json(
                     {{"seconds", seconds}, {"peak_bytes", process_bytes("VmHWM")}, {"value", subject.last()}})
              << std::endl;
  }
}

}  // namespace
}  // namespace densetree::bench

int main(int argc, char** argv) {
  using namespace densetree::bench;
  CLI::App app("Times whole training steps and inference.", "bench_step");
  StepSettings s;
  s.common.add_to(app);
  app.add_option("--arch", s.arch, "as densetree train --arch")->capture_default_str();
  app.add_option("--batch-size", s.batch, "images in a step")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--image-size", s.size, "side of the network's input")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--memory", s.memory, "store, shared, recompute; several after commas")->delimiter(',');
  app.add_option("--batch-norm", s.batch_norm, "auto, plain, factored or fused")->capture_default_str();
  app.add_option("--precision", s.precision, "fp32, tf32 or bf16")->capture_default_str();
  app.add_option("--steps", s.steps, "steps to time")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_flag("--profile", s.profile, "print the time by kind of operation, for the first memory mode");
  app.add_option("--worker", s.worker, "train or infer: take commands from compare_step.py");
  return run_program(app, argc, argv, [&] {
    if (!s.worker.empty()) {
      run_worker(s);
    } else if (s.profile) {
      run_profile(s);
    } else {
      run_benchmarks(s);
    }
  });
}
