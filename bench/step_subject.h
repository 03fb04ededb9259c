// A model whose steps are timed, with made-up images, and what the process takes while it runs.
#pragma once

#include <string_view>

#include "nn/model.h"

namespace densetree::bench {

struct StepOptions {
  std::string arch = "densenet121", memory = "shared", batch_norm = "auto", precision = "fp32";
  std::int64_t batch = 16, size = 224, labels = 14;
};

// Random weights, images and targets. Images are stored 256 for 224, as `prepare` and `train` have it.
class Subject {
 public:
  Subject(Device& device, const StepOptions& options, bool training);

  // One step as a trainer takes it: images in, the loss of the step before out. Or images in, the logits of the batch
  // before out. So the queue is never empty.
  void run();

  const nn::Model& model() const { return model_; }
  double last() const { return last_; }  // that loss, or the first of those logits

 private:
  bool training_;
  std::int64_t steps_ = 0;
  nn::Model model_;
  std::vector<std::uint8_t> pixels_;
  std::vector<ImageTransform> transforms_;
  std::vector<float> targets_;
  double last_ = 0;
};

// Runs the steps that are not to be timed. On CUDA the first has libraries prepare themselves, the second is captured
// and made into a graph, and only from the third on are steps like any other.
void warm_up(Device& device, Subject& subject);

// Bytes of a line of /proc/self/status: VmRSS (resident now), VmHWM (most that ever was).
std::int64_t process_bytes(std::string_view key);

}  // namespace densetree::bench
