#include "kernels/cpu/cpu_device.h"

#include <omp.h>
#include <sys/mman.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "kernels/core/error.h"

namespace densetree {
namespace {

// The first value of a key in a /proc file of "key : value" lines; empty where there is none.
std::string proc_value(const char* file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const auto colon = line.find(':');
    if (line.starts_with(key) && colon != std::string::npos) {
      const auto begin = line.find_first_not_of(" \t", colon + 1);
      return begin == std::string::npos ? "" : line.substr(begin);
    }
  }
  return "";
}

std::size_t memory_bytes(std::string_view key) {
  const std::string value = proc_value("/proc/meminfo", key);  // "24612345 kB"
  return value.empty() ? 0 : std::strtoull(value.c_str(), nullptr, 10) * 1024;
}

// Nothing is queued on the CPU, so nothing is late.
class CpuUpload final : public StagedUpload {
 public:
  explicit CpuUpload(std::size_t bytes) : StagedUpload(bytes) {}

 private:
  void copy(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
};

class CpuReadback final : public Readback {
 public:
  explicit CpuReadback(std::size_t bytes) : slots_{std::vector<std::byte>(bytes), std::vector<std::byte>(bytes)} {}

 private:
  void copy(const void* from, int slot) override { std::memcpy(slots_[slot].data(), from, slots_[slot].size()); }
  void wait(int slot, void* to) override { std::memcpy(to, slots_[slot].data(), slots_[slot].size()); }

  std::array<std::vector<std::byte>, kKept> slots_;
};

class CpuStopwatch final : public Stopwatch {
 public:
  std::size_t mark() override {
    marks_.push_back(std::chrono::steady_clock::now());
    return marks_.size() - 1;
  }
  double seconds_between(std::size_t from, std::size_t to) override {
    check(std::max(from, to) < marks_.size(), "marks {} and {} of a stopwatch that has {}", from, to, marks_.size());
    return std::chrono::duration<double>(marks_[to] - marks_[from]).count();
  }
  void clear() override { marks_.clear(); }

 private:
  std::vector<std::chrono::steady_clock::time_point> marks_;
};

}  // namespace

CpuDevice::CpuDevice(int threads, std::optional<std::string_view> instruction_set)
    : set_(instruction_set ? cpu::instruction_set(*instruction_set) : cpu::best_instruction_set()),
      name_(instruction_set ? fmt::format("cpu:{}", *instruction_set) : "cpu"),
      team_{threads > 0 ? threads : omp_get_num_procs(), set_.compiled->lanes} {}

DeviceInfo CpuDevice::info() const {
  return {.name = name_,
          .hardware = fmt::format("{}, {}", proc_value("/proc/cpuinfo", "model name"), set_.description),
          .total_memory = memory_bytes("MemTotal"),
          .free_memory = memory_bytes("MemAvailable"),
          .threads = team_.threads};
}

std::string CpuDevice::why_not(Precision precision) const {
  switch (precision) {
    case Precision::kFloat32:
      return "";
    case Precision::kTensorFloat32:
      return "the CPU device computes in fp32 or bf16; tf32 needs a CUDA device";
    case Precision::kBFloat16:
      return set_.compiled->bfloat16
                 ? ""
                 : fmt::format("bf16 on a CPU needs AVX-512 (F, BW, VL and DQ), and {} computes with {}", name_,
                               set_.description);
  }
  fail("unknown precision {}", static_cast<int>(precision));
}

Layout cpu::Team::layout(Use use) const {
  switch (use) {
    case Use::kInput:
      return Layout::kPlanar;
    case Use::kSpatial:
      return lanes == 16 ? Layout::kBlocked16 : Layout::kBlocked8;
    case Use::kStack:
      return lanes == 16 ? Layout::kSlabs16 : Layout::kSlabs8;
  }
  fail("unknown use {}", static_cast<int>(use));
}

Layout CpuDevice::layout(Use use) const {
  return team_.layout(use);
}

void* CpuDevice::allocate(std::size_t bytes) {
  // Large pages where there is room for some: fewer faults when memory is first touched, and fewer misses later.
  constexpr std::size_t kPage = 4096, kLargePage = std::size_t{2} << 20;
  const std::size_t alignment = bytes >= 2 * kLargePage ? kLargePage : kPage;
  const std::size_t size = rounded_up(bytes, alignment);
  const std::size_t available = memory_bytes("MemAvailable");
  void* memory = bytes <= available ? std::aligned_alloc(alignment, size) : nullptr;
  if (!memory) {
    throw OutOfMemory(fmt::format("out of memory on the CPU: {:.2f} GiB asked for, {:.2f} GiB available",
                                  bytes / 0x1p30, available / 0x1p30));
  }
  if (alignment == kLargePage) {
    madvise(memory, size, MADV_HUGEPAGE);  // advice: where the system has none, nothing changes
  }
  return memory;
}

void CpuDevice::release(void* memory) noexcept {
  std::free(memory);
}
void CpuDevice::upload(void* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}
void CpuDevice::download(void* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}
void CpuDevice::copy(void* to, const void* from, std::size_t bytes) {
  std::memmove(to, from, bytes);
}
void CpuDevice::fill(void* memory, std::uint8_t value, std::size_t bytes) {
  std::memset(memory, value, bytes);
}

std::unique_ptr<Kernel> CpuDevice::make_kernel(const Operation& operation, std::vector<Refusal>* refusals) {
  return set_.compiled->make_kernel(team_, operation, refusals);
}

std::unique_ptr<StagedUpload> CpuDevice::make_staged_upload(std::size_t bytes, void*) {
  return std::make_unique<CpuUpload>(bytes);
}
std::unique_ptr<Readback> CpuDevice::make_readback(std::size_t bytes) {
  return std::make_unique<CpuReadback>(bytes);
}

std::unique_ptr<Stopwatch> CpuDevice::make_stopwatch() {
  return std::make_unique<CpuStopwatch>();
}
std::unique_ptr<Replay> CpuDevice::capture(std::function<void()> work) {
  return make_direct_replay(std::move(work));
}

}  // namespace densetree
