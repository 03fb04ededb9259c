// The operations of the tape: each knows its tensors and parameters, and calls the device forward and backward.
//
// Arithmetic is the device's (kernels/device.h), memory the tape's. What remains here is who reads what: an operation
// that does not read its output in backward does not keep it alive.
#pragma once

#include <memory>

#include "engine/parameters.h"
#include "engine/tape.h"

namespace densetree::nn {

inline constexpr float kBatchNormEps = 1e-5f;  // torch's defaults
inline constexpr float kBatchNormMomentum = 0.1f;

// Where the flat parameter arrays of a model lie. Filled in by the model once it has memory.
struct ParameterMemory {
  float* weights = nullptr;
  float* running = nullptr;
};

// A trainable tensor: its place in the flat weights, and in the flat gradients of the tape.
struct Weight {
  const ParameterMemory* memory = nullptr;
  std::int64_t offset = 0;
  StorageId gradients = -1;  // -1 in inference

  const float* value() const { return memory->weights + offset; }
  float* gradient(const Run& run) const { return run.array(gradients) + offset; }
};

// A feature map and the statistics of its channels, which all batch norms that read it share. Both may be slices:
// statistics are float[3][total] (mean, variance, rstd), gradient sums double[2][total] (Σ S, Σ S·x̂).
struct Feature {
  Tensor x;
  StorageId statistics = -1, sums = -1;  // -1 in inference
  std::int64_t total = 0, first = 0;

  Feature slice(std::int64_t begin, std::int64_t count) const;
  Statistics statistics_of(const Run& run) const;
  GradientSums sums_of(const Run& run) const;
};

// Batch norm's own parameters.
struct NormParameters {
  Weight gamma, beta;
  std::int64_t running_mean = 0, running_variance = 0;  // offsets in the flat running statistics
};

// uint8 images and transforms to normalised input.
std::unique_ptr<Operation> make_input(std::string name, StorageId pixels, std::int64_t source, StorageId transforms,
                                      Tensor y);
// y = conv(x, w). Without `input_gradient` its backward stops at the weights.
std::unique_ptr<Operation> make_convolution(std::string name, std::unique_ptr<Convolution> convolution, Tensor x,
                                            Weight w, Tensor y, Tensor dx, Tensor dy, bool input_gradient);
// The statistics of `source`. Where it lies elsewhere than the feature, it is copied there (concat).
std::unique_ptr<Operation> make_normalize(std::string name, Device& device, Tensor source, Feature feature,
                                          Tensor dsource, Tensor s);
// Concat without statistics. dx, dy without storage in inference.
std::unique_ptr<Operation> make_copy(std::string name, Tensor x, Tensor y, Tensor dx, Tensor dy);

// ---- Batch norm and ReLU: nn/norm_operations.cc
// y = max(0, γ·x̂ + β), from batch statistics that `make_normalize` took, adding to S (kernels/device.h).
std::unique_ptr<Operation> make_norm_relu(std::string name, Device& device, Feature feature, NormParameters parameters,
                                          Tensor y, Tensor s, Tensor dy);
// The same from running statistics, for inference. `rstd` is float[C] of scratch.
std::unique_ptr<Operation> make_norm_relu_inference(std::string name, Tensor x, NormParameters parameters, Tensor y,
                                                    StorageId rstd);
// The same as y = max(0, BN(x)) by itself: takes the statistics of x, and adds ∂L/∂x to dx. `normalized` is scratch of
// x's shape in backward.
std::unique_ptr<Operation> make_batch_norm_relu(std::string name, Device& device, Feature feature,
                                                NormParameters parameters, Tensor y, Tensor dx, Tensor dy,
                                                Tensor normalized);
// out = conv(max(0, γ·x̂ + β), w) and the statistics of out, which may be a slice of a stack. z: where the convolution's
// input is kept for backward, or without storage. Backward turns s_out into ∂L/∂out where it lies, and adds to s_in.
std::unique_ptr<Operation> make_norm_convolution(std::string name, std::unique_ptr<NormConvolution> convolution,
                                                 Feature in, NormParameters parameters, Weight w, Feature out, Tensor z,
                                                 Tensor s_in, Tensor s_out);
std::unique_ptr<Operation> make_norm_convolution_inference(std::string name,
                                                           std::unique_ptr<NormConvolution> convolution, Tensor x,
                                                           NormParameters parameters, Weight w, Tensor y,
                                                           StorageId rstd);

// ---- The rest
// `choice` -1 in inference.
std::unique_ptr<Operation> make_max_pool(std::string name, int kernel, int stride, int padding, Tensor x, Tensor y,
                                         StorageId choice, Tensor dx, Tensor dy);
std::unique_ptr<Operation> make_average_pool(std::string name, int kernel, Tensor x, Tensor y, Tensor dx, Tensor dy);
// y, dy: float[N][C].
std::unique_ptr<Operation> make_global_average_pool(std::string name, Tensor x, StorageId y, Tensor dx, StorageId dy);
// x [N][K], y [N][L].
std::unique_ptr<Operation> make_linear(std::string name, std::int64_t n, std::int64_t k, std::int64_t l, StorageId x,
                                       Weight w, Weight b, StorageId y, StorageId dx, StorageId dy);
// Loss and its gradient on the logits. positive_weights -1: none.
std::unique_ptr<Operation> make_loss(std::string name, LossKind kind, std::int64_t n, std::int64_t l, StorageId logits,
                                     StorageId targets, StorageId positive_weights, StorageId loss, StorageId dlogits);

}  // namespace densetree::nn
