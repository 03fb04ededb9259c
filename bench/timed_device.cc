#include "bench/timed_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace densetree::bench {
namespace {

double bytes_of(const View& view) {
  return static_cast<double>(view.shape().elements()) * static_cast<double>(size_of(view.dtype));
}

double bytes_of(const Shape& shape, Precision precision) {
  return static_cast<double>(shape.elements()) * (precision == Precision::kBFloat16 ? 2 : 4);
}

double floats(std::int64_t count) {
  return static_cast<double>(count) * sizeof(float);
}

class TimedConvolution final : public Convolution {
 public:
  TimedConvolution(TimedDevice& device, const ConvolutionShape& shape, std::unique_ptr<Convolution> convolution)
      : device_(device),
        convolution_(std::move(convolution)),
        kind_(fmt::format("convolution {0}x{0} ", shape.kernel)),
        bytes_(bytes_of(shape.input, shape.precision) + bytes_of(shape.output(), shape.precision) +
               floats(shape.weights())),
        flops_(2.0 * static_cast<double>(shape.weights()) *
               static_cast<double>(shape.output().n * shape.output().pixels())) {}

  Implementation implementation() const override { return convolution_->implementation(); }
  std::size_t workspace_bytes() const override { return convolution_->workspace_bytes(); }
  void forward(const View& x, const float* w, const View& y, void* workspace) override {
    device_.measure(kind_ + "forward", bytes_, flops_, [&] { convolution_->forward(x, w, y, workspace); });
  }
  void backward_data(const View& dy, const float* w, const View& dx, void* workspace) override {
    device_.measure(kind_ + "backward data", bytes_, flops_,
                    [&] { convolution_->backward_data(dy, w, dx, workspace); });
  }
  void backward_weights(const View& x, const View& dy, float* dw, void* workspace) override {
    device_.measure(kind_ + "backward weights", bytes_, flops_,
                    [&] { convolution_->backward_weights(x, dy, dw, workspace); });
  }

 private:
  TimedDevice& device_;
  std::unique_ptr<Convolution> convolution_;
  std::string kind_;
  double bytes_, flops_;
};

// Bytes are those of the activations read and written once, the gradient S read and written.
class TimedNormConvolution final : public NormConvolution {
 public:
  TimedNormConvolution(TimedDevice& device, const ConvolutionShape& shape, std::unique_ptr<NormConvolution> convolution)
      : device_(device),
        convolution_(std::move(convolution)),
        kind_(fmt::format("norm+ReLU+conv {0}x{0} ", shape.kernel)),
        in_bytes_(bytes_of(shape.input, shape.precision)),
        rest_bytes_(bytes_of(shape.output(), shape.precision) + floats(shape.weights())),
        flops_(2.0 * static_cast<double>(shape.weights()) *
               static_cast<double>(shape.output().n * shape.output().pixels())) {}

  Implementation implementation() const override { return convolution_->implementation(); }
  std::size_t workspace_bytes() const override { return convolution_->workspace_bytes(); }
  void forward(const View& x, const Affine& affine, const float* w, const View& y, const Output& output,
               void* workspace) override {
    device_.measure(kind_ + "forward", (output.z.data == nullptr ? 1 : 2) * in_bytes_ + rest_bytes_, flops_,
                    [&] { convolution_->forward(x, affine, w, y, output, workspace); });
  }
  void backward(const View& x, const Affine& affine, const float* w, const View& dy, const View& z, GradMode mode,
                const View& s, const Gradients& gradients, void* workspace) override {
    const int passes = 2 + (z.data == nullptr ? 0 : 1) + (mode == GradMode::kAccumulate ? 1 : 0);
    device_.measure(kind_ + "backward", passes * in_bytes_ + rest_bytes_, 2 * flops_,
                    [&] { convolution_->backward(x, affine, w, dy, z, mode, s, gradients, workspace); });
  }

 private:
  TimedDevice& device_;
  std::unique_ptr<NormConvolution> convolution_;
  std::string kind_;
  double in_bytes_, rest_bytes_, flops_;
};

class TimedUpload final : public StagedUpload {
 public:
  TimedUpload(TimedDevice& device, std::size_t bytes, std::unique_ptr<StagedUpload> upload)
      : StagedUpload(bytes), device_(device), upload_(std::move(upload)) {}

 private:
  void copy(void* to, const void* from, std::size_t bytes) override {
    device_.measure("staged upload", 2.0 * bytes, 0, [&] { upload_->send(to, from, bytes); });
  }

  TimedDevice& device_;
  std::unique_ptr<StagedUpload> upload_;
};

}  // namespace

void TimedDevice::measure(const std::string& kind, double bytes, double flops, const std::function<void()>& body) {
  const std::size_t begin = stopwatch_->mark();
  body();
  Cost& cost = profile_[kind];
  spans_.push_back({&cost, begin, stopwatch_->mark()});
  cost.bytes += bytes;
  cost.flops += flops;
  ++cost.calls;
}

