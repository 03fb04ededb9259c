// Device: memory and some twenty operations over Views. The only seam between what a device computes
// and everything above it; engine, nn and tree see no oneDNN, cuDNN or CUDA header.
//
// Conventions
//  - All pointers are device pointers of this device. Per-channel arrays are float[C] (C of the view) unless they say
//    otherwise.
//  - Operations are queued in order on the device's stream; synchronize() waits. On the CPU they run at once.
//  - Nothing here allocates but what makes something (make_…, and a Replay in its first two runs): scratch memory is
//    handed in as `workspace`.
//  - Operations check shapes and throw Error naming the operation. Numbers are computed in fp32 with
//    reductions in fp64, in an order that does not depend on the number of threads.
//  - x, y are values; dx, dy their gradients. Each function says whether it overwrites or accumulates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/view.h"

namespace densetree {

// How a gradient arrives: the first writer overwrites, later ones add.
enum class GradMode : std::uint8_t { kOverwrite, kAccumulate };

// What a tensor is for decides its layout; each device has its own answer.
enum class Use : std::uint8_t {
  kInput,    // network input
  kSpatial,  // input or output of a convolution with a kernel larger than 1×1
  kStack,    // channels that are sliced, and input or output of 1×1 convolutions
};

// What convolutions and their operands are made of. Master weights, statistics, sums and the classifier are fp32 or
// better in every one of them.
enum class Precision : std::uint8_t {
  kFloat32,        // true fp32
  kTensorFloat32,  // fp32 in memory, products of inputs rounded to TF32 (10-bit mantissa), summed in fp32
  kBFloat16,       // activations and their gradients in bf16, summed in fp32
};
const char* name_of(Precision precision);  // "fp32", "tf32", "bf16"
Precision parse_precision(const std::string& name);

enum class LossKind : std::uint8_t {
  kMse,  // mean of (sigmoid(z) − y)², METHOD.md §1
  kBce,  // binary cross-entropy with logits
};

// ---- Convolution ---------------------------------------------------------------------------------
struct ConvolutionShape {
  Shape input;  // (N, C, H, W)
  std::int64_t out_channels = 0, kernel = 1, stride = 1, padding = 0;
  Use input_use = Use::kStack, output_use = Use::kStack;
  bool training = true;  // false: forward only
  Precision precision = Precision::kFloat32;

  Shape output() const {
    return {input.n, out_channels, (input.h + 2 * padding - kernel) / stride + 1,
            (input.w + 2 * padding - kernel) / stride + 1};
  }
  std::int64_t weights() const { return out_channels * input.c * kernel * kernel; }
  // Throws Error where a number makes no sense: an empty input, a kernel or stride below 1, negative padding.
  void validate() const;
  std::string describe() const;  // "conv 3x3 stride 1 (16, 128, 56, 56) -> 32"
};

// What computes a convolution's passes, for logs: two runs give the same bits only with the same.
struct Implementation {
  std::string forward, backward;  // backward: empty where there is none

