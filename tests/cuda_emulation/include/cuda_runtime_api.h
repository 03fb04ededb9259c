// Stands in for CUDA's runtime: as much of it as kernels/cuda calls, for one device "cuda:0" whose memory is the
// host's. To extend it, add the call here; what is queued on a stream goes through `enqueue`.
//
// A stream holds its work back until somebody waits for it, which is as late as a GPU may be: whoever reads results
// without waiting, or changes what a queued call has yet to read, sees it. A capture is as strict as on a GPU: what
// waits or allocates breaks it off, and streams that an event has forked from it have to be joined again. What a graph
// leaves unordered runs in another order in every other launch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/cuda_emulation/grid.h"

#define CUDART_VERSION 13000

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorStreamCaptureUnjoined = 904,
  cudaErrorStreamCaptureIsolation = 905,
  cudaErrorCapturedEvent = 907,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrComputeCapabilityMinor = 76 };
inline constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaEventDisableTiming = 2;

struct cudaDeviceProp {
  char name[256];
  std::size_t totalGlobalMem;
  int major, minor;
  int multiProcessorCount;
};
struct cudaFuncAttributes {};

struct CUstream_st {
  std::deque<std::function<void()>> queued;
  std::int64_t added = 0, done = 0;
  std::int64_t launches = 0;  // of what was added: kernels, copies and products, not waits for events
};
using Nodes = std::set<std::size_t>;  // of a graph
struct CUevent_st {                   // a place in a stream; where none was recorded, there is nothing to wait for
  CUstream_st* stream = nullptr;
  std::int64_t place = 0;
  std::int64_t launches = 0;
  int capture = 0;  // the number of the capture that it was recorded in; then, what lies before it there
  Nodes before = {};
};
struct CUgraph_st {
  struct Node {
    std::function<void()> work;
    Nodes after;
  };
  std::vector<Node> nodes;
};
struct CUgraphExec_st : CUgraph_st {
  int launches = 0;
};
using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;
using cudaGraph_t = CUgraph_st*;
using cudaGraphExec_t = CUgraphExec_st*;
#define cudaStreamLegacy (reinterpret_cast<cudaStream_t>(1))

namespace densetree::emulation {

inline constexpr std::size_t kDeviceBytes = std::size_t{16} << 30;

inline int current_device = 0;
inline bool has_another_device = false;
inline cudaError_t last_error = cudaSuccess;  // what cudaGetLastError() answers
inline std::string launch_failure;            // what went wrong in a grid
inline std::set<cudaStream_t> streams;
using Blocks = std::map<const std::byte*, std::size_t>;  // and their bytes
inline Blocks pinned;                                    // host memory that a GPU reaches
inline Blocks allocated;                                 // the GPU's own

struct Capture {
  cudaStream_t origin = nullptr;
  std::map<cudaStream_t, Nodes> ends;  // of the streams that take part: what their next work comes after
  CUgraph_st graph;
  bool broken = false;
};
inline Capture capture;
inline int captures = 0;  // the number of the one under way, or of the last

inline int graphs_instantiated = 0;
// True: what is queued is counted and not carried out, and memory is not touched. So a step of any size can be counted.
inline bool counts_only = false;

inline cudaError_t refuse(cudaError_t error) {
  return last_error = error;
}

// Of a call that no capture allows.
inline cudaError_t unless_capturing() {
  if (!capture.origin) {
    return cudaSuccess;
  }
  capture.broken = true;
  return refuse(cudaErrorStreamCaptureUnsupported);
}
inline cudaError_t break_capture(cudaError_t error) {
  capture.broken = true;
  return refuse(error);
}
inline bool is_captured(cudaStream_t stream) {
  return capture.origin && capture.ends.contains(stream);
}

// Nodes and all that lies before them.
inline Nodes with_all_before(const CUgraph_st& graph, const Nodes& nodes) {
  Nodes all = nodes;
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {  // a node comes after earlier ones only
    if (all.contains(i)) {
      all.insert(graph.nodes[i].after.begin(), graph.nodes[i].after.end());
    }
  }
  return all;
}

// One of the orders that a graph allows: of the nodes that can run next, the one captured first or the one captured
// last.
inline std::vector<std::size_t> order_of(const CUgraph_st& graph, bool last_first) {
  std::vector<std::size_t> order, waits_for(graph.nodes.size());
  std::vector<Nodes> followers(graph.nodes.size());
  Nodes ready;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    waits_for[i] = graph.nodes[i].after.size();
    for (const std::size_t before : graph.nodes[i].after) {
      followers[before].insert(i);
    }
    if (waits_for[i] == 0) {
      ready.insert(i);
    }
  }
  while (!ready.empty()) {
    const std::size_t next = last_first ? *ready.rbegin() : *ready.begin();
    ready.erase(next);
    order.push_back(next);
    for (const std::size_t follower : followers[next]) {
      if (--waits_for[follower] == 0) {
        ready.insert(follower);
      }
    }
  }
  return order;
}

