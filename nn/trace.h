// A training trace: a few Adam steps on one fixed batch, with everything written down, to be held against the float64
// traces of an independent implementation.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "nn/model.h"

namespace densetree::nn {

struct TraceOptions {
  Architecture arch = parse_architecture("densenet121");
  LossKind loss = LossKind::kMse;
  Precision precision = Precision::kFloat32;
  MemoryMode memory = MemoryMode::kShared;
  BatchNorm batch_norm = BatchNorm::kAuto;
  double lr = 1e-3;
  int steps = 1;
  bool poison = false;

  static void settings(auto& o, auto&& f) {
    network_settings(o, f);
    loss_setting(o, f);
    learning_rate_setting(o, f);
    f(o.steps, Setting{"steps", "training steps", between(1, 1e6)});
  }
};

struct TraceTensor {
  std::vector<std::int64_t> shape;
  std::vector<double> values;
};

// Named tensors: step<k>.loss [1], step<k>.logits [N,L], grad.<name> of step 0, final.<name> of every tensor of the
// state after the last step (num_batches_tracked too), eval.logits [N,L] of the final weights in evaluation mode.
using Trace = std::map<std::string, TraceTensor>;

// x (N,3,S,S), y (N,L) from `batch`; initial weights from `weights`, loaded strictly.
Trace run_trace(Device& device, const TraceOptions& options, const TensorFile& weights, const TensorFile& batch);

// Writes float32 (whole numbers as I64).
void write_trace(const Trace& trace, const std::string& path);

}  // namespace densetree::nn
