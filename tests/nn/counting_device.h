// A device that passes every call on to another one, counts its memory and what convolutions allocate on the host, and
// may pretend to have less memory, or to be one that captures: it then notes the calls that captured work makes, with
// their arguments, and replays those without the work, as a CUDA graph would. What waits in captured work is an error.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/device.h"
#include "kernels/tree_operations.h"

namespace densetree::test {

class CountingDevice final : public Device {
 public:
  explicit CountingDevice(Device& device) : device_(device) {}

  int allocations = 0, releases = 0;            // calls so far
  int captured = 0;                             // of capture()
  std::size_t last_bytes = 0;                   // of the last allocation
  std::optional<std::size_t> free_memory = {};  // what info() says is free; none: the truth
  bool captures = false;                        // whether captured work is noted and replayed without it

  DeviceInfo info() const override {
    DeviceInfo info = device_.info();
    info.free_memory = free_memory.value_or(info.free_memory);
    return info;
  }
  void* allocate(std::size_t bytes) override {
    ++allocations;
    last_bytes = bytes;
    return device_.allocate(bytes);
  }
  void release(void* memory) noexcept override {
    ++releases;
    device_.release(memory);
  }

  // ---- Passed on
  Layout layout(Use use) const override { return device_.layout(use); }
  std::string why_not(Precision precision) const override { return device_.why_not(precision); }
  void upload(void* to, const void* from, std::size_t bytes) override {
    check_not_capturing("upload");
    device_.upload(to, from, bytes);
  }
  void download(void* to, const void* from, std::size_t bytes) override {
    check_not_capturing("download");
    device_.download(to, from, bytes);
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    pass([=, this] { device_.copy(to, from, bytes); });
  }
  void fill(void* memory, std::uint8_t value, std::size_t bytes) override {
    pass([=, this] { device_.fill(memory, value, bytes); });
  }
  void synchronize() override {
    check_not_capturing("synchronize");
    device_.synchronize();
  }
  std::size_t staging_bytes(std::size_t bytes) const override { return device_.staging_bytes(bytes); }
  std::unique_ptr<StagedUpload> make_staged_upload(std::size_t bytes, void* memory) override {
    return device_.make_staged_upload(bytes, memory);
  }
  std::unique_ptr<Readback> make_readback(std::size_t bytes) override { return device_.make_readback(bytes); }
  std::unique_ptr<Stopwatch> make_stopwatch() override { return device_.make_stopwatch(); }
  std::unique_ptr<Convolution> make_convolution(const ConvolutionShape& s) override {
    return std::make_unique<CountingConvolution>(*this, device_.make_convolution(s));
  }
  std::unique_ptr<NormConvolution> make_norm_convolution(const ConvolutionShape& s, ChannelSlice x, ChannelSlice y,
                                                         std::string* why_not) override {
    auto made = device_.make_norm_convolution(s, x, y, why_not);
    return made ? std::make_unique<CountingNormConvolution>(*this, std::move(made)) : nullptr;
  }
  bool prefers_fused() const override { return device_.prefers_fused(); }
  std::size_t reduction_bytes(std::int64_t c) const override { return device_.reduction_bytes(c); }
  void images_to_input(const std::uint8_t* images, std::int64_t source, const ImageTransform* transforms,
                       const InputNormalization& normalization, const View& y) override {
    pass([=, this] { device_.images_to_input(images, source, transforms, normalization, y); });
  }
  void copy_view(const View& x, const View& y) override {
    pass([=, this] { device_.copy_view(x, y); });
  }
  void channel_statistics(const View& x, float eps, const Statistics& s, void* workspace) override {
    pass([=, this] { device_.channel_statistics(x, eps, s, workspace); });
  }
  void copy_with_statistics(const View& x, const View& y, float eps, const Statistics& s, void* workspace) override {
    pass([=, this] { device_.copy_with_statistics(x, y, eps, s, workspace); });
  }
  void update_running(const Statistics& batch, std::int64_t channels, std::int64_t count, float momentum, float* mean,
                      float* variance) override {
    pass([=, this] { device_.update_running(batch, channels, count, momentum, mean, variance); });
  }
  void reciprocal_std(const float* variance, std::int64_t channels, float eps, float* rstd) override {
    pass([=, this] { device_.reciprocal_std(variance, channels, eps, rstd); });
  }
  void affine_relu(const View& x, const Affine& affine, bool relu, const View& y) override {
    pass([=, this] { device_.affine_relu(x, affine, relu, y); });
  }
  void affine_relu_backward(const View& dy, const View& x, const Affine& affine, bool relu, GradMode mode,
                            const View& s, const GradientSums& sums, float* dgamma, float* dbeta,
                            void* workspace) override {
    pass([=, this] { device_.affine_relu_backward(dy, x, affine, relu, mode, s, sums, dgamma, dbeta, workspace); });
  }
  void normalize_backward(const View& s, const View& x, const Statistics& statistics, const GradientSums& sums,
                          GradMode mode, const View& dx) override {
    pass([=, this] { device_.normalize_backward(s, x, statistics, sums, mode, dx); });
  }
  void max_pool(const View& x, int kernel, int stride, int padding, const View& y, std::uint8_t* choice) override {
    pass([=, this] { device_.max_pool(x, kernel, stride, padding, y, choice); });
  }
  void max_pool_backward(const View& dy, const std::uint8_t* choice, int kernel, int stride, int padding,
                         const View& dx) override {
    pass([=, this] { device_.max_pool_backward(dy, choice, kernel, stride, padding, dx); });
  }
  void average_pool(const View& x, int kernel, const View& y) override {
    pass([=, this] { device_.average_pool(x, kernel, y); });
  }
  void average_pool_backward(const View& dy, int kernel, const View& dx) override {
    pass([=, this] { device_.average_pool_backward(dy, kernel, dx); });
  }
  void global_average_pool(const View& x, float* y) override {
    pass([=, this] { device_.global_average_pool(x, y); });
  }
  void global_average_pool_backward(const float* dy, const View& dx) override {
    pass([=, this] { device_.global_average_pool_backward(dy, dx); });
  }
  void linear(const float* x, const float* w, const float* b, std::int64_t n, std::int64_t k, std::int64_t l,
              float* y) override {
    pass([=, this] { device_.linear(x, w, b, n, k, l, y); });
  }
  void linear_backward(const float* x, const float* w, const float* dy, std::int64_t n, std::int64_t k, std::int64_t l,
                       float* dx, float* dw, float* db) override {
    pass([=, this] { device_.linear_backward(x, w, dy, n, k, l, dx, dw, db); });
  }
  void loss(LossKind kind, const float* z, const float* y, const float* positive_weights, std::int64_t n,
            std::int64_t l, double* loss, float* dz) override {
    pass([=, this] { device_.loss(kind, z, y, positive_weights, n, l, loss, dz); });
  }
  void l2_norm(const float* g, std::int64_t n, double* norm, void* workspace) override {
    pass([=, this] { device_.l2_norm(g, n, norm, workspace); });
  }
  void adam(const AdamScalars* scalars, const double* norm, std::int64_t n, const float* g, float* m, float* v,
            float* w) override {
    pass([=, this] { device_.adam(scalars, norm, n, g, m, v, w); });
  }
  std::unique_ptr<Replay> capture(std::function<void()> work) override {
    ++captured;
    return captures ? std::make_unique<NotedReplay>(*this, std::move(work)) : device_.capture(std::move(work));
  }
  std::unique_ptr<TreeOperations> make_tree_operations() override { return device_.make_tree_operations(); }

