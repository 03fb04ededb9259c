// Device: memory, a queue, and kernels that run operations (kernels/operations.h). The only seam between what a device
// computes and everything above it; engine, nn and tree see no oneDNN, cuDNN or CUDA header.
//
// Conventions
//  - All pointers are device pointers of this device.
//  - Operations are queued in order on the device's stream; synchronize() waits. On the CPU they run at once.
//  - Nothing here allocates but what makes something (make_…, prepare, and a Replay in its first two runs): scratch
//    memory is handed in as `workspace`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/operations.h"

namespace densetree {

// An implementation that a device has and did not take, and why.
struct Refusal {
  std::string implementation, reason;
};

// What runs an operation: prepared once for its shapes, with what the device's libraries need for them.
class Kernel {
 public:
  virtual ~Kernel() = default;
  // What computes it, where that can differ from machine to machine, else empty: two runs give the same bits only with
  // the same.
  virtual std::string implementation() const { return ""; }
  virtual std::size_t workspace_bytes() const { return 0; }
  // Queues the operation that it was prepared for. Only the memory of its operands may differ, and operands that may be
  // missing may be left out.
  virtual void run(const Operation& operation, void* workspace) = 0;
};

// ---- Steps that wait for nothing -----------------------------------------------------------------
// Work that is run again and again. Device::capture() says what a device may make of it.
class Replay {
 public:
  virtual ~Replay() = default;
  virtual void run() = 0;  // queues it
};
// Calls `work` in every run.
std::unique_ptr<Replay> make_direct_replay(std::function<void()> work);

// Uploads that travel while earlier work computes.
class StagedUpload {
 public:
  virtual ~StagedUpload() = default;
  // Copies bytes from the host to device memory, in order with what is queued before and after. `from` may be changed
  // as soon as this returns. Waits only while the upload before the last one is still travelling. Throws Error where
  // there are more bytes than it was made for.
  void send(void* to, const void* from, std::size_t bytes);

 protected:
  explicit StagedUpload(std::size_t bytes) : bytes_(bytes) {}
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;

 private:
  std::size_t bytes_;
};

// Copies of the same bytes of device memory, taken at two points of the queue and read while later work computes.
class Readback {
 public:
  virtual ~Readback() = default;
  // Queues a copy of the bytes at `from`, as many as it was made for. Of all that were taken the last two can be read.
  void take(const void* from) { copy(from, static_cast<int>(taken_++ % kKept)); }
  // To `to` what was taken last (ago 0) or before that (ago 1); waits for the queue up to there. Throws Error where
  // nothing was.
  void read(int ago, void* to);

 protected:
  static constexpr int kKept = 2;
  virtual void copy(const void* from, int slot) = 0;
  virtual void wait(int slot, void* to) = 0;

 private:
  std::int64_t taken_ = 0;
};

// Times between points of the queue, by the device's own clock: CUDA events, or the host's clock on the CPU. Marking a
// point does not wait.
class Stopwatch {
 public:
  virtual ~Stopwatch() = default;
  virtual std::size_t mark() = 0;  // queues a mark and returns its number, counted from 0
  // Seconds from one mark to another; waits for both. Throws Error where a number belongs to no mark.
  virtual double seconds_between(std::size_t from, std::size_t to) = 0;
  virtual void clear() = 0;  // forgets all marks: the next one is number 0
};

struct DeviceInfo {
  std::string name;      // "cpu", "cpu:avx2", "cuda:0"
  std::string hardware;  // "AMD EPYC 9B14, AVX-512" or "NVIDIA H200"
  std::size_t total_memory = 0, free_memory = 0;
  int threads = 1;  // CPU threads in use, or multiprocessors
};

// Where memory of a caller lies: what the host reads, or what this device does.
enum class Place : std::uint8_t { kHost, kDevice };

class TreeOperations;  // kernels/tree_operations.h

class Device {
 public:
  virtual ~Device() = default;

  virtual DeviceInfo info() const = 0;
  virtual Layout layout(Use use) const = 0;
  // Empty where the device computes in this precision, else why not, to be shown to a user.
  virtual std::string why_not(Precision precision) const = 0;

  // Where work is queued, to be waited for from elsewhere: a cudaStream_t, or null on devices without streams.
  virtual void* stream() const { return nullptr; }
  // Empty where the memory lies in such a place, else where it lies instead, to be shown to a user.
  virtual std::string misplaced(const void* memory, Place place) const = 0;

