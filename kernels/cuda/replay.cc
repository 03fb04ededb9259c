// Work as a CUDA graph: what a few thousand launches cost the host is paid once.
#include <cuda_runtime_api.h>

#include "kernels/core/error.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/device.h"

namespace densetree {
namespace {

using cuda::check_cuda;
using cuda::Stream;

struct DestroyGraph {
  void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
};
struct DestroyExecutable {
  void operator()(cudaGraphExec_t executable) const { cudaGraphExecDestroy(executable); }
};
using Graph = std::unique_ptr<CUgraph_st, DestroyGraph>;
using Executable = std::unique_ptr<CUgraphExec_st, DestroyExecutable>;

// Ends the capture and returns what it recorded; null where it was broken off.
Graph end_capture(const Stream& stream, cudaError_t* status) {
  cudaGraph_t graph = nullptr;
  *status = cudaStreamEndCapture(stream.handle, &graph);
  return Graph(graph);
}

// What `work` queues, as a graph; nothing of it is run. Capturing is a matter of this thread alone, so others may go on
// allocating. Whatever happens, the stream is no longer capturing afterwards.
Graph record(const Stream& stream, const std::function<void()>& work) {
  cudaError_t status = cudaStreamBeginCapture(stream.handle, cudaStreamCaptureModeThreadLocal);
  check_cuda(status, "beginning to capture work", stream.device);
  try {
    work();
  } catch (const std::exception& error) {
    end_capture(stream, &status);
    cudaGetLastError();  // the broken capture is told of here and must not surface in the next call
    fail("capturing work on cuda:{}: {}", stream.device, error.what());
  }
  Graph graph = end_capture(stream, &status);
  check_cuda(status, "capturing work, in which something waits or allocates,", stream.device);
  return graph;
}

// The first run calls the work: kernels are loaded and libraries make what they need, which a capture forbids.
class GraphReplay final : public Replay {
 public:
  GraphReplay(const Stream& stream, std::function<void()> work) : stream_(stream), work_(std::move(work)) {}
  ~GraphReplay() override {
    cudaSetDevice(stream_.device);
    cudaStreamSynchronize(stream_.handle);  // a launch may be under way
  }
  GraphReplay(const GraphReplay&) = delete;
  GraphReplay& operator=(const GraphReplay&) = delete;

  void run() override {
    check_cuda(cudaSetDevice(stream_.device), "replaying work", stream_.device);
    if (!prepared_) {
      work_();
      prepared_ = true;
      return;
    }
    if (!executable_) {
      instantiate();
    }
    check_cuda(cudaGraphLaunch(executable_.get(), stream_.handle), "launching a graph", stream_.device);
  }

 private:
  void instantiate() {
    const Graph graph = record(stream_, work_);
    cudaGraphExec_t executable = nullptr;
    check_cuda(cudaGraphInstantiate(&executable, graph.get(), 0), "making a graph of captured work", stream_.device);
    executable_.reset(executable);
  }

  Stream stream_;
  std::function<void()> work_;
  bool prepared_ = false;
  Executable executable_;
};

}  // namespace

std::unique_ptr<Replay> CudaDevice::capture(std::function<void()> work) {
  if (stream_.handle == cudaStreamLegacy) {
    return make_direct_replay(std::move(work));  // what waits for all other streams cannot be captured
  }
  return std::make_unique<GraphReplay>(stream_, std::move(work));
}

}  // namespace densetree
