// Tape: a minimal autograd, built once and replayed every step.
//
// Building records operations in a flat list. Each says which storages its forward and its backward read and write.
// freeze() turns that into a schedule: all forwards in order, all backwards in reverse, and, for storages that are
// dropped between the two, the forwards that make them again just before the backward that reads them. The schedule
// gives every storage its lifetime, and the Planner its place. run() then walks the list; nothing allocates.
//
//   storage   memory with one lifetime in forward and perhaps one in backward: an activation, a stack that several
//             tensors are slices of, statistics, a gradient
//   tensor    a view of a storage: all of its channels, or a slice
//   gradient  a storage of its own with the same shape, made the first time somebody asks for it
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/planner.h"
#include "kernels/core/view.h"
#include "kernels/device.h"

namespace densetree {

using StorageId = int;

struct Tensor {
  StorageId storage = -1;
  Shape shape;          // of this tensor
  Shape storage_shape;  // of the whole storage
  std::int64_t first = 0;
  Layout layout = Layout::kPlanar;
  DType dtype = DType::kFloat32;

  // Channels [begin, begin + count).
  Tensor slice(std::int64_t begin, std::int64_t count) const;
};

// What one direction of an operation touches.
struct Uses {
  std::vector<StorageId> reads = {}, writes = {};
  std::optional<Tensor> accumulates =
      std::nullopt;           // a gradient that the first writer overwrites and later ones add to
  std::size_t workspace = 0;  // bytes, alive during this operation only
};

// Where things are while an operation runs.
struct Run {
  Device& device;
  const std::vector<void*>& memory;  // by storage
  void* workspace = nullptr;
  bool recompute = false;  // this forward has run before in this step: no side effects
  GradMode mode = GradMode::kOverwrite;

  View view(const Tensor& tensor) const;
  template <class T = float>
  T* array(StorageId storage) const {
    return static_cast<T*>(memory[storage]);
  }
};

class Operation {
 public:
  explicit Operation(std::string name) : name_(std::move(name)) {}
  virtual ~Operation() = default;
  const std::string& name() const { return name_; }
  // What the device computes it with, where that can differ from machine to machine; else empty.
  virtual std::string implementation() const { return ""; }

  virtual Uses forward_uses() const = 0;
  virtual void forward(const Run& run) = 0;
  // Operations without gradients leave both as they are.
  virtual std::optional<Uses> backward_uses() { return std::nullopt; }
  virtual void backward(const Run&) {}

 private:
  std::string name_;
};

class Tape {
 public:
  explicit Tape(Device& device) : device_(device) {}
  Device& device() const { return device_; }

  // ---- Building
  // `values`: what it holds, where that is numbers that a layer puts out.
  StorageId storage(std::string name, std::size_t bytes, std::optional<DType> values = std::nullopt);
  Tensor tensor(std::string name, const Shape& shape, Layout layout, DType dtype = DType::kFloat32);
  // For storages whose size is known only when everything else is built.
  void set_bytes(StorageId storage, std::size_t bytes) { storages_[storage].bytes = bytes; }
  // The gradient of a tensor: the same slice of its storage's gradient storage.
  Tensor gradient(const Tensor& tensor);
  // Forget the storage after forward, and make it again in backward.
  void drop_after_forward(StorageId storage) { storages_[storage].dropped = true; }
  // Alive over the whole schedule: inputs that are filled before the first step, results that are read after the last.
  void keep(StorageId storage) { storages_[storage].kept = true; }
  // Alive from the first backward step to the end: the parameters' gradients.
  void keep_in_backward(StorageId storage) { storages_[storage].kept_in_backward = true; }
  void add(std::unique_ptr<Operation> operation);

  // ---- Freezing: schedules and plans. Throws Error where a gradient has no writer or two that overwrite it.
  void freeze(bool with_backward);
  const Planner& planner() const { return planner_; }
  std::size_t bytes() const { return planner_.bytes(); }

  // ---- Running
  // Lays the storages out at `memory`, bytes() long.
  void bind(std::byte* memory);
  std::byte* memory() const { return base_; }
  void* address(StorageId storage) const { return memory_[storage]; }
  void run();          // one whole step: forward, and backward where frozen with it
  void run_forward();  // forward only
  // Runs forward step by step, and returns the name of the first operation that puts out a value that is not finite, or
  // "". Memory must have been cleared before the inputs were set, so that nothing but outputs is seen.
  std::string first_not_finite();
  // Fills memory with NaN as soon as its lifetime ends: a read too late shows in the loss.
  void set_poison(bool poison) { poison_ = poison; }

  enum class Phase : std::uint8_t { kForward, kRecompute, kBackward };
  struct Step {
    int operation;
    Phase phase;
    GradMode mode = GradMode::kOverwrite;
    int workspace = -1;  // a buffer of the planner
  };
  const std::vector<Step>& schedule() const { return schedule_; }
  std::size_t forward_steps() const { return forward_steps_; }  // the rest of the schedule is backward
  const std::string& operation_name(int index) const { return operations_[index]->name(); }
  // "features.conv0: cuDNN 91900: engine 22, …", a line each, of operations that say what computes them.
  std::string implementations() const;

 private:
  struct Storage {
    std::string name;
    std::size_t bytes = 0;
    std::optional<DType> values;
    bool dropped = false, kept = false, kept_in_backward = false;
    int producer = -1;  // the operation that writes it in forward
    StorageId gradient = -1;
    int buffer = -1, second_buffer = -1;  // in forward (and on, unless dropped); after recomputation
    std::vector<bool> written;            // gradient channels that have a writer already
  };

  void schedule_forward();
  void schedule_backward();
  void require(StorageId storage);  // schedules recomputation of a dropped storage
  int push_step(int operation, Phase phase, const Uses& uses);
  void touch(StorageId storage, int step, bool backward);
  GradMode mark_written(const Tensor& gradient);
  void mark_overwritten(StorageId storage);
  void run_steps(std::size_t begin, std::size_t end);

  Device& device_;
  std::vector<std::unique_ptr<Operation>> operations_;
  std::vector<Storage> storages_;
  std::vector<Step> schedule_;
  std::size_t forward_steps_ = 0;
  Planner planner_;
  std::byte* base_ = nullptr;
  std::vector<void*> memory_;
  std::vector<std::vector<StorageId>> moves_;  // by step: storages that change to their second buffer here
  std::vector<std::vector<int>> ends_;         // by step: buffers whose lifetime ends here
  std::vector<std::string> labels_;            // by step: "conv0 backward", for profilers
  bool poison_ = false;
};

}  // namespace densetree