inline bool is_within(const Blocks& blocks, const void* memory) {
  const auto* const byte = static_cast<const std::byte*>(memory);
  const auto behind = blocks.upper_bound(byte);
  return behind != blocks.begin() && byte < std::prev(behind)->first + std::prev(behind)->second;
}

inline void finish(cudaStream_t stream, std::int64_t place) {
  while (stream->done < place) {
    const std::function<void()> work = std::move(stream->queued.front());
    stream->queued.pop_front();
    work();
    ++stream->done;
  }
}
inline void finish(const CUevent_st& event) {
  if (streams.contains(event.stream)) {  // one that was destroyed has done its work
    finish(event.stream, event.place);
  }
}
inline void finish_all() {
  for (const cudaStream_t stream : streams) {
    finish(stream, stream->added);
  }
}

// The null stream waits for all others.
inline void enqueue(cudaStream_t stream, std::function<void()> work) {
  if (!stream) {
    finish_all();
    work();
  } else if (is_captured(stream)) {
    Nodes& end = capture.ends[stream];
    capture.graph.nodes.push_back({std::move(work), end});
    end = {capture.graph.nodes.size() - 1};
  } else if (counts_only) {
    finish(stream, stream->added);
    stream->done = ++stream->added;
    ++stream->launches;
  } else {
    stream->queued.push_back(std::move(work));
    ++stream->added;
    ++stream->launches;
  }
}

}  // namespace densetree::emulation

// ---- Errors --------------------------------------------------------------------------------------------------------
// A failure within a grid shows where somebody waits for it.
inline cudaError_t cudaGetLastError() {
  return std::exchange(densetree::emulation::last_error, cudaSuccess);
}

inline const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureUnjoined:
      return "cudaErrorStreamCaptureUnjoined";
    case cudaErrorStreamCaptureIsolation:
      return "cudaErrorStreamCaptureIsolation";
    case cudaErrorCapturedEvent:
      return "cudaErrorCapturedEvent";
  }
  return "an unknown error";
}
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorLaunchFailure ? densetree::emulation::launch_failure.c_str() : cudaGetErrorName(error);
}

// ---- Devices -------------------------------------------------------------------------------------------------------
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
// Of what is emulated there is one, but a program may see two and have the other one for its current device.
inline cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device > (densetree::emulation::has_another_device ? 1 : 0)) {
    return densetree::emulation::refuse(cudaErrorInvalidDevice);
  }
  densetree::emulation::current_device = device;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = densetree::emulation::current_device;
  return cudaSuccess;
}
// Two multiprocessors, so that grids stay small and the threads of a large operation have several elements each.
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {"emulated GPU", densetree::emulation::kDeviceBytes, 8, 0, 2};
  return cudaSetDevice(device);
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties{};
  const cudaError_t status = cudaGetDeviceProperties(&properties, device);
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? properties.major : properties.minor;
  return status;
}
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, Kernel) {
  return cudaSuccess;
}

// ---- Memory --------------------------------------------------------------------------------------------------------
// Full of NaN, so that nobody counts on zeros.
inline cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  if (const cudaError_t status = densetree::emulation::unless_capturing(); status != cudaSuccess) {
    return status;
  }
  const std::size_t rounded = (bytes + 255) / 256 * 256;
  *memory = bytes <= densetree::emulation::kDeviceBytes ? std::aligned_alloc(256, rounded) : nullptr;
  if (!*memory) {
    return densetree::emulation::refuse(cudaErrorMemoryAllocation);
  }
  if (!densetree::emulation::counts_only) {
    std::memset(*memory, 0xFF, rounded);
  }
  densetree::emulation::allocated[static_cast<std::byte*>(*memory)] = rounded;
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* memory) {
  densetree::emulation::finish_all();
  densetree::emulation::allocated.erase(static_cast<std::byte*>(memory));
  std::free(memory);
  return densetree::emulation::unless_capturing();
}
inline cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  const cudaError_t status = cudaMalloc(memory, bytes);
  if (status == cudaSuccess) {
    densetree::emulation::allocated.erase(static_cast<std::byte*>(*memory));
    densetree::emulation::pinned[static_cast<std::byte*>(*memory)] = bytes;
  }
  return status;
}
inline cudaError_t cudaFreeHost(void* memory) {
  densetree::emulation::pinned.erase(static_cast<std::byte*>(memory));
  return cudaFree(memory);
}
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory) {
  using namespace densetree::emulation;
  attributes->type = is_within(allocated, memory) ? cudaMemoryTypeDevice
                     : is_within(pinned, memory)  ? cudaMemoryTypeHost
                                                  : cudaMemoryTypeUnregistered;
  attributes->device = attributes->type == cudaMemoryTypeUnregistered ? -2 : 0;
  return cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = *total = densetree::emulation::kDeviceBytes;
  return cudaSuccess;
}

