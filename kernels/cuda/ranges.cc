// Names of stretches of work for NVIDIA's profilers (NVTX): a header of the toolkit, which looks for a profiler at the
// first call and does next to nothing where there is none.
#include <nvtx3/nvToolsExt.h>

#include "kernels/cuda/device.h"

namespace densetree {

void CudaDevice::push_range(const char* name) {
  nvtxRangePushA(name);
}

void CudaDevice::pop_range() {
  nvtxRangePop();
}

}  // namespace densetree
