// Builder: layers for a network that reads as a page of text. Each call adds parameters and operations to a tape.
//
//   Tensor x = builder.convolution("features.conv0", images, {.out = 64, .kernel = 7, .stride = 2, .padding = 3});
//   x = builder.norm_relu("features.norm0", builder.normalize(x), Use::kSpatial);
//
// The same calls build training (batch statistics, gradients) and inference (running statistics, nothing kept).
#pragma once

#include <string>
#include <vector>

#include "engine/parameters.h"
#include "engine/tape.h"
#include "nn/memory_mode.h"

namespace densetree::nn {

inline constexpr float kBatchNormEps = 1e-5f;  // torch's defaults
inline constexpr float kBatchNormMomentum = 0.1f;

// Persistent storages that operations of a network use (nn/model.cc lists them all).
inline constexpr const char* kWeights = "weights";
inline constexpr const char* kRunningMean = "running mean";
inline constexpr const char* kRunningVariance = "running variance";
inline constexpr const char* kRunningRstd = "running rstd";  // 1/sqrt(variance + eps), for inference
const char* storage_of(Parameters::Kind kind);               // that holds the parameters of that kind

// How batch norm is computed (docs/architecture.md). Every way is the same function of the same weights; the first
// agrees with the others, and they with each other, to rounding.
enum class BatchNorm : std::uint8_t {
  kAuto,      // fused where the device has it for the shape and it was measured to be faster, else factored
  kPlain,     // as frameworks do: each consumer takes its statistics and has its own backward
  kFactored,  // statistics once per feature, one backward per feature when all its consumers are done
  kFused,     // factored, and applied on the way into the convolution that follows; an Error where that is not there
};
constexpr Names<BatchNorm, 4> names(BatchNorm) {
  return {"batch norm",
          {{BatchNorm::kAuto, "auto"},
           {BatchNorm::kPlain, "plain"},
           {BatchNorm::kFactored, "factored"},
           {BatchNorm::kFused, "fused"}}};
}

// Which way the batch norms of a network took.
struct BatchNormCounts {
  int plain = 0, factored = 0, fused = 0;
  int refused = 0;      // of those that kAuto would have fused
  std::string refusal;  // the first of them: its layer, and why

  std::string describe() const;  // "116 fused, 5 factored"
};

struct ConvolutionOptions {
  std::int64_t out = 0, kernel = 1, stride = 1, padding = 0;
  Role role = Role::kFeature;  // of the output
};

// A feature map and, in training, the statistics of its channels, which all batch norms that read it share. Both may be
// slices.
struct Feature {
  Tensor x;
  op::Statistics statistics;

  Feature slice(std::int64_t begin, std::int64_t count) const;
};

struct BuildOptions {
  bool training = true;
  MemoryMode memory = MemoryMode::kShared;
  std::vector<MemoryMode> block_memory = {};  // by block, where Builder::enter_block says so; or empty
  BatchNorm batch_norm = BatchNorm::kAuto;
  Precision precision = Precision::kFloat32;
};

class Builder;

// Feature maps side by side in one storage: the concatenation of a dense block, without copies of what is there.
class Stack {
 public:
  Stack(Builder& builder, const std::string& name, const Tensor& first, std::int64_t channels);
  Feature features() const;  // all that was appended so far
  // What norm_relu_convolution gives, behind the last channels.
  void append(const std::string& norm, const std::string& convolution, const Feature& x,
              const ConvolutionOptions& options);

 private:
  void append(const Tensor& x);
  Builder* builder_;
  std::string name_;
  Feature all_;
  std::int64_t filled_ = 0;
};

class Builder {
 public:
  // Parameters are appended in building order, which is torchvision's; a second build over the same parameters
  // (another batch size, inference) finds them by name.
  Builder(Tape& tape, Parameters& parameters, BuildOptions options);

  // What follows belongs to this block, counted from 1, as far as what is kept goes.
  void enter_block(std::size_t block);
  const BatchNormCounts& batch_norms() const { return counts_; }

  // Named "<name>.weight" (O, I, kH, kW), no bias.
  Tensor convolution(const std::string& name, const Tensor& x, const ConvolutionOptions& options);
  // The statistics of x, where x lies.
  Feature normalize(const Tensor& x);
  // Named "<name>.weight", ".bias", ".running_mean", ".running_var" (C). The output is laid out for `use`.
  Tensor norm_relu(const std::string& name, const Feature& feature, Use use);
  // norm_relu, convolution and normalize in turn, or in one.
  Feature norm_relu_convolution(const std::string& norm, const std::string& convolution, const Feature& x,
                                const ConvolutionOptions& options);
  Tensor max_pool(const Tensor& x, const op::Window& window);
  Tensor average_pool(const Tensor& x, int kernel);
  Tensor add(const Tensor& a, const Tensor& b);  // a + b, as residual networks do
  Tensor global_average_pool(const Tensor& x);   // (N, C, 1, 1)
  // Named "<name>.weight" (L, K), "<name>.bias" (L). (N, K, 1, 1) to (N, L, 1, 1).
  Tensor linear(const std::string& name, const Tensor& x, std::int64_t labels);

 private:
  friend class Stack;
  using Kind = Parameters::Kind;
  bool keeps_statistics() const { return options_.training && options_.batch_norm != BatchNorm::kPlain; }
  Array<float> weight(const std::string& name, std::vector<std::int64_t> shape);
  Array<float> running(const std::string& name, std::int64_t channels, Kind kind);
  // By name, or newly appended.
  const Parameters::Entry& parameter(const std::string& name, std::vector<std::int64_t> shape, Kind kind);
  // Batch norm of x by name: its parameters, with the batch's statistics in training and running ones in inference.
  op::Affine affine(const std::string& norm, const Feature& x);
  // Moves the running averages of the batch norm of that name, in training.
  void update_running(const std::string& norm, const Feature& x);
  ConvolutionShape convolution_shape(const Tensor& x, const ConvolutionOptions& options) const;
  // Adds norm, ReLU and convolution in one; its output goes into `out`, or a new feature where it is not present.
  // False, and nothing added, where another way of batch norm is taken. Throws Error where kFused has to be and the
  // device has no such form.
  bool fuse(const std::string& norm, const std::string& convolution, const Feature& x,
            const ConvolutionOptions& options, Feature& out);
  bool refuse(const std::string& name, const std::string& why_not);
  // A feature map in the precision's element type, kept for backward where the memory mode says so.
  Tensor activation(const std::string& name, const Shape& shape, Layout layout, Role role);
  Feature feature(const Tensor& x);  // with room for the statistics that its consumers share
  std::string unique(const std::string& kind) { return kind + std::to_string(counter_++); }

  Tape& tape_;
  Parameters& parameters_;
  BuildOptions options_;
  MemoryMode memory_;  // of the block that is built
  BatchNormCounts counts_;
  StorageId input_ = -1;  // of the first convolution, which is laid out in its own way
  int counter_ = 0;
};

}  // namespace densetree::nn
