#include "kernels/cuda_plugin.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <atomic>

#include "kernels/plugin.h"

namespace densetree {
namespace {

constexpr const char* kDriver = "libcuda.so.1";

// What is called of the driver itself. A CUcontext is a pointer, and a CUresult an int that is 0 where all is well.
struct Driver {
  int (*get_current)(void** context);
  int (*set_current)(void* context);
};

// The driver, loaded by this call, or with RTLD_NOLOAD where the process has loaded it before; else null. It stays
// loaded.
const Driver* driver_loaded(int flags) {
  static std::atomic<const Driver*> known = nullptr;
  if (known) {
    return known;
  }
  void* library = dlopen(kDriver, RTLD_NOW | RTLD_LOCAL | flags);
  if (!library) {
    return nullptr;
  }
  static const Driver driver{reinterpret_cast<int (*)(void**)>(dlsym(library, "cuCtxGetCurrent")),
                             reinterpret_cast<int (*)(void*)>(dlsym(library, "cuCtxSetCurrent"))};
  known = driver.get_current && driver.set_current ? &driver : nullptr;
  return known;
}

struct Found {
  const CudaFunctions* functions = nullptr;
  std::string why_not;
};

// The plugin brings a gigabyte of libraries, so it is loaded only where there is a driver.
Found find() {
  Found found;
  const std::filesystem::path file = find_plugin("cuda", &found.why_not);
  if (file.empty()) {
    found.why_not += "; a build with CUDA makes it (-DDENSETREE_CUDA=ON, where nvcc and cuDNN 9 are)";
  } else if (!driver_loaded(0)) {
    const char* reason = dlerror();
    found.why_not = fmt::format("no NVIDIA driver is installed on this machine ({})", reason ? reason : kDriver);
  } else {
    found.functions = static_cast<const CudaFunctions*>(load_plugin(file, &found.why_not));
  }
  return found;
}

}  // namespace

const CudaFunctions* cuda_functions(std::string* why_not) {
  static const Found found = find();
  *why_not = found.why_not;
  return found.functions;
}

void* current_cuda_context() noexcept {
  const Driver* driver = driver_loaded(RTLD_NOLOAD);
  void* context = nullptr;
  return driver && driver->get_current(&context) == 0 ? context : nullptr;
}

void set_current_cuda_context(void* context) noexcept {
  if (const Driver* driver = driver_loaded(RTLD_NOLOAD)) {
    driver->set_current(context);
  }
}

}  // namespace densetree
