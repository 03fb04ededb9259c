// Finding, opening and describing CUDA devices, and their memory.
#include <cuda_runtime_api.h>

#include "kernels/core/error.h"
#include "kernels/cuda/architectures.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/functions.h"
#include "kernels/cuda/kernel_image.h"
#include "kernels/cuda/network_input.h"

namespace densetree {
namespace {

constexpr double kGiB = 0x1p30;

std::string version(int number) {  // 13000: "13.0"
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

// Why there is no device, in a user's words.
std::string explain(cudaError_t status) {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    return "no NVIDIA driver is installed on this machine";
  }
  if (status == cudaErrorInsufficientDriver) {
    return fmt::format("the NVIDIA driver is for CUDA {}; this build needs a driver for CUDA {} or later",
                       version(driver), version(CUDART_VERSION / 1000 * 1000));
  }
  if (status == cudaErrorNoDevice) {
    return "the NVIDIA driver sees no GPU (is CUDA_VISIBLE_DEVICES set?)";
  }
  return fmt::format("CUDA says {} ({})", cudaGetErrorString(status), cudaGetErrorName(status));
}

std::string hardware(const cudaDeviceProp& properties) {
  return fmt::format("{}, compute capability {}.{}, {:.1f} GiB", properties.name, properties.major, properties.minor,
                     static_cast<double>(properties.totalGlobalMem) / kGiB);
}

// The reason why this build cannot run on the current device; empty where it can.
std::string missing_code(const cudaDeviceProp& properties) {
  const cudaError_t status = cuda::find_kernel_image();
  cudaGetLastError();  // a refusal is answered here and must not surface in the next call
  if (status == cudaSuccess) {
    return "";
  }
  const std::string note = cuda::code_note(DENSETREE_CUDA_ARCHITECTURES, properties.major, properties.minor);
  return note.empty() ? fmt::format("{}: its kernels cannot be loaded: {}", properties.name, cudaGetErrorString(status))
                      : fmt::format("{}: {} ({})", properties.name, note, cudaGetErrorString(status));
}

// Hardware, and what it lacks of what this build can do.
std::string description(const cudaDeviceProp& properties) {
  std::string text = hardware(properties);
  for (const std::string& note : {cuda::precision_note(properties.major, properties.minor),
                                  cuda::code_note(DENSETREE_CUDA_ARCHITECTURES, properties.major, properties.minor)}) {
    text += note.empty() ? "" : "; " + note;
  }
  return text;
}

int device_count(std::string* why_not) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (status == cudaSuccess && count > 0) {
    return count;
  }
  *why_not = explain(status == cudaSuccess ? cudaErrorNoDevice : status);
  return 0;
}

std::unique_ptr<Device> open_device(int index, void* stream) {
  return std::make_unique<CudaDevice>(index, static_cast<cudaStream_t>(stream));
}

DeviceStatus status_of(int index) {
  DeviceStatus status{.name = fmt::format("cuda:{}", index), .available = false, .detail = ""};
  cudaDeviceProp properties{};
  cudaError_t result = cudaGetDeviceProperties(&properties, index);
  if (result == cudaSuccess) {
    result = cudaSetDevice(index);
  }
  cudaGetLastError();
  if (result != cudaSuccess) {
    status.detail = explain(result);
    return status;
  }
  const std::string missing = missing_code(properties);
  status.available = missing.empty();
  status.detail = status.available ? description(properties) : missing;
  return status;
}

}  // namespace

const CudaFunctions kCudaFunctions = {.device_count = device_count, .make_device = open_device, .status = status_of};

CudaDevice::CudaDevice(int index, cudaStream_t stream) : owns_stream_(stream == nullptr) {
  stream_.device = index;
  cudaDeviceProp properties{};
  check_call(cudaGetDeviceProperties(&properties, index), "opening the device");
  activate("opening the device");
  const std::string missing = missing_code(properties);
  check(missing.empty(), "cuda:{} cannot be used: {}", index, missing);
  stream_.multiprocessors = properties.multiProcessorCount;
  stream_.handle = stream;
  if (owns_stream_) {
    check_call(cudaStreamCreateWithFlags(&stream_.handle, cudaStreamNonBlocking), "creating a stream");
  }
  uploads_ = stream_;
  check_call(cudaStreamCreateWithFlags(&uploads_.handle, cudaStreamNonBlocking), "creating a stream for uploads");
  convolutions_ = std::make_unique<cuda::ConvolutionContext>(stream_);
}

