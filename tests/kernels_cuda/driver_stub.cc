// Takes the place of the driver's library (libcuda.so.1) on a machine without a GPU, as far as cuDNN asks for it while
// it compiles a plan: code is taken and never run, a thread has a current context, and all else that is called says so.
namespace {
enum Result { kSuccess = 0, kStubLibrary = 34 };  // as in CUresult
int something = 0;                                // what handles point to
thread_local void* current = nullptr;
}  // namespace

extern "C" {

int cuLibraryLoadData(void** library) {
  *library = &something;
  return kSuccess;
}
int cuLibraryGetKernel(void** kernel) {
  *kernel = &something;
  return kSuccess;
}
int cuLibraryUnload() {
  return kSuccess;
}
int cuKernelSetAttribute() {
  return kSuccess;
}
int cuFuncSetAttribute() {
  return kSuccess;
}
int cuCtxGetCurrent(void** context) {
  *context = current;
  return kSuccess;
}
int cuCtxSetCurrent(void* context) {
  current = context;
  return kSuccess;
}
int cuGetErrorName(int error, const char** name) {
  *name = error == kSuccess ? "CUDA_SUCCESS" : "CUDA_ERROR_STUB_LIBRARY";
  return kSuccess;
}
int cuGetErrorString(int error, const char** text) {
  *text = error == kSuccess ? "no error" : "a stand-in for the driver cannot do that";
  return kSuccess;
}

#define NOT_HERE(name)   \
  int name() {           \
    return kStubLibrary; \
  }
NOT_HERE(cuInit)
NOT_HERE(cuDriverGetVersion)
NOT_HERE(cuDeviceGet)
NOT_HERE(cuDeviceGetCount)
NOT_HERE(cuDeviceGetAttribute)
NOT_HERE(cuCtxGetDevice)
NOT_HERE(cuCtxGetLimit)
NOT_HERE(cuCtxPopCurrent)
NOT_HERE(cuCtxPushCurrent)
NOT_HERE(cuFuncGetAttribute)
NOT_HERE(cuKernelGetFunction)
NOT_HERE(cuKernelGetAttribute)
NOT_HERE(cuLaunchCooperativeKernel)
NOT_HERE(cuLaunchKernel)
NOT_HERE(cuLaunchKernelEx)
NOT_HERE(cuLibraryLoadFromFile)
NOT_HERE(cuLinkAddData)
NOT_HERE(cuLinkComplete)
NOT_HERE(cuLinkCreate)
NOT_HERE(cuLinkDestroy)
NOT_HERE(cuModuleGetFunction)
NOT_HERE(cuModuleLoadData)
NOT_HERE(cuModuleUnload)
NOT_HERE(cuOccupancyMaxActiveBlocksPerMultiprocessor)
NOT_HERE(cuOccupancyMaxActiveClusters)
NOT_HERE(cuOccupancyMaxPotentialClusterSize)
NOT_HERE(cuStreamGetCtx)
NOT_HERE(cuTensorMapEncodeIm2col)
NOT_HERE(cuTensorMapEncodeTiled)

}  // extern "C"
