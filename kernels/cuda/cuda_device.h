// What the rest of the project knows of CUDA: how many devices answer, and a Device for one of them.
// No CUDA header is needed to include this; only builds with DENSETREE_HAVE_CUDA define it.
#pragma once

#include <memory>
#include <string>

#include "kernels/device.h"

namespace densetree {

// 0 where CUDA cannot be used, with the reason in *why_not: no driver, a driver too old, no GPU. Never throws.
int cuda_device_count(std::string* why_not);

// Of the calling thread; -1 where CUDA cannot say.
int current_cuda_device() noexcept;
void set_current_cuda_device(int device) noexcept;

// "cuda:<index>". Throws Error when the GPU is not there or this build carries no code for it. Work is queued on
// `stream`, a cudaStream_t of that GPU that the caller keeps until the device is gone, or on a stream of its own.
std::unique_ptr<Device> make_cuda_device(int index, void* stream = nullptr);

// Whether device `index` can be used, and its hardware or the reason why not.
DeviceStatus cuda_status(int index);

}  // namespace densetree