  std::string text() const { return backward.empty() ? forward : forward + "; backward " + backward; }
};

// A convolution without bias, prepared once for one shape. Weights are fp32 in torch's order (O, I, kH, kW).
// x and y are whole tensors in the layouts device.layout(use) gives for the shape's uses.
class Convolution {
 public:
  virtual ~Convolution() = default;
  virtual Implementation implementation() const = 0;
  virtual std::size_t workspace_bytes() const = 0;  // for the hungriest of the three below
  virtual void forward(const View& x, const float* w, const View& y, void* workspace) = 0;
  // Overwrites dx. A device may refuse it for an input_use of kInput: nobody asks for the gradient of an image.
  virtual void backward_data(const View& dy, const float* w, const View& dx, void* workspace) = 0;
  virtual void backward_weights(const View& x, const View& dy, float* dw, void* workspace) = 0;  // overwrites dw
};

// ---- Batch normalisation, factored ---------------------------------------------------------------
// BN(x) = γ·x̂ + β with x̂ = (x − mean)·rstd. x̂ depends on the feature alone, so its statistics are taken once,
// where the feature is produced, and every consumer shares them (PERFORMANCE.md). In backward each consumer adds
// γ·dz to S = ∂L/∂x̂ and to two sums; one `normalize_backward` per feature then gives ∂L/∂x.
struct Statistics {  // float[C] each
  float* mean = nullptr;
  float* variance = nullptr;  // biased
  float* rstd = nullptr;      // 1/sqrt(variance + eps)
};
struct GradientSums {        // double[C] each: what cancels between consumers must not be rounded
  double* s = nullptr;       // Σ S over images and pixels
  double* s_xhat = nullptr;  // Σ S·x̂
};
struct Affine {  // float[C] each
  const float* mean = nullptr;
  const float* rstd = nullptr;
  const float* gamma = nullptr;
  const float* beta = nullptr;
};

// Where the channels of a view lie in their storage: from `first` on, of that many.
struct ChannelSlice {
  std::int64_t first = 0, of = 0;
};

// Batch norm, ReLU and a convolution without bias in one: y = conv(z), z = max(0, γ·x̂ + β), with z made on the way into
// the product and the statistics of y taken on the way out, so that z need not exist (Jung et al. 2018). Prepared once
// for one shape and the slices of channels that x and y are, in the layout of Use::kStack.
class NormConvolution {
 public:
  virtual ~NormConvolution() = default;
  struct Output {
    float eps = 0;
    Statistics statistics;  // of y; without arrays where nobody needs them
    View z;                 // a whole tensor where z is kept, for backward to read; or without data
  };
  struct Gradients {
    GradientSums sums;
    float *dw = nullptr, *dgamma = nullptr, *dbeta = nullptr;
  };
  virtual Implementation implementation() const = 0;
  virtual std::size_t workspace_bytes() const = 0;  // for the hungrier of the two below
  virtual void forward(const View& x, const Affine& affine, const float* w, const View& y, const Output& output,
                       void* workspace) = 0;
  // From dy = ∂L/∂y what Convolution's backward and then Device::affine_relu_backward would give: overwrites dw, dγ,
  // dβ; adds γ·dz to S and to its sums, or overwrites them with kOverwrite. z is what forward kept, or without
  // data: made again.
  virtual void backward(const View& x, const Affine& affine, const float* w, const View& dy, const View& z,
                        GradMode mode, const View& s, const Gradients& gradients, void* workspace) = 0;
};

// Where source pixels of an augmented image come from: for output pixel (x, y), measured from the output's
// centre in output pixels, source = (xx·x + xy·y + x0, yx·x + yy·y + y0), measured from the source's centre in
// source pixels. value' = contrast·(value − 0.5) + 0.5 on [0, 1], clamped, before normalisation.
// Outside the source counts as 0 (black).
struct ImageTransform {
  float xx = 1, xy = 0, x0 = 0;
  float yx = 0, yy = 1, y0 = 0;
  float contrast = 1;
};
inline constexpr int kInputChannels = 3;
struct InputNormalization {  // ImageNet's, as torchvision documents it
  float mean[kInputChannels] = {0.485f, 0.456f, 0.406f};
  float std[kInputChannels] = {0.229f, 0.224f, 0.225f};
};

struct AdamStep {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0;  // decoupled (AdamW): w -= lr·weight_decay·w
  std::int64_t step = 1;    // counts from 1
  double clip_norm = 0;     // 0: off. Gradients are scaled by min(1, clip_norm / norm)
};

// What a step of Adam is to all parameters alike. It lies in device memory, so that work which is captured once and run
// every step takes each step's own.
struct AdamScalars {
  float beta1, rest1, beta2, rest2;              // rest = 1 − β, rounded once: 1 − 0.999f would be off by 1e-5
  float decay, step_size, root_correction, eps;  // 1 − lr·weight_decay, lr/(1 − β1ᵗ), 1/sqrt(1 − β2ᵗ)
  double clip_norm;

  explicit AdamScalars(const AdamStep& step);  // throws Error where steps are not counted from 1
};

// ---- Steps that wait for nothing -----------------------------------------------------------------
// Work that is run again and again. Device::capture() says what a device may make of it.
class Replay {
 public:
  virtual ~Replay() = default;
  virtual void run() = 0;  // queues it
};
// Calls `work` in every run.
std::unique_ptr<Replay> make_direct_replay(std::function<void()> work);

// Uploads that travel while earlier work computes.
class StagedUpload {
 public:
  virtual ~StagedUpload() = default;
  // Copies bytes from the host to device memory, in order with what is queued before and after. `from` may be changed
  // as soon as this returns. Waits only while the upload before the last one is still travelling. Throws Error where
  // there are more bytes than it was made for.
  void send(void* to, const void* from, std::size_t bytes);

 protected:
  explicit StagedUpload(std::size_t bytes) : bytes_(bytes) {}
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;

 private:
  std::size_t bytes_;
};

// Copies of the same bytes of device memory, taken at two points of the queue and read while later work computes.
class Readback {
 public:
  virtual ~Readback() = default;
  // Queues a copy of the bytes at `from`, as many as it was made for. Of all that were taken the last two can be read.
  void take(const void* from) { copy(from, static_cast<int>(taken_++ % kKept)); }
  // To `to` what was taken last (ago 0) or before that (ago 1); waits for the queue up to there. Throws Error where
  // nothing was.
  void read(int ago, void* to);

 protected:
  static constexpr int kKept = 2;
  virtual void copy(const void* from, int slot) = 0;
  virtual void wait(int slot, void* to) = 0;

