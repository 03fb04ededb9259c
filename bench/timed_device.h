// A device that times another one. Every call is passed on, and its time by the device's own clock, its bytes and its
// floating-point operations are added up by kind of operation: the profile of a training step, without a hook in
// anything that is measured. Timing an operation does not wait for it.
//
// Bytes are those of the views and arrays read and written, each once, so that bytes/s can be held against a copy's.
// Floating-point operations are counted for convolutions only, two for a multiply-add.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/tree_operations.h"

namespace densetree::bench {

struct Cost {
  double seconds = 0, bytes = 0, flops = 0;
  std::int64_t calls = 0;
};
using Profile = std::map<std::string, Cost>;

class TimedDevice final : public Device {
 public:
  explicit TimedDevice(std::unique_ptr<Device> device)
      : device_(std::move(device)), stopwatch_(device_->make_stopwatch()) {}

  // Of all operations since reset(); waits for them.
  const Profile& profile();
  double recomputing_seconds();
  void reset();
  // Runs the body and notes where in the queue it began and ended.
  void measure(const std::string& kind, double bytes, double flops, const std::function<void()>& body);

  DeviceInfo info() const override { return device_->info(); }
  Layout layout(Use use) const override { return device_->layout(use); }
  std::string why_not(Precision precision) const override { return device_->why_not(precision); }

  void* allocate(std::size_t bytes) override { return device_->allocate(bytes); }
  void release(void* memory) noexcept override { device_->release(memory); }
  void upload(void* to_device, const void* from_host, std::size_t bytes) override;
  void download(void* to_host, const void* from_device, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void fill(void* memory, std::uint8_t value, std::size_t bytes) override;
  void synchronize() override { device_->synchronize(); }
  std::size_t staging_bytes(std::size_t bytes) const override { return device_->staging_bytes(bytes); }
  std::unique_ptr<StagedUpload> make_staged_upload(std::size_t bytes, void* memory) override;
  std::unique_ptr<Readback> make_readback(std::size_t bytes) override { return device_->make_readback(bytes); }
  std::unique_ptr<Stopwatch> make_stopwatch() override { return device_->make_stopwatch(); }
  // Calls the work in every run: the operations of a graph cannot be timed one by one.
  std::unique_ptr<Replay> capture(std::function<void()> work) override { return make_direct_replay(std::move(work)); }
  // Ranges whose name ends with " again", what a tape makes a second time, are timed as one kind of their own.
  void push_range(const char* name) override;
  void pop_range() override;

  std::unique_ptr<Convolution> make_convolution(const ConvolutionShape& shape) override;
  std::unique_ptr<NormConvolution> make_norm_convolution(const ConvolutionShape& shape, ChannelSlice x, ChannelSlice y,
                                                         std::string* why_not) override;
  bool prefers_fused() const override { return device_->prefers_fused(); }
  std::size_t reduction_bytes(std::int64_t c) const override { return device_->reduction_bytes(c); }

  void images_to_input(const std::uint8_t* images, std::int64_t source, const ImageTransform* transforms,
                       const InputNormalization& normalization, const View& y) override;
  void copy_view(const View& x, const View& y) override;
  void channel_statistics(const View& x, float eps, const Statistics& statistics, void* workspace) override;
  void copy_with_statistics(const View& x, const View& y, float eps, const Statistics& statistics,
                            void* workspace) override;
  void update_running(const Statistics& batch, std::int64_t channels, std::int64_t count, float momentum,
                      float* running_mean, float* running_variance) override;
  void reciprocal_std(const float* variance, std::int64_t channels, float eps, float* rstd) override;
  void affine_relu(const View& x, const Affine& affine, bool relu, const View& y) override;
  void affine_relu_backward(const View& dy, const View& x, const Affine& affine, bool relu, GradMode mode,
                            const View& s, const GradientSums& sums, float* dgamma, float* dbeta,
                            void* workspace) override;
  void normalize_backward(const View& s, const View& x, const Statistics& statistics, const GradientSums& sums,
                          GradMode mode, const View& dx) override;

  void max_pool(const View& x, int kernel, int stride, int padding, const View& y, std::uint8_t* choice) override;
  void max_pool_backward(const View& dy, const std::uint8_t* choice, int kernel, int stride, int padding,
                         const View& dx) override;
  void average_pool(const View& x, int kernel, const View& y) override;
  void average_pool_backward(const View& dy, int kernel, const View& dx) override;
  void global_average_pool(const View& x, float* y) override;
  void global_average_pool_backward(const float* dy, const View& dx) override;

  void linear(const float* x, const float* w, const float* b, std::int64_t n, std::int64_t k, std::int64_t l,
              float* y) override;
  void linear_backward(const float* x, const float* w, const float* dy, std::int64_t n, std::int64_t k, std::int64_t l,
                       float* dx, float* dw, float* db) override;
  void loss(LossKind kind, const float* z, const float* y, const float* positive_weights, std::int64_t n,
            std::int64_t l, double* loss, float* dz) override;
  void l2_norm(const float* g, std::int64_t n, double* norm, void* workspace) override;
  void adam(const AdamScalars* scalars, const double* norm, std::int64_t n, const float* g, float* m, float* v,
            float* w) override;
  std::unique_ptr<TreeOperations> make_tree_operations() override { return device_->make_tree_operations(); }

 private:
  // An operation, or a range of operations that recompute, between two marks of the stopwatch.
  struct Span {
    Cost* cost;
    std::size_t begin, end;
  };
  void read_spans();

  std::unique_ptr<Device> device_;
  std::unique_ptr<Stopwatch> stopwatch_;
  Profile profile_;
  Cost recomputing_;
  std::vector<Span> spans_;                         // whose times are not read yet
  std::vector<std::optional<std::size_t>> ranges_;  // the marks where they began, where they are timed
};

// A table: kind, calls, ms, share of `total` seconds, GFLOP/s, GB/s, slowest first; what is left of the total last.
std::string profile_table(const Profile& profile, double total, int steps);
// Seconds of all kinds together, and of those that multiply: convolutions, and batch norm and convolution in one.
double seconds_of(const Profile& profile);
double convolution_seconds_of(const Profile& profile);

}  // namespace densetree::bench