void TimedDevice::push_range(const char* name) {
  device_->push_range(name);
  const bool timed = std::string_view(name).ends_with(" again");
  ranges_.push_back(timed ? std::optional(stopwatch_->mark()) : std::nullopt);
}

void TimedDevice::pop_range() {
  if (const auto begin = ranges_.back()) {
    spans_.push_back({&recomputing_, *begin, stopwatch_->mark()});
  }
  ranges_.pop_back();
  device_->pop_range();
}

void TimedDevice::read_spans() {
  for (const Span& span : spans_) {
    span.cost->seconds += stopwatch_->seconds_between(span.begin, span.end);
  }
  spans_.clear();
  if (ranges_.empty()) {
    stopwatch_->clear();
  }
}

const Profile& TimedDevice::profile() {
  read_spans();
  return profile_;
}

double TimedDevice::recomputing_seconds() {
  read_spans();
  return recomputing_.seconds;
}

void TimedDevice::reset() {
  read_spans();
  profile_.clear();
  recomputing_ = {};
}

std::unique_ptr<Convolution> TimedDevice::make_convolution(const ConvolutionShape& shape) {
  return std::make_unique<TimedConvolution>(*this, shape, device_->make_convolution(shape));
}

std::unique_ptr<NormConvolution> TimedDevice::make_norm_convolution(const ConvolutionShape& shape, ChannelSlice x,
                                                                    ChannelSlice y, std::string* why_not) {
  auto made = device_->make_norm_convolution(shape, x, y, why_not);
  return made ? std::make_unique<TimedNormConvolution>(*this, shape, std::move(made)) : nullptr;
}

std::unique_ptr<StagedUpload> TimedDevice::make_staged_upload(std::size_t bytes, void* memory) {
  return std::make_unique<TimedUpload>(*this, bytes, device_->make_staged_upload(bytes, memory));
}

void TimedDevice::upload(void* to_device, const void* from_host, std::size_t bytes) {
  measure("upload", 2.0 * bytes, 0, [&] { device_->upload(to_device, from_host, bytes); });
}

void TimedDevice::download(void* to_host, const void* from_device, std::size_t bytes) {
  measure("download", 2.0 * bytes, 0, [&] { device_->download(to_host, from_device, bytes); });
}

void TimedDevice::copy(void* to, const void* from, std::size_t bytes) {
  measure("copy", 2.0 * bytes, 0, [&] { device_->copy(to, from, bytes); });
}

void TimedDevice::fill(void* memory, std::uint8_t value, std::size_t bytes) {
  measure("fill", 1.0 * bytes, 0, [&] { device_->fill(memory, value, bytes); });
}

void TimedDevice::images_to_input(const std::uint8_t* images, std::int64_t source, const ImageTransform* transforms,
                                  const InputNormalization& normalization, const View& y) {
  measure("images_to_input", static_cast<double>(y.n * source * source) + bytes_of(y), 0,
          [&] { device_->images_to_input(images, source, transforms, normalization, y); });
}

void TimedDevice::copy_view(const View& x, const View& y) {
  measure("copy_view", bytes_of(x) + bytes_of(y), 0, [&] { device_->copy_view(x, y); });
}

void TimedDevice::channel_statistics(const View& x, float eps, const Statistics& statistics, void* workspace) {
  measure("channel_statistics", bytes_of(x), 0, [&] { device_->channel_statistics(x, eps, statistics, workspace); });
}

void TimedDevice::copy_with_statistics(const View& x, const View& y, float eps, const Statistics& statistics,
                                       void* workspace) {
  measure("copy_with_statistics", bytes_of(x) + bytes_of(y), 0,
          [&] { device_->copy_with_statistics(x, y, eps, statistics, workspace); });
}

void TimedDevice::update_running(const Statistics& batch, std::int64_t channels, std::int64_t count, float momentum,
                                 float* running_mean, float* running_variance) {
  measure("update_running", floats(6 * channels), 0,
          [&] { device_->update_running(batch, channels, count, momentum, running_mean, running_variance); });
}

void TimedDevice::reciprocal_std(const float* variance, std::int64_t channels, float eps, float* rstd) {
  measure("reciprocal_std", floats(2 * channels), 0, [&] { device_->reciprocal_std(variance, channels, eps, rstd); });
}

void TimedDevice::affine_relu(const View& x, const Affine& affine, bool relu, const View& y) {
  measure("affine_relu", bytes_of(x) + bytes_of(y), 0, [&] { device_->affine_relu(x, affine, relu, y); });
}

void TimedDevice::affine_relu_backward(const View& dy, const View& x, const Affine& affine, bool relu, GradMode mode,
                                       const View& s, const GradientSums& sums, float* dgamma, float* dbeta,
                                       void* workspace) {
  const bool accumulate = mode == GradMode::kAccumulate;
  measure(accumulate ? "affine_relu_backward +=" : "affine_relu_backward =", bytes_of(x) * (accumulate ? 4 : 3), 0,
          [&] { device_->affine_relu_backward(dy, x, affine, relu, mode, s, sums, dgamma, dbeta, workspace); });
}

