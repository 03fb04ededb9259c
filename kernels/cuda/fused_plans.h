// cuDNN's plans of batch norm, ReLU and a convolution in one, by shape. cuDNN compiles them, some 0.6 s each, so a
// process compiles each of them once: a device that is opened again loads what was compiled. For that the process keeps
// them as text, the one thing here that outlives its device.
#pragma once

#include <cudnn.h>

#include <map>
#include <memory>
#include <string>

#include "kernels/cuda/channel_slice.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/device.h"

namespace densetree::cuda {

class FusedPlans {
 public:
  explicit FusedPlans(int device) : device_(device) {}

  // Null where cuDNN has none, and the reason in *why_not. Layers of one shape share a plan. handle: of the device.
  std::shared_ptr<const NormConvolutionPlan> find(cudnnHandle_t handle, const ConvolutionShape& shape, ChannelSlice x,
                                                  ChannelSlice y, std::string* why_not);

 private:
  struct Found {
    std::shared_ptr<const NormConvolutionPlan> plan;
    std::string why_not;
  };
  static Found make(cudnnHandle_t handle, const std::string& key, const ConvolutionShape& shape, ChannelSlice x,
                    ChannelSlice y);

  int device_;
  std::map<std::string, Found> found_;
};

}  // namespace densetree::cuda