 private:
  using Calls = std::vector<std::function<void()>>;

  // Passes captured work's calls to `device` on: the first run makes them all, the second notes them too.
  class NotedReplay final : public Replay {
   public:
    NotedReplay(CountingDevice& device, std::function<void()> work) : device_(device), work_(std::move(work)) {}
    void run() override {
      if (runs_++ == 0) {
        return work_();
      }
      if (runs_ == 2) {
        device_.calls_ = &calls_;
        work_();
        device_.calls_ = nullptr;
      }
      for (const auto& call : calls_) {
        call();
      }
    }

   private:
    CountingDevice& device_;
    std::function<void()> work_;
    Calls calls_;
    int runs_ = 0;
  };

  class CountingConvolution final : public Convolution {
   public:
    CountingConvolution(CountingDevice& device, std::unique_ptr<Convolution> inner)
        : device_(device), inner_(std::move(inner)) {}

    Implementation implementation() const override { return inner_->implementation(); }
    std::size_t workspace_bytes() const override { return inner_->workspace_bytes(); }
    void forward(const View& x, const float* w, const View& y, void* workspace) override {
      device_.pass([=, this] { inner_->forward(x, w, y, workspace); });
    }
    void backward_data(const View& dy, const float* w, const View& dx, void* workspace) override {
      device_.pass([=, this] { inner_->backward_data(dy, w, dx, workspace); });
    }
    void backward_weights(const View& x, const View& dy, float* dw, void* workspace) override {
      device_.pass([=, this] { inner_->backward_weights(x, dy, dw, workspace); });
    }

   private:
    CountingDevice& device_;
    std::unique_ptr<Convolution> inner_;
  };

  class CountingNormConvolution final : public NormConvolution {
   public:
    CountingNormConvolution(CountingDevice& device, std::unique_ptr<NormConvolution> inner)
        : device_(device), inner_(std::move(inner)) {}

    Implementation implementation() const override { return inner_->implementation(); }
    std::size_t workspace_bytes() const override { return inner_->workspace_bytes(); }
    void forward(const View& x, const Affine& affine, const float* w, const View& y, const Output& output,
                 void* workspace) override {
      device_.pass([=, this] { inner_->forward(x, affine, w, y, output, workspace); });
    }
    void backward(const View& x, const Affine& affine, const float* w, const View& dy, const View& z, GradMode mode,
                  const View& s, const Gradients& gradients, void* workspace) override {
      device_.pass([=, this] { inner_->backward(x, affine, w, dy, z, mode, s, gradients, workspace); });
    }

   private:
    CountingDevice& device_;
    std::unique_ptr<NormConvolution> inner_;
  };

  template <class Call>
  void pass(Call call) {
    if (calls_) {
      calls_->push_back(call);
    } else {
      call();
    }
  }
  void check_not_capturing(const char* what) const { check(calls_ == nullptr, "captured work calls {}", what); }

  Device& device_;
  Calls* calls_ = nullptr;  // where captured work is noted
};

}  // namespace densetree::test
