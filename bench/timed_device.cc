#include "bench/timed_device.h"

#include "bench/operation_cost.h"

namespace densetree::bench {
namespace {

class TimedKernel final : public KernelDecorator {
 public:
  TimedKernel(TimedDevice& device, const Operation& operation, std::unique_ptr<Kernel> inner)
      : KernelDecorator(std::move(inner)),
        device_(device),
        kind_(kind_of(operation)),
        bytes_(bytes_of(operation)),
        flops_(flops_of(operation)) {}

  void run(const Operation& operation, void* workspace) override {
    device_.measure(kind_, bytes_, flops_, [&] { inner_->run(operation, workspace); });
  }

 private:
  TimedDevice& device_;
  std::string kind_;
  double bytes_, flops_;
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

std::unique_ptr<Kernel> TimedDevice::make_kernel(const Operation& operation, std::vector<Refusal>* refusals) {
  auto kernel = device_->prepare(operation, refusals);
  return kernel ? std::make_unique<TimedKernel>(*this, operation, std::move(kernel)) : nullptr;
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

}  // namespace densetree::bench