// ---- Streams -------------------------------------------------------------------------------------------------------
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = *densetree::emulation::streams.insert(new CUstream_st).first;
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t status = densetree::emulation::unless_capturing(); status != cudaSuccess) {
    return status;
  }
  densetree::emulation::finish(stream, stream->added);
  return cudaGetLastError();
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  densetree::emulation::finish(stream, stream->added);
  densetree::emulation::streams.erase(stream);
  delete stream;
  return cudaSuccess;
}

// Ordinary host memory is read before the call returns, and written before it does.
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                                   cudaStream_t stream) {
  const bool on_its_own =
      kind == cudaMemcpyDeviceToDevice ||
      densetree::emulation::is_within(densetree::emulation::pinned, kind == cudaMemcpyHostToDevice ? from : to);
  if (on_its_own) {
    densetree::emulation::enqueue(stream, [=] { std::memmove(to, from, bytes); });
    return cudaSuccess;
  }
  if (const cudaError_t status = densetree::emulation::unless_capturing(); status != cudaSuccess) {
    return status;
  }
  if (kind == cudaMemcpyHostToDevice) {
    const auto* const first = static_cast<const std::byte*>(from);
    densetree::emulation::enqueue(stream, [to, staged = std::vector<std::byte>(first, first + bytes)] {
      std::copy(staged.begin(), staged.end(), static_cast<std::byte*>(to));
    });
    return cudaSuccess;
  }
  densetree::emulation::enqueue(stream, [=] { std::memmove(to, from, bytes); });
  return cudaStreamSynchronize(stream);
}
inline cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  densetree::emulation::enqueue(stream, [=] { std::memset(memory, value, bytes); });
  return cudaSuccess;
}

// ---- Events --------------------------------------------------------------------------------------------------------
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
inline cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, 0);
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (densetree::emulation::is_captured(stream)) {
    *event = {stream, 0, 0, densetree::emulation::captures, densetree::emulation::capture.ends[stream]};
  } else {
    *event = {stream, stream->added, stream->launches};
  }
  return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->capture != 0) {
    return densetree::emulation::break_capture(cudaErrorCapturedEvent);
  }
  if (const cudaError_t status = densetree::emulation::unless_capturing(); status != cudaSuccess) {
    return status;
  }
  densetree::emulation::finish(*event);
  return cudaGetLastError();
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  using namespace densetree::emulation;
  if (event->capture != 0) {  // the stream takes part from here on
    if (!capture.origin || event->capture != captures) {
      return break_capture(cudaErrorCapturedEvent);
    }
    capture.ends[stream].insert(event->before.begin(), event->before.end());
    return cudaSuccess;
  }
  if (!event->stream) {
    return cudaSuccess;
  }
  if (is_captured(stream)) {  // a graph cannot wait for what is queued outside of it
    return break_capture(cudaErrorStreamCaptureIsolation);
  }
  enqueue(stream, [until = *event] { finish(until); });
  --stream->launches;
  return cudaSuccess;
}

// Every kernel, copy and product takes a millisecond, and a wait nothing.
inline cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = static_cast<float>(end->launches - begin->launches);
  return cudaSuccess;
}

// ---- Graphs --------------------------------------------------------------------------------------------------------
inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (const cudaError_t status = densetree::emulation::unless_capturing(); status != cudaSuccess) {
    return status;
  }
  densetree::emulation::capture = {.origin = stream, .ends = {{stream, {}}}, .graph = {}};
  ++densetree::emulation::captures;
  return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  using namespace densetree::emulation;
  *graph = nullptr;
  Capture ended = std::exchange(capture, {});
  if (ended.broken || ended.origin != stream) {
    return refuse(cudaErrorStreamCaptureInvalidated);
  }
  const Nodes joined = with_all_before(ended.graph, ended.ends[stream]);
  for (const auto& [forked, end] : ended.ends) {
    if (!std::includes(joined.begin(), joined.end(), end.begin(), end.end())) {
      return refuse(cudaErrorStreamCaptureUnjoined);
    }
  }
  *graph = new CUgraph_st(std::move(ended.graph));
  return cudaSuccess;
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{*graph};
  ++densetree::emulation::graphs_instantiated;
  return cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  const bool last_first = ++executable->launches % 2 == 0;
  for (const std::size_t node : densetree::emulation::order_of(*executable, last_first)) {
    densetree::emulation::enqueue(stream, executable->nodes[node].work);
  }
  return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
