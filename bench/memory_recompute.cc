// What memory modes save and cost: for each depth and batch, the three modes side by side.
//
//   bench_memory_recompute                                    DenseNet-121, 169, 201, 264 at 224x224, batch 4 and 16
//   bench_memory_recompute --arch densenet121 --batch-size 16 --out FILE.json
//   bench_memory_recompute --batch-norm factored              how much of it is owed to fusing batch norm
//
// The models of one line lie in memory together and take steps in turn, A B C … A B C …, so that whatever else happens
// on the machine happens to all. Medians are printed. `planned` is what the plan says before anything is allocated,
// `resident` what the process grew by when the model was built and had taken a step. `recompute` is the share of a step
// spent on computing a second time what was dropped after forward.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bench/harness.h"
#include "bench/step_subject.h"
#include "bench/timed_device.h"
#include "engine/io/file.h"
#include "kernels/core/error.h"

namespace densetree::bench {
namespace {

struct MemorySettings {
  Settings common;
  std::vector<std::string> archs{"densenet121", "densenet169", "densenet201", "densenet264"};
  std::vector<std::int64_t> batches{4, 16};
  StepOptions step;
  int rounds = 5;
  std::string out;
};

constexpr std::array kModes{"store", "shared", "recompute"};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Memory in use: of the process on the CPU, of the card on a GPU.
std::int64_t used_bytes(const Device& device) {
  const DeviceInfo info = device.info();
  return info.name.starts_with("cpu") ? process_bytes("VmRSS")
                                      : static_cast<std::int64_t>(info.total_memory - info.free_memory);
}

struct Row {
  std::string arch, mode;
  std::int64_t batch = 0, planned = 0, resident = 0;
  double seconds = 0, over_store = 0, recompute = 0, loss = 0;
};

std::vector<Row> measure(const MemorySettings& s, Device& device, StepOptions options) {
  std::vector<Row> rows;
  std::vector<std::unique_ptr<Subject>> subjects;
  for (const char* mode : kModes) {
    options.memory = mode;
    const std::int64_t before = used_bytes(device);
    subjects.push_back(std::make_unique<Subject>(device, options, true));
    warm_up(device, *subjects.back());
    rows.push_back({.arch = options.arch,
                    .mode = mode,
                    .batch = options.batch,
                    .planned = static_cast<std::int64_t>(subjects.back()->model().plan().bytes()),
                    .resident = used_bytes(device) - before});
  }
  std::array<std::vector<double>, kModes.size()> seconds;
  for (int round = 0; round < s.rounds; ++round) {
    for (std::size_t i = 0; i < kModes.size(); ++i) {
      const auto start = std::chrono::steady_clock::now();
      subjects[i]->run();
      device.synchronize();
      seconds[i].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
  }
  for (std::size_t i = 0; i < kModes.size(); ++i) {
    rows[i].seconds = median(seconds[i]);
    rows[i].over_store = rows[i].seconds / rows[0].seconds - 1;
    rows[i].loss = subjects[i]->last();
    check(rows[i].loss == rows[0].loss, "{} in {} has loss {}; in store it is {}", options.arch, kModes[i],
          rows[i].loss, rows[0].loss);
  }
  subjects.clear();
  for (Row& row : rows) {  // by itself, since timing every operation slows the whole
    TimedDevice timed(s.common.open());
    options.memory = row.mode;
    Subject subject(timed, options, true);
    warm_up(timed, subject);
    timed.reset();
    const auto start = std::chrono::steady_clock::now();
    subject.run();
    timed.synchronize();
    row.recompute =
        timed.recomputing_seconds() / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return rows;
}

void print(const Row& row) {
  std::cout << fmt::format("{:12} {:>6} {:10} {:>12.1f} {:>12.1f} {:>10.1f} {:>+10.1f} % {:>8.1f} %\n", row.arch,
                           row.batch, row.mode, row.planned / 1e6, row.resident / 1e6, 1e3 * row.seconds,
                           100 * row.over_store, 100 * row.recompute)
            << std::flush;
}

void run(const MemorySettings& s) {
  const auto device = s.common.open();
  const DeviceInfo info = device->info();
  std::cout << fmt::format(
      "{}, {} threads; {}², {}, batch norm {}; medians of {} rounds, modes in turn\n"
      "for comparison: published shared storage costs 15 to 20 % (Pleiss et al. 2017), others' versions 25 to 38 %\n"
      "{:12} {:>6} {:10} {:>12} {:>12} {:>10} {:>12} {:>10}\n",
      info.hardware, info.threads, s.step.size, s.step.precision, s.step.batch_norm, s.rounds, "network", "batch",
      "mode", "planned MB", "resident MB", "step ms", "over store", "recompute");
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const std::string& arch : s.archs) {
    for (const std::int64_t batch : s.batches) {
      StepOptions options = s.step;
      options.arch = arch, options.batch = batch;
      for (const Row& row : measure(s, *device, options)) {
        print(row);
        list.push_back({{"arch", row.arch},
                        {"batch", row.batch},
                        {"mode", row.mode},
                        {"planned_bytes", row.planned},
                        {"resident_bytes", row.resident},
                        {"step_seconds", row.seconds},
                        {"over_store", row.over_store},
                        {"recompute_share", row.recompute},
                        {"loss", row.loss}});
      }
    }
  }
  if (!s.out.empty()) {
    const nlohmann::ordered_json all{{"hardware", info.hardware},
                                     {"threads", info.threads},
                                     {"image_size", s.step.size},
                                     {"precision", s.step.precision},
                                     {"batch_norm", s.step.batch_norm},
                                     {"rounds", s.rounds},
                                     {"rows", list}};
    write_file(s.out, all.dump(2) + "\n");
  }
}

}  // namespace
}  // namespace densetree::bench

int main(int argc, char** argv) {
  using namespace densetree::bench;
  CLI::App app("Memory against recomputation: peak, step time and recomputed share of each memory mode.",
               "bench_memory_recompute");
  MemorySettings s;
  s.common.add_to(app);
  app.add_option("--arch", s.archs, "as densetree train --arch; several after semicolons")->delimiter(';');
  app.add_option("--batch-size", s.batches, "several after commas")->delimiter(',')->check(CLI::PositiveNumber);
  app.add_option("--image-size", s.step.size, "side of the network's input")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--batch-norm", s.step.batch_norm, "auto, plain, factored or fused")->capture_default_str();
  app.add_option("--precision", s.step.precision, "fp32, tf32 or bf16")->capture_default_str();
  app.add_option("--rounds", s.rounds, "steps of each mode")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--out", s.out, "write the figures to this file (JSON)");
  return run_program(app, argc, argv, [&] { run(s); });
}
