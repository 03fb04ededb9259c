#include "kernels/device.h"

#include <omp.h>

#include "kernels/check_operands.h"
#include "kernels/core/error.h"
#include "kernels/cpu/cpu_device.h"
#ifdef DENSETREE_HAVE_CUDA
#include "kernels/cuda/cuda_device.h"
#endif

namespace densetree {
namespace {

// How many CUDA devices answer; the reason where none does.
int count_cuda(std::string* why_not) {
#ifdef DENSETREE_HAVE_CUDA
  return cuda_device_count(why_not);
#else
  *why_not = "this build has no CUDA; configure with -DDENSETREE_CUDA=ON where nvcc is installed";
  return 0;
#endif
}

// CUDA's current device of the calling thread; -1 where there is none.
int current_device() {
#ifdef DENSETREE_HAVE_CUDA
  return current_cuda_device();
#else
  return -1;
#endif
}

void set_current_device([[maybe_unused]] int device) {
#ifdef DENSETREE_HAVE_CUDA
  if (device >= 0) {
    set_current_cuda_device(device);
  }
#endif
}

std::unique_ptr<Device> open_cuda([[maybe_unused]] int index, [[maybe_unused]] void* stream) {
  std::string why_not;
  const int count = count_cuda(&why_not);
  check(count > 0, "device cuda is not available: {}", why_not);
  check(index < count, "device cuda:{} is not there; this machine has cuda:0 to cuda:{}", index, count - 1);
#ifdef DENSETREE_HAVE_CUDA
  return make_cuda_device(index, stream);
#else
  return nullptr;  // not reached: count is 0
#endif
}

std::unique_ptr<Device> open_cpu(int threads, void* stream) {
  check(stream == nullptr, "the device is cpu, which has no streams; leave the stream out, or ask for cuda");
  return std::make_unique<CpuDevice>(threads);
}

class DirectReplay final : public Replay {
 public:
  explicit DirectReplay(std::function<void()> work) : work_(std::move(work)) {}
  void run() override { work_(); }

 private:
  std::function<void()> work_;
};

}  // namespace

std::unique_ptr<Kernel> Device::prepare(const Operation& operation, std::vector<Refusal>* refusals) {
  check_operands(*this, operation);
  return make_kernel(operation, refusals);
}

void StagedUpload::send(void* to, const void* from, std::size_t bytes) {
  check(bytes <= bytes_, "a staged upload of {} bytes was made for {} at most", bytes, bytes_);
  if (bytes > 0) {
    copy(to, from, bytes);
  }
}

void Readback::read(int ago, void* to) {
  check(ago >= 0 && ago < kKept, "a readback keeps the last {} values; the one {} ago is asked for", kKept, ago);
  check(ago < taken_, "a readback is asked for the value {} ago; {} were taken", ago, taken_);
  wait(static_cast<int>((taken_ - 1 - ago) % kKept), to);
}

std::unique_ptr<Replay> make_direct_replay(std::function<void()> work) {
  return std::make_unique<DirectReplay>(std::move(work));
}

int usable_cores() {
  return omp_get_num_procs();
}

int most_threads() {
  return 8 * usable_cores();
}

std::unique_ptr<Device> make_device(const std::string& name, int threads, void* stream) {
  check(threads >= 0 && threads <= most_threads(),
        "threads is {}; this process may use {} cores: use 1 to {}, or 0 for all cores", threads, usable_cores(),
        most_threads());
  if (name == "cpu") {
    return open_cpu(threads, stream);
  }
  if (name == "auto") {
    std::string why_not;
    return count_cuda(&why_not) > 0 ? open_cuda(0, stream) : open_cpu(threads, stream);
  }
  if (name == "cuda") {
    return open_cuda(0, stream);
  }
  const std::string_view prefix = "cuda:";
  const std::string index = name.starts_with(prefix) ? name.substr(prefix.size()) : "";
  check(!index.empty() && index.size() <= 3 && index.find_first_not_of("0123456789") == std::string::npos,
        "device '{}' is unknown; use auto, cpu, cuda or cuda:N", name);
  return open_cuda(std::stoi(index), stream);
}

std::optional<DeviceStatus> device_status(std::size_t index) {
  if (index == 0) {
    return DeviceStatus{"cpu", true, CpuDevice(0).info().hardware};
  }
  std::string why_not;
  const auto count = static_cast<std::size_t>(count_cuda(&why_not));
  if (count == 0 && index == 1) {
    return DeviceStatus{"cuda", false, why_not};
  }
#ifdef DENSETREE_HAVE_CUDA
  if (index <= count) {
    return cuda_status(static_cast<int>(index) - 1);
  }
#endif
  return std::nullopt;
}

std::vector<DeviceStatus> list_devices() {
  std::vector<DeviceStatus> devices;
  while (const std::optional<DeviceStatus> device = device_status(devices.size())) {
    devices.push_back(*device);
  }
  return devices;
}

CurrentDeviceGuard::CurrentDeviceGuard() noexcept : before_(current_device()) {}
CurrentDeviceGuard::~CurrentDeviceGuard() {
  if (before_ != current_device()) {
    set_current_device(before_);
  }
}

}  // namespace densetree
