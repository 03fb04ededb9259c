// Takes the place of kernels/cuda/cudnn_graph.h: plans are plain loops that add up in fp64.
#pragma once

#include <cudnn.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cuda/channel_slice.h"
#include "kernels/device.h"

namespace densetree::emulation {
inline int plans_compiled = 0;  // by norm_convolution_plans_for
}

namespace densetree::cuda {

inline void check_cudnn(cudnnStatus_t, const std::string&) {}

struct Target {
  explicit Target(cudnnHandle_t) {}
};

enum class Pass : std::uint8_t { kForward, kBackwardData, kBackwardWeights };
const char* name_of(Pass pass);

class ConvolutionPlan {
 public:
  ConvolutionPlan(const ConvolutionShape& shape, Pass pass, std::size_t number)
      : shape_(shape), pass_(pass), name_(std::to_string(number)) {}

  std::size_t workspace_bytes() const;
  const std::string& name() const { return name_; }
  void run(cudnnHandle_t handle, const void* x, const void* w, const void* y, void* workspace) const;

 private:
  ConvolutionShape shape_;
  Pass pass_;
  std::string name_;
};

struct StoredPlan {
  std::string name, json;
};

// x and y in their slices; in bf16 and TF32, as cuDNN has it.
class NormConvolutionPlan {
 public:
  NormConvolutionPlan(const ConvolutionShape& shape, ChannelSlice x, ChannelSlice y) : shape_(shape), x_(x), y_(y) {}

  std::size_t workspace_bytes() const { return 500; }
  const std::string& name() const { return name_; }
  StoredPlan store() const;
  void run(cudnnHandle_t handle, const void* x, const float* scale, const float* shift, const void* w, void* y,
           void* workspace) const;

 private:
  ConvolutionShape shape_;
  ChannelSlice x_, y_;
  std::string name_ = "0";
};
std::vector<NormConvolutionPlan> norm_convolution_plans_for(const Target& target, const ConvolutionShape& shape,
                                                            ChannelSlice x, ChannelSlice y, std::size_t limit,
                                                            std::string* why_not);
NormConvolutionPlan load_norm_convolution_plan(const Target& target, const ConvolutionShape& shape,
                                               const StoredPlan& stored);

// Two of them, where as many are asked for.
std::vector<ConvolutionPlan> plans_for(const Target& target, const ConvolutionShape& shape, Pass pass,
                                       std::size_t limit);

}  // namespace densetree::cuda