  // Memory. allocate throws Error saying what was asked for and what is free.
  virtual void* allocate(std::size_t bytes) = 0;  // 64-byte aligned at least
  virtual void release(void* memory) noexcept = 0;
  virtual void upload(void* to_device, const void* from_host, std::size_t bytes) = 0;    // waits
  virtual void download(void* to_host, const void* from_device, std::size_t bytes) = 0;  // waits
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;
  virtual void fill(void* memory, std::uint8_t value, std::size_t bytes) = 0;
  virtual void synchronize() = 0;

  // Device memory that a staged upload of up to so many bytes works in, and one made on such memory.
  virtual std::size_t staging_bytes(std::size_t bytes) const = 0;
  virtual std::unique_ptr<StagedUpload> make_staged_upload(std::size_t bytes, void* memory) = 0;
  virtual std::unique_ptr<Readback> make_readback(std::size_t bytes) = 0;
  virtual std::unique_ptr<Stopwatch> make_stopwatch() = 0;
  // Each run() of the replay does what `work` does, from what lies in memory then. `work` queues operations of this
  // device, the same ones on the same memory in every call, and neither waits, uploads nor downloads. CUDA calls it in
  // the first run (libraries prepare themselves then), captures a second call as a graph, and launches that from there
  // on; the CPU calls it in every run.
  virtual std::unique_ptr<Replay> capture(std::function<void()> work) = 0;
  // A stretch of work by name, for the timeline of a profiler; may be nested. See Range.
  virtual void push_range(const char*) {}
  virtual void pop_range() {}

  // The first implementation that takes the operation's shapes, of the device's list, which has the fastest first and
  // the reference last. Null where there is none. Those before it, or all, are noted in *refusals with their reasons,
  // where that is given. Operands need no memory yet. Throws Error where they do not fit together
  // (kernels/check_operands.h). The kernel lives no longer than the device.
  std::unique_ptr<Kernel> prepare(const Operation& operation, std::vector<Refusal>* refusals = nullptr);

  // Whether fused forms were measured on such devices, and are faster than what they are made of.
  virtual bool prefers_fused() const = 0;

  // Label trees: scores of nodes, histograms, posteriors, answers.
  virtual std::unique_ptr<TreeOperations> make_tree_operations() = 0;

 protected:
  // As prepare(), of operands that fit together.
  virtual std::unique_ptr<Kernel> make_kernel(const Operation& operation, std::vector<Refusal>* refusals) = 0;
};

// The stretch of work until its end of scope.
class Range {
 public:
  Range(Device& device, const char* name) : device_(device) { device.push_range(name); }
  ~Range() { device_.pop_range(); }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  Device& device_;
};

// Cores that this process may use, and the most threads that a device takes: several for each core, since a few too
// many are only slow.
int usable_cores();
int most_threads();

// "auto", "cpu", "cpu:SET", "cuda" or "cuda:N". auto takes CUDA where a device answers, else the CPU. The CPU computes
// with the best instruction set that this processor has, or with SET: x86-64, avx2, avx512 or avx512_bf16. threads 0:
// all cores. Asking for a device that is not there is an Error that says why. stream: where it queues its work, a
// cudaStream_t that the caller keeps, or null for one of its own; an Error on devices without streams.
std::unique_ptr<Device> make_device(const std::string& name, int threads = 0, void* stream = nullptr);

// CUDA devices make their context the calling thread's current one. In other people's programs that is theirs: it is
// put back at the end of scope. make_device and device_status do so themselves.
class [[nodiscard]] CurrentDeviceGuard {
 public:
  CurrentDeviceGuard() noexcept;
  ~CurrentDeviceGuard();
  CurrentDeviceGuard(const CurrentDeviceGuard&) = delete;
  CurrentDeviceGuard& operator=(const CurrentDeviceGuard&) = delete;

 private:
  void* before_;  // a CUcontext
};

// What this build and machine offer, and why not the rest: for the `devices` command.
struct DeviceStatus {
  std::string name;
  bool available = false;
  std::string detail;  // hardware, or the reason it is not available
};
std::vector<DeviceStatus> list_devices();
// The one at that place of the list alone, so that no other GPU is touched; nothing behind the last.
std::optional<DeviceStatus> device_status(std::size_t index);

}  // namespace densetree