// Kernels and memory of the device must be gone by then.
CudaDevice::~CudaDevice() {
  cudaSetDevice(stream_.device);
  cudaStreamSynchronize(stream_.handle);
  convolutions_.reset();  // its handles work on the stream
  if (owns_stream_) {
    cudaStreamDestroy(stream_.handle);
  }
  cudaStreamDestroy(uploads_.handle);
}

void CudaDevice::check_call(cudaError_t status, const char* operation) const {
  cuda::check_cuda(status, operation, stream_.device);
}

void CudaDevice::activate(const char* operation) const {
  check_call(cudaSetDevice(stream_.device), operation);
}

DeviceInfo CudaDevice::info() const {
  activate("info");
  cudaDeviceProp properties{};
  check_call(cudaGetDeviceProperties(&properties, stream_.device), "info");
  DeviceInfo info{.name = fmt::format("cuda:{}", stream_.device),
                  .hardware = hardware(properties),
                  .threads = stream_.multiprocessors};
  check_call(cudaMemGetInfo(&info.free_memory, &info.total_memory), "info");
  return info;
}

std::string CudaDevice::why_not(Precision precision) const {
  if (precision == Precision::kFloat32) {
    return "";
  }
  int major = 0, minor = 0;
  check_call(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, stream_.device), "why_not");
  check_call(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, stream_.device), "why_not");
  const std::string note = cuda::precision_note(major, minor);
  return note.empty() ? "" : fmt::format("cuda:{} computes in {}", stream_.device, note);
}

Layout CudaDevice::layout(Use use) const {
  return use == Use::kInput ? cuda::kInputLayout : Layout::kInterleaved;
}

std::string CudaDevice::misplaced(const void* memory, Place place) const {
  activate("looking at a pointer");
  cudaPointerAttributes attributes{};
  check_call(cudaPointerGetAttributes(&attributes, memory), "looking at a pointer");
  switch (attributes.type) {
    case cudaMemoryTypeManaged:
      return "";
    case cudaMemoryTypeDevice:
      return place == Place::kDevice && attributes.device == stream_.device
                 ? ""
                 : fmt::format("memory of cuda:{}", attributes.device);
    default:  // pinned, or not known to CUDA
      return place == Place::kHost ? "" : "memory of the host";
  }
}

void* CudaDevice::allocate(std::size_t bytes) {
  activate("allocate");
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, std::max<std::size_t>(bytes, 1));  // 256-byte aligned
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    std::size_t free = 0, total = 0;
    check_call(cudaMemGetInfo(&free, &total), "allocate");
    throw OutOfMemory(fmt::format("out of memory on cuda:{}: {:.2f} GiB asked for, {:.2f} GiB of {:.2f} GiB free",
                                  stream_.device, static_cast<double>(bytes) / kGiB, static_cast<double>(free) / kGiB,
                                  static_cast<double>(total) / kGiB));
  }
  check_call(status, "allocate");
  return memory;
}

void CudaDevice::release(void* memory) noexcept {
  cudaSetDevice(stream_.device);
  cudaStreamSynchronize(stream_.handle);  // queued work may still use it
  cudaFree(memory);
}

// Waits, because the caller may change the source at once: where the GPU reads ordinary host memory by itself, the call
// alone does not. What travels in every step goes through a StagedUpload instead.
void CudaDevice::upload(void* to, const void* from, std::size_t bytes) {
  activate("upload");
  check_call(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_.handle), "upload");
  check_call(cudaStreamSynchronize(stream_.handle), "upload");
}

void CudaDevice::download(void* to, const void* from, std::size_t bytes) {
  activate("download");
  check_call(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_.handle), "download");
  check_call(cudaStreamSynchronize(stream_.handle), "download");
}

void CudaDevice::copy(void* to, const void* from, std::size_t bytes) {
  activate("copy");
  check_call(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_.handle), "copy");
}

void CudaDevice::fill(void* memory, std::uint8_t value, std::size_t bytes) {
  activate("fill");
  check_call(cudaMemsetAsync(memory, value, bytes, stream_.handle), "fill");
}

void CudaDevice::synchronize() {
  activate("synchronize");
  check_call(cudaStreamSynchronize(stream_.handle), "waiting for queued work");
}

}  // namespace densetree