 private:
  std::int64_t taken_ = 0;
};

// Times between points of the queue, by the device's own clock: CUDA events, or the host's clock on the CPU. Marking a
// point does not wait.
class Stopwatch {
 public:
  virtual ~Stopwatch() = default;
  virtual std::size_t mark() = 0;  // queues a mark and returns its number, counted from 0
  // Seconds from one mark to another; waits for both. Throws Error where a number belongs to no mark.
  virtual double seconds_between(std::size_t from, std::size_t to) = 0;
  virtual void clear() = 0;  // forgets all marks: the next one is number 0
};

struct DeviceInfo {
  std::string name;      // "cpu", "cuda:0"
  std::string hardware;  // "AMD EPYC 9B14, AVX-512" or "NVIDIA H200"
  std::size_t total_memory = 0, free_memory = 0;
  int threads = 1;  // CPU threads in use, or multiprocessors
};

class TreeOperations;  // kernels/tree_operations.h

class Device {
 public:
  virtual ~Device() = default;

  virtual DeviceInfo info() const = 0;
  virtual Layout layout(Use use) const = 0;
  // Empty where the device computes in this precision, else why not, to be shown to a user.
  virtual std::string why_not(Precision precision) const = 0;

  // Memory. allocate throws Error saying what was asked for and what is free.
  virtual void* allocate(std::size_t bytes) = 0;  // 64-byte aligned at least
  virtual void release(void* memory) noexcept = 0;
  virtual void upload(void* to_device, const void* from_host, std::size_t bytes) = 0;    // waits
  virtual void download(void* to_host, const void* from_device, std::size_t bytes) = 0;  // waits
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;
  virtual void fill(void* memory, std::uint8_t value, std::size_t bytes) = 0;
  virtual void synchronize() = 0;

  // Device memory that a staged upload of up to so many bytes works in, and one made on such memory.
  virtual std::size_t staging_bytes(std::size_t bytes) const = 0;
  virtual std::unique_ptr<StagedUpload> make_staged_upload(std::size_t bytes, void* memory) = 0;
  virtual std::unique_ptr<Readback> make_readback(std::size_t bytes) = 0;
  virtual std::unique_ptr<Stopwatch> make_stopwatch() = 0;
  // Each run() of the replay does what `work` does, from what lies in memory then. `work` queues operations of this
  // device, the same ones on the same memory in every call, and neither waits, uploads nor downloads. CUDA calls it in
  // the first run (libraries prepare themselves then), captures a second call as a graph, and launches that from there
  // on; the CPU calls it in every run.
  virtual std::unique_ptr<Replay> capture(std::function<void()> work) = 0;
  // A stretch of work by name, for the timeline of a profiler; may be nested. See Range.
  virtual void push_range(const char*) {}
  virtual void pop_range() {}

  // Convolution.
  virtual std::unique_ptr<Convolution> make_convolution(const ConvolutionShape& shape) = 0;
  // For x and y in these channels of their storages. Null where this device has no fused form of that, and the reason
  // in *why_not: batch norm and convolution are then two operations. Lives no longer than the device.
  virtual std::unique_ptr<NormConvolution> make_norm_convolution(const ConvolutionShape& shape, ChannelSlice x,
                                                                 ChannelSlice y, std::string* why_not) = 0;
  // Whether fused forms were measured on such devices, and are faster than what they are made of.
  virtual bool prefers_fused() const = 0;

  // Bytes of workspace that reductions over a view of c channels need.
  virtual std::size_t reduction_bytes(std::int64_t c) const = 0;

  // Input: uint8 grey images (N, source, source) to y (N, 3, H, W): sampled bilinearly at `transforms`, scaled to
  // [0, 1], contrast changed, normalised per channel. transforms is ImageTransform[N] in device memory.
  virtual void images_to_input(const std::uint8_t* images, std::int64_t source, const ImageTransform* transforms,
                               const InputNormalization& normalization, const View& y) = 0;

  // y = x in y's layout; zeros in y's padding.
  virtual void copy_view(const View& x, const View& y) = 0;

  // Statistics of x over images and pixels. Overwrites.
  virtual void channel_statistics(const View& x, float eps, const Statistics& statistics, void* workspace) = 0;
  // y = x and the statistics of x in one pass over x.
  virtual void copy_with_statistics(const View& x, const View& y, float eps, const Statistics& statistics,
                                    void* workspace) = 0;
  // running = (1 − momentum)·running + momentum·batch, the variance unbiased with count = N·H·W.
  virtual void update_running(const Statistics& batch, std::int64_t channels, std::int64_t count, float momentum,
                              float* running_mean, float* running_variance) = 0;
  // rstd = 1/sqrt(variance + eps), for evaluation with running statistics.
  virtual void reciprocal_std(const float* variance, std::int64_t channels, float eps, float* rstd) = 0;

