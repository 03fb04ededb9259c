// What the rest of the project knows of CUDA: the functions of its plugin (kernels/plugin.h). No CUDA header is needed
// to include this.
#pragma once

#include <memory>
#include <string>

#include "kernels/device.h"

namespace densetree {

struct CudaFunctions {
  // How many devices answer; 0 where CUDA cannot be used, with the reason in *why_not: a driver too old, no GPU. Never
  // throws.
  int (*device_count)(std::string* why_not);
  // "cuda:<index>". Throws Error when the GPU is not there or this build carries no code for it. Work is queued on
  // `stream`, a cudaStream_t of that GPU that the caller keeps until the device is gone, or, where it is null, on a
  // stream of its own.
  std::unique_ptr<Device> (*make_device)(int index, void* stream);
  // Whether device `index` can be used, and its hardware or the reason why not.
  DeviceStatus (*status)(int index);
};

extern const CudaFunctions kCudaFunctions;  // kernels/cuda/cuda_device.cc

}  // namespace densetree
