// Finding and opening devices.
#include <omp.h>

#include "kernels/core/error.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cuda_plugin.h"
#include "kernels/device.h"

namespace densetree {
namespace {

// How many CUDA devices answer; the reason where none does.
int count_cuda(std::string* why_not) {
  const CudaFunctions* cuda = cuda_functions(why_not);
  return cuda ? cuda->device_count(why_not) : 0;
}

std::unique_ptr<Device> open_cuda(int index, void* stream) {
  std::string why_not;
  const int count = count_cuda(&why_not);
  check(count > 0, "device cuda is not available: {}", why_not);
  check(index < count, "device cuda:{} is not there; this machine has cuda:0 to cuda:{}", index, count - 1);
  const CurrentDeviceGuard guard;
  return cuda_functions(&why_not)->make_device(index, stream);
}

std::unique_ptr<Device> open_cpu(int threads, void* stream, std::optional<std::string_view> instruction_set = {}) {
  check(stream == nullptr, "the device is cpu, which has no streams; leave the stream out, or ask for cuda");
  return std::make_unique<CpuDevice>(threads, instruction_set);
}

}  // namespace

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
  constexpr std::string_view kSet = "cpu:", kNumbered = "cuda:";
  if (name.starts_with(kSet)) {
    return open_cpu(threads, stream, std::string_view(name).substr(kSet.size()));
  }
  const std::string index = name.starts_with(kNumbered) ? name.substr(kNumbered.size()) : "";
  check(!index.empty() && index.size() <= 3 && index.find_first_not_of("0123456789") == std::string::npos,
        "device '{}' is unknown; use auto, cpu, cpu:SET, cuda or cuda:N", name);
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
  if (index <= count) {
    const CurrentDeviceGuard guard;
    return cuda_functions(&why_not)->status(static_cast<int>(index) - 1);
  }
  return std::nullopt;
}

std::vector<DeviceStatus> list_devices() {
  std::vector<DeviceStatus> devices;
  while (const std::optional<DeviceStatus> device = device_status(devices.size())) {
    devices.push_back(*device);
  }
  return devices;
}

CurrentDeviceGuard::CurrentDeviceGuard() noexcept : before_(current_cuda_context()) {}
CurrentDeviceGuard::~CurrentDeviceGuard() {
  if (before_ != current_cuda_context()) {
    set_current_cuda_context(before_);
  }
}

}  // namespace densetree
