#include "bench/harness.h"

#include <benchmark/benchmark.h>

#include <iostream>

#include "kernels/core/error.h"
#include "kernels/core/philox.h"

namespace densetree::bench {

void Settings::add_to(CLI::App& app) {
  app.add_option("--device", device, "auto, cpu, cpu:SET, cuda or cuda:N")->capture_default_str();
  app.add_option("--threads", threads, "CPU threads; 0: all cores")->check(CLI::NonNegativeNumber);
}

std::unique_ptr<Device> Settings::open() const {
  return make_device(device, threads);
}

int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& body) {
  app.footer("Google Benchmark's flags work too: --benchmark_filter=REGEX, --benchmark_format=json, …");
  std::vector<char*> own{argv[0]}, google{argv[0]};
  for (int i = 1; i < argc; ++i) {
    (std::string_view(argv[i]).starts_with("--benchmark_") ? google : own).push_back(argv[i]);
  }
  int count = static_cast<int>(google.size());
  benchmark::Initialize(&count, google.data());
  try {
    app.parse(static_cast<int>(own.size()), own.data());
    body();
    return 0;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::exception& e) {
    std::cerr << app.get_name() << ": error: " << e.what() << '\n';
    return 1;
  }
}

void run_registered(const DeviceInfo& info) {
  benchmark::AddCustomContext("device", info.name);
  benchmark::AddCustomContext("hardware", info.hardware);
  benchmark::AddCustomContext("threads", std::to_string(info.threads));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}

Buffer::Buffer(Device& device, std::size_t bytes, float low, float high)
    : device_(&device), memory_(device.allocate(std::max<std::size_t>(bytes, 64))) {
  std::vector<float> values((bytes + 3) / 4);
  const auto blocks = static_cast<std::int64_t>((values.size() + 3) / 4);
#pragma omp parallel for schedule(static)
  for (std::int64_t block = 0; block < blocks; ++block) {
    const Philox4 draw = philox(1, static_cast<std::uint32_t>(block), 0, 0, 0);
    for (std::size_t i = 0; i < 4 && block * 4 + i < values.size(); ++i) {
      values[block * 4 + i] = low + (high - low) * uniform_from_bits(draw.v[i]);
    }
  }
  device.upload(memory_, values.data(), bytes);
}

RandomTensor::RandomTensor(Device& device, const Shape& shape, Use use, DType type)
    : buffer(device, static_cast<std::size_t>(storage_elements(shape, device.layout(use))) * size_of(type)),
      view(make_view(buffer.as(), shape, device.layout(use), type)) {
  if (type == DType::kBFloat16) {  // the same numbers, rounded
    const RandomTensor wide(device, shape, use);
    const op::Copy copy{wide.view, view};
    device.prepare(copy)->run(copy, nullptr);  // `wide` is released when this is done
  }
}

}  // namespace densetree::bench