void TimedDevice::normalize_backward(const View& s, const View& x, const Statistics& statistics,
                                     const GradientSums& sums, GradMode mode, const View& dx) {
  measure("normalize_backward", bytes_of(x) * 3, 0,
          [&] { device_->normalize_backward(s, x, statistics, sums, mode, dx); });
}

void TimedDevice::max_pool(const View& x, int kernel, int stride, int padding, const View& y, std::uint8_t* choice) {
  measure("max_pool", bytes_of(x) + bytes_of(y) + (choice ? static_cast<double>(choice_bytes(y.shape())) : 0), 0,
          [&] { device_->max_pool(x, kernel, stride, padding, y, choice); });
}

void TimedDevice::max_pool_backward(const View& dy, const std::uint8_t* choice, int kernel, int stride, int padding,
                                    const View& dx) {
  measure("max_pool_backward", bytes_of(dy) + bytes_of(dx) + static_cast<double>(choice_bytes(dy.shape())), 0,
          [&] { device_->max_pool_backward(dy, choice, kernel, stride, padding, dx); });
}

void TimedDevice::average_pool(const View& x, int kernel, const View& y) {
  measure("average_pool", bytes_of(x) + bytes_of(y), 0, [&] { device_->average_pool(x, kernel, y); });
}

void TimedDevice::average_pool_backward(const View& dy, int kernel, const View& dx) {
  measure("average_pool_backward", bytes_of(dy) + bytes_of(dx), 0,
          [&] { device_->average_pool_backward(dy, kernel, dx); });
}

void TimedDevice::global_average_pool(const View& x, float* y) {
  measure("global_average_pool", bytes_of(x), 0, [&] { device_->global_average_pool(x, y); });
}

void TimedDevice::global_average_pool_backward(const float* dy, const View& dx) {
  measure("global_average_pool_backward", bytes_of(dx), 0, [&] { device_->global_average_pool_backward(dy, dx); });
}

void TimedDevice::linear(const float* x, const float* w, const float* b, std::int64_t n, std::int64_t k, std::int64_t l,
                         float* y) {
  measure("linear", floats(n * k + k * l + n * l), 0, [&] { device_->linear(x, w, b, n, k, l, y); });
}

void TimedDevice::linear_backward(const float* x, const float* w, const float* dy, std::int64_t n, std::int64_t k,
                                  std::int64_t l, float* dx, float* dw, float* db) {
  measure("linear_backward", floats(2 * (n * k + k * l) + n * l), 0,
          [&] { device_->linear_backward(x, w, dy, n, k, l, dx, dw, db); });
}

void TimedDevice::loss(LossKind kind, const float* z, const float* y, const float* positive_weights, std::int64_t n,
                       std::int64_t l, double* loss, float* dz) {
  measure("loss", floats(3 * n * l), 0, [&] { device_->loss(kind, z, y, positive_weights, n, l, loss, dz); });
}

void TimedDevice::l2_norm(const float* g, std::int64_t n, double* norm, void* workspace) {
  measure("l2_norm", floats(n), 0, [&] { device_->l2_norm(g, n, norm, workspace); });
}

void TimedDevice::adam(const AdamScalars* scalars, const double* norm, std::int64_t n, const float* g, float* m,
                       float* v, float* w) {
  measure("adam", floats(7 * n), 0, [&] { device_->adam(scalars, norm, n, g, m, v, w); });
}

double seconds_of(const Profile& profile) {
  double seconds = 0;
  for (const auto& [kind, cost] : profile) {
    seconds += cost.seconds;
  }
  return seconds;
}

double convolution_seconds_of(const Profile& profile) {
  double seconds = 0;
  for (const auto& [kind, cost] : profile) {
    seconds += cost.flops > 0 ? cost.seconds : 0;
  }
  return seconds;
}

std::string profile_table(const Profile& profile, double total, int steps) {
  std::vector<std::pair<std::string, Cost>> rows(profile.begin(), profile.end());
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  const auto row = [&](const std::string& kind, const Cost& cost) {
    return fmt::format("{:32} {:6} {:10.2f} {:7.1f}% {:10.1f} {:8.2f}\n", kind, cost.calls / steps,
                       1e3 * cost.seconds / steps, 100 * cost.seconds / total, 1e-9 * cost.flops / cost.seconds,
                       1e-9 * cost.bytes / cost.seconds);
  };
  std::string table =
      fmt::format("{:32} {:>6} {:>10} {:>8} {:>10} {:>8}\n", "operation", "calls", "ms", "share", "GFLOP/s", "GB/s");
  for (const auto& [kind, cost] : rows) {
    table += row(kind, cost);
  }
  const double rest = total - seconds_of(profile);
  return table + fmt::format("{:32} {:6} {:10.2f} {:7.1f}%\n{:32} {:6} {:10.2f}\n", "between operations", "",
                             1e3 * rest / steps, 100 * rest / total, "total", "", 1e3 * total / steps);
}

}  // namespace densetree::bench