  // y = max(0, γ·x̂ + β), or without the clamp where relu is false. Zeros in y's padding.
  virtual void affine_relu(const View& x, const Affine& affine, bool relu, const View& y) = 0;
  // From dy: dz = dy where the clamp let through; overwrites dγ = Σ dz·x̂ and dβ = Σ dz;
  // S += γ·dz, s += γ·dβ, s_xhat += γ·dγ (or = with kOverwrite).
  virtual void affine_relu_backward(const View& dy, const View& x, const Affine& affine, bool relu, GradMode mode,
                                    const View& s, const GradientSums& sums, float* dgamma, float* dbeta,
                                    void* workspace) = 0;
  // dx = rstd·(S − s/M − x̂·s_xhat/M), M = N·H·W, or dx += with kAccumulate. With kOverwrite zeros in its padding, and
  // dx may be S itself.
  virtual void normalize_backward(const View& s, const View& x, const Statistics& statistics, const GradientSums& sums,
                                  GradMode mode, const View& dx) = 0;

  // Pooling. Max pooling ignores padding; `choice` keeps which of the kernel² inputs won (the first in row order on
  // a tie) in choice_bytes(y) bytes whose order is the device's own; null where no backward follows.
  static std::size_t choice_bytes(const Shape& y) {
    return static_cast<std::size_t>(y.n * ((y.c + 15) / 16 * 16) * y.pixels());
  }
  virtual void max_pool(const View& x, int kernel, int stride, int padding, const View& y, std::uint8_t* choice) = 0;
  virtual void max_pool_backward(const View& dy, const std::uint8_t* choice, int kernel, int stride, int padding,
                                 const View& dx) = 0;  // overwrites
  // Non-overlapping average over kernel×kernel, remainder rows and columns dropped as torch does.
  virtual void average_pool(const View& x, int kernel, const View& y) = 0;
  virtual void average_pool_backward(const View& dy, int kernel, const View& dx) = 0;  // overwrites
  // y[N][C] = mean over pixels.
  virtual void global_average_pool(const View& x, float* y) = 0;
  virtual void global_average_pool_backward(const float* dy, const View& dx) = 0;  // overwrites

  // y[N][L] = x[N][K]·wᵀ + b, w[L][K]. Backward overwrites dx (may be null), dw and db.
  virtual void linear(const float* x, const float* w, const float* b, std::int64_t n, std::int64_t k, std::int64_t l,
                      float* y) = 0;
  virtual void linear_backward(const float* x, const float* w, const float* dy, std::int64_t n, std::int64_t k,
                               std::int64_t l, float* dx, float* dw, float* db) = 0;

  // loss = Σ term·weight / M over logits z[N][L] and targets y[N][L] in {0, 1}; NaN targets are missing: they
  // carry no loss and no gradient, and M counts the others. positive_weights is float[L] or null: it weighs the terms
  // of positives. Writes *loss (one double in device memory) and dz[N][L] (may be null).
  virtual void loss(LossKind kind, const float* z, const float* y, const float* positive_weights, std::int64_t n,
                    std::int64_t l, double* loss, float* dz) = 0;

  // *norm = sqrt(Σ g²) (double in device memory). The workspace is reduction_bytes(1) long.
  virtual void l2_norm(const float* g, std::int64_t n, double* norm, void* workspace) = 0;
  // Adam (Kingma & Ba 2015) over all n parameters in one pass. The scalars lie in device memory. Gradients are clipped
  // where they say so and norm is given.
  virtual void adam(const AdamScalars* scalars, const double* norm, std::int64_t n, const float* g, float* m, float* v,
                    float* w) = 0;

  // Label trees: scores of nodes, histograms, posteriors, answers.
  virtual std::unique_ptr<TreeOperations> make_tree_operations() = 0;
};

// The stretch of work until its end of scope.
class Range {
 public:
  Range(Device& device, const char* name) : device_(device) { device.push_range(name); }
  ~Range() { device_.pop_range(); }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  Device& device_;
};

// Cores that this process may use, and the most threads that a device takes: several for each core, since a few too
// many are only slow.
int usable_cores();
int most_threads();

// "auto", "cpu", "cuda" or "cuda:N". auto takes CUDA where a device answers, else the CPU. threads 0: all cores.
// Asking for a device that is not there is an Error that says why.
std::unique_ptr<Device> make_device(const std::string& name, int threads = 0);

// What this build and machine offer, and why not the rest: for the `devices` command.
struct DeviceStatus {
  std::string name;
  bool available = false;
  std::string detail;  // hardware, or the reason it is not available
};
std::vector<DeviceStatus> list_devices();

}  // namespace densetree
