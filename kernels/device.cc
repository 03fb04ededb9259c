#include "kernels/device.h"

#include "kernels/check_operands.h"
#include "kernels/core/error.h"

namespace densetree {
namespace {

class DirectReplay final : public Replay {
 public:
  explicit DirectReplay(std::function<void()> work) : work_(std::move(work)) {}
  void run() override { work_(); }

 private:
  std::function<void()> work_;
};

}  // namespace

std::unique_ptr<Kernel> Device::prepare(const Operation& operation, std::vector<Refusal>* refusals) {
  check_operands(*this, operation);
  return make_kernel(operation, refusals);
}

void StagedUpload::send(void* to, const void* from, std::size_t bytes) {
  check(bytes <= bytes_, "a staged upload of {} bytes was made for {} at most", bytes, bytes_);
  if (bytes > 0) {
    copy(to, from, bytes);
  }
}

void Readback::read(int ago, void* to) {
  check(ago >= 0 && ago < kKept, "a readback keeps the last {} values; the one {} ago is asked for", kKept, ago);
  check(ago < taken_, "a readback is asked for the value {} ago; {} were taken", ago, taken_);
  wait(static_cast<int>((taken_ - 1 - ago) % kKept), to);
}

std::unique_ptr<Replay> make_direct_replay(std::function<void()> work) {
  return std::make_unique<DirectReplay>(std::move(work));
}

}  // namespace densetree
