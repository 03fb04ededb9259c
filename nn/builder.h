// Builder: layers for a network that reads as a page of text. Each call adds parameters and operations to a tape.
//
//   Tensor x = builder.convolution("features.conv0", images, {.out = 64, .kernel = 7, .stride = 2, .padding = 3});
//   x = builder.norm_relu("features.norm0", builder.normalize(x), Use::kSpatial);
//
// The same calls build training (batch statistics, gradients) and inference (running statistics, nothing kept).
#pragma once

#include <string>

#include "engine/parameters.h"
#include "engine/tape.h"
#include "nn/operations.h"

namespace densetree::nn {

// What is kept between forward and backward (PERFORMANCE.md). The losses are the same in each.
enum class MemoryMode : std::uint8_t {
  kStore,      // everything that backward reads
  kShared,     // features and bottleneck outputs; batch-norm outputs share storage and are made again
  kRecompute,  // features only; the bottleneck convolution runs again too
};
MemoryMode parse_memory_mode(const std::string& name);  // store, shared, recompute
const char* name_of(MemoryMode mode);

// How batch norm is computed (docs/architecture.md). Every way is the same function of the same weights; the first
// agrees with the others, and they with each other, to rounding.
enum class BatchNorm : std::uint8_t {
  kAuto,      // fused where the device has it for the shape and it was measured to be faster, else factored
  kPlain,     // as frameworks do: each consumer takes its statistics and has its own backward
  kFactored,  // statistics once per feature, one backward per feature when all its consumers are done
  kFused,     // factored, and applied on the way into the convolution that follows; an Error where that is not there
};
BatchNorm parse_batch_norm(const std::string& name);  // auto, plain, factored, fused
const char* name_of(BatchNorm way);

// Which way the batch norms of a network took.
struct BatchNormCounts {
  int plain = 0, factored = 0, fused = 0;
  int refused = 0;      // of those that kAuto would have fused
  std::string refusal;  // the first of them: its layer, and why

  std::string describe() const;  // "116 fused, 5 factored"
};

struct ConvolutionOptions {
  std::int64_t out = 0, kernel = 1, stride = 1, padding = 0;
  bool bottleneck = false;  // its output may be dropped and recomputed in MemoryMode::kRecompute
};

// What activations are made of.
inline DType element_type(Precision precision) {
  return precision == Precision::kBFloat16 ? DType::kBFloat16 : DType::kFloat32;
}

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
  Builder(Tape& tape, Parameters& parameters, const ParameterMemory& memory, bool training, MemoryMode mode,
          BatchNorm batch_norm, Precision precision);

  Tape& tape() { return tape_; }
  bool training() const { return training_; }
  // Call when the network is complete: now the gradients' size is known.
  void finish();
  const BatchNormCounts& batch_norms() const { return counts_; }
  // The flat gradients, float[parameters.size(kWeight)]; -1 in inference.
  StorageId gradients() const { return gradients_; }

  // Named "<name>.weight" (O, I, kH, kW), no bias.
  Tensor convolution(const std::string& name, const Tensor& x, const ConvolutionOptions& options);
  // The statistics of x, where x lies.
  Feature normalize(const Tensor& x);
  // Named "<name>.weight", ".bias", ".running_mean", ".running_var" (C). The output is laid out for `use`.
  Tensor norm_relu(const std::string& name, const Feature& feature, Use use);
  // norm_relu, convolution and normalize in turn, or in one.
  Feature norm_relu_convolution(const std::string& norm, const std::string& convolution, const Feature& x,
                                const ConvolutionOptions& options);
  Tensor max_pool(const Tensor& x, int kernel, int stride, int padding);
  Tensor average_pool(const Tensor& x, int kernel);
  StorageId global_average_pool(const Tensor& x);  // float[N][C]
  // Named "<name>.weight" (L, K), "<name>.bias" (L). float[N][K] to float[N][L].
  StorageId linear(const std::string& name, StorageId x, std::int64_t n, std::int64_t k, std::int64_t l);

 private:
  friend class Stack;
  Weight weight(const std::string& name, std::vector<std::int64_t> shape);
  std::int64_t running(const std::string& name, std::int64_t channels);
  int parameter(const std::string& name, std::vector<std::int64_t> shape, Parameters::Kind kind);
  Tensor gradient(const Tensor& x) { return training_ ? tape_.gradient(x) : Tensor{}; }
  StorageId vector_gradient(StorageId x, std::int64_t elements);
  NormParameters norm_parameters(const std::string& name, std::int64_t channels);
  ConvolutionShape convolution_shape(const Tensor& x, const ConvolutionOptions& options) const;
  // Adds norm, ReLU and convolution in one; its output goes into `out`, or a new feature where it has no storage.
  // False, and nothing added, where another way of batch norm is taken. Throws Error where kFused has to be and the
  // device has no such form.
  bool fuse(const std::string& norm, const std::string& convolution, const Feature& x,
            const ConvolutionOptions& options, Feature& out);
  // A feature map in the precision's element type.
  Tensor activation(const std::string& name, const Shape& shape, Layout layout) {
    return tape_.tensor(name, shape, layout, element_type(precision_));
  }
  Feature feature(const Tensor& x);  // with storages for the statistics that its consumers share
  void add_statistics(Feature& feature);
  std::string unique(const std::string& kind) { return kind + std::to_string(counter_++); }

  Tape& tape_;
  Parameters& parameters_;
  const ParameterMemory& memory_;
  bool training_;
  MemoryMode mode_;
  BatchNorm batch_norm_;
  BatchNormCounts counts_;
  Precision precision_;
  StorageId gradients_ = -1;
  StorageId input_ = -1;  // the first convolution's input gets no gradient
  int counter_ = 0;
};

}  // namespace densetree::nn
