#include "kernels/cuda/tuner.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <memory>
#include <numeric>
#include <string_view>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/pieces.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/event.h"

namespace densetree::cuda {
namespace {

constexpr const char* kOperation = "timing algorithms";
constexpr int kWarmups = 2, kRepetitions = 5;
constexpr int kFill = 0x3c;  // 0.0115 as fp32 and as bf16: sums of products stay finite

// One allocation, cut into buffers.
class Scratch {
 public:
  Scratch(const Stream& stream, std::span<const std::size_t> sizes) {
    const std::size_t total = cut(nullptr, sizes);
    void* raw = nullptr;
    check_cuda(cudaMalloc(&raw, std::max<std::size_t>(total, 1)), kOperation, stream.device);
    memory_.reset(raw);
    check_cuda(cudaMemsetAsync(raw, kFill, total, stream.handle), kOperation, stream.device);
    cut(raw, sizes);
  }
  std::span<void* const> buffers() const { return buffers_; }

 private:
  std::size_t cut(void* base, std::span<const std::size_t> sizes) {
    Pieces p(base, 256);
    buffers_.clear();
    for (const std::size_t bytes : sizes) {
      buffers_.push_back(p.take_bytes(bytes));
    }
    return p.bytes();
  }

  struct Free {
    void operator()(void* memory) const { cudaFree(memory); }  // waits for work that uses it
  };
  std::unique_ptr<void, Free> memory_;
  std::vector<void*> buffers_;
};

// The shortest of some runs.
double seconds_of(const Stream& stream, const std::function<void()>& run) {
  for (int i = 0; i < kWarmups; ++i) {
    run();
  }
  Event begin(stream.device, Timing::kOn), end(stream.device, Timing::kOn);
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRepetitions; ++i) {
    begin.record(stream);
    run();
    end.record(stream);
    least = std::min(least, end.seconds_since(begin));
  }
  return least;
}

AlgorithmHost host_of(const Stream& stream) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, stream.device), kOperation, stream.device);
  return {.gpu = properties.name, .major = properties.major, .minor = properties.minor, .library = ""};
}

}  // namespace

bool wants_tuning(const char* densetree_autotune) {
  const std::string_view value = densetree_autotune == nullptr ? "" : densetree_autotune;
  check(value.empty() || value == "0" || value == "1", "DENSETREE_AUTOTUNE is '{}'; use 1 to time algorithms or 0",
        value);
  return value == "1";
}

Tuner::Tuner(const Stream& stream)
    : stream_(stream),
      on_(wants_tuning(std::getenv("DENSETREE_AUTOTUNE"))),
      host_(host_of(stream)),
      cache_(on_ ? AlgorithmCache::file_for(std::getenv("DENSETREE_CACHE"), std::getenv("XDG_CACHE_HOME"),
                                            std::getenv("HOME"))
                 : "") {}

std::size_t Tuner::choose(const std::string& library, const ConvolutionShape& shape, const std::string& pass,
                          std::span<const std::string> algorithms, std::span<const std::size_t> buffer_bytes,
                          const Run& run) {
  if (!on_) {
    return 0;
  }
  AlgorithmHost host = host_;
  host.library = library;
  std::unique_ptr<Scratch> scratch;
  return choose_algorithm(cache_, algorithm_key(host, shape, pass), algorithms, [&](std::size_t index) {
    if (!scratch) {
      scratch = std::make_unique<Scratch>(stream_, buffer_bytes);
    }
    return seconds_of(stream_, [&] { run(index, scratch->buffers()); });
  });
}

}  // namespace densetree::cuda
