// Times every kernel, copy and fill that a CUDA program runs, through CUPTI's activity records: those of captured
// graphs too, at the program's own speed and without counters. The driver loads it into the program:
//
//   DENSETREE_KERNEL_TIMES=times.csv CUDA_INJECTION64_PATH=$PWD/libkernel_times.so bench_step --device cuda …
//
// times.csv has a line for each in the order of their start: start and duration in ns, registers a thread, static and
// dynamic shared memory, grid, block, name.
#include <cupti.h>
#include <cxxabi.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kBufferBytes = std::size_t{8} << 20;

struct Activity {
  std::uint64_t start = 0, nanoseconds = 0;
  int registers = 0, static_shared = 0, dynamic_shared = 0;
  int grid[3] = {0, 0, 0}, block[3] = {0, 0, 0};
  std::string name;
};

std::mutex mutex;
std::vector<Activity> activities;

std::string demangled(const char* name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string result = status == 0 ? text : name;
  std::free(text);
  return result;
}

void note(const CUpti_Activity* record) {
  Activity activity;
  switch (record->kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
      const auto* k = reinterpret_cast<const CUpti_ActivityKernel10*>(record);
      activity = {k->start,
                  k->end - k->start,
                  k->registersPerThread,
                  k->staticSharedMemory,
                  k->dynamicSharedMemory,
                  {k->gridX, k->gridY, k->gridZ},
                  {k->blockX, k->blockY, k->blockZ},
                  demangled(k->name)};
      break;
    }
    case CUPTI_ACTIVITY_KIND_MEMCPY: {
      const auto* copy = reinterpret_cast<const CUpti_ActivityMemcpy6*>(record);
      activity.start = copy->start;
      activity.nanoseconds = copy->end - copy->start;
      activity.name = "copy of kind " + std::to_string(copy->copyKind);
      break;
    }
    case CUPTI_ACTIVITY_KIND_MEMSET: {
      const auto* fill = reinterpret_cast<const CUpti_ActivityMemset4*>(record);
      activity.start = fill->start;
      activity.nanoseconds = fill->end - fill->start;
      activity.name = "fill";
      break;
    }
    default:
      return;
  }
  const std::lock_guard lock(mutex);
  activities.push_back(std::move(activity));
}

void CUPTIAPI give_buffer(std::uint8_t** buffer, std::size_t* bytes, std::size_t* most_records) {
  *buffer = static_cast<std::uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *bytes = *buffer == nullptr ? 0 : kBufferBytes;
  *most_records = 0;  // as many as fit
}

void CUPTIAPI take_buffer(CUcontext, std::uint32_t, std::uint8_t* buffer, std::size_t, std::size_t valid_bytes) {
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid_bytes, &record) == CUPTI_SUCCESS) {
    note(record);
  }
  std::free(buffer);
}

void write_all() {
  cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  const char* path = std::getenv("DENSETREE_KERNEL_TIMES");
  std::FILE* file = path == nullptr ? nullptr : std::fopen(path, "w");
  if (file == nullptr) {
    std::fprintf(stderr, "kernel_times: error: DENSETREE_KERNEL_TIMES names no file that can be written\n");
    return;
  }
  const std::lock_guard lock(mutex);
  std::stable_sort(activities.begin(), activities.end(),
                   [](const Activity& a, const Activity& b) { return a.start < b.start; });
  std::fprintf(file, "start,nanoseconds,registers,static_shared,dynamic_shared,grid,block,name\n");
  for (const Activity& a : activities) {
    std::fprintf(file, "%llu,%llu,%d,%d,%d,%dx%dx%d,%dx%dx%d,\"%s\"\n", static_cast<unsigned long long>(a.start),
                 static_cast<unsigned long long>(a.nanoseconds), a.registers, a.static_shared, a.dynamic_shared,
                 a.grid[0], a.grid[1], a.grid[2], a.block[0], a.block[1], a.block[2], a.name.c_str());
  }
  std::fclose(file);
}

}  // namespace

// What the driver calls when the program first uses CUDA.
extern "C" int InitializeInjection() {
  const bool ready = cuptiActivityRegisterCallbacks(give_buffer, take_buffer) == CUPTI_SUCCESS &&
                     cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) == CUPTI_SUCCESS &&
                     cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMCPY) == CUPTI_SUCCESS &&
                     cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMSET) == CUPTI_SUCCESS;
  if (!ready) {
    std::fprintf(stderr, "kernel_times: error: CUPTI refuses to record activities\n");
    return 0;
  }
  std::atexit(write_all);
  return 1;
}
