// The CPU device: OpenMP loops over the shared functors, and oneDNN for convolutions, for the best instruction set that
// the processor has or for another one that it is asked for.
#pragma once

#include <optional>
#include <string_view>

#include "kernels/cpu/instruction_sets.h"
#include "kernels/device.h"

namespace densetree {

class CpuDevice final : public Device {
 public:
  // threads 0: all cores. "cpu" with the best set, or "cpu:<set>". Throws Error where the processor lacks it.
  explicit CpuDevice(int threads, std::optional<std::string_view> instruction_set = {});

  DeviceInfo info() const override;
  Layout layout(Use use) const override;
  std::string why_not(Precision precision) const override;

  std::string misplaced(const void*, Place) const override { return ""; }

  void* allocate(std::size_t bytes) override;
  void release(void* memory) noexcept override;
  void upload(void* to_device, const void* from_host, std::size_t bytes) override;
  void download(void* to_host, const void* from_device, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void fill(void* memory, std::uint8_t value, std::size_t bytes) override;
  void synchronize() override {}
  std::size_t staging_bytes(std::size_t) const override { return 0; }
  std::unique_ptr<StagedUpload> make_staged_upload(std::size_t bytes, void* memory) override;
  std::unique_ptr<Readback> make_readback(std::size_t bytes) override;
  std::unique_ptr<Stopwatch> make_stopwatch() override;
  std::unique_ptr<Replay> capture(std::function<void()> work) override;

  bool prefers_fused() const override { return true; }
  std::unique_ptr<TreeOperations> make_tree_operations() override;

 private:
  std::unique_ptr<Kernel> make_kernel(const Operation& operation, std::vector<Refusal>* refusals) override;

  const cpu::InstructionSet& set_;
  std::string name_;
  cpu::Team team_;
};

}  // namespace densetree
