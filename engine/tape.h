// Tape: a minimal autograd. Building records operations in order, over storages that have no memory yet; freeze() makes
// a flat program of them:
//
//   forward    the operations as they were recorded
//   backward   in reverse order, the gradient operations of each (engine/gradients.h)
//   recompute  before a gradient operation that reads a storage which was dropped after forward: the operation that
//              made it, once more, into a storage of its own
//   update     what the optimiser does, in order
//
// Each step of the program is an operation and the kernel that the device prepared for it. The operands that it reads
// and writes give every storage its lifetime, and the Planner gives it its place. A run walks over the steps; nothing
// allocates.
//
//   storage    memory with one lifetime: an activation, a concat buffer that several tensors are slices of, statistics
//   external   memory that outlives the step (engine/persistent.h)
//   gradient   a storage of the same shape as another, made the first time somebody asks for it
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/persistent.h"
#include "engine/planner.h"
#include "kernels/device.h"

namespace densetree {

enum class Phase : std::uint8_t {
  kForward,
  kRecompute,
  kBackward,
  kClip,    // in steps that clip gradients, and left out of the others
  kUpdate,  // of weights
};
constexpr Names<Phase, 5> names(Phase) {
  return {"phase",
          {{Phase::kForward, "forward"},
           {Phase::kRecompute, "recompute"},
           {Phase::kBackward, "backward"},
           {Phase::kClip, "clip"},
           {Phase::kUpdate, "update"}}};
}

struct Step {
  std::string name;  // of the layer: "features.conv0"
  Phase phase = Phase::kForward;
  Operation operation;
  std::shared_ptr<Kernel> kernel = {};
  std::vector<Refusal> refusals = {};  // of implementations that come before the one that was taken
  int workspace = -1;                  // a buffer of the planner
  std::string label = {};              // for profilers: "features.conv0 backward"
};

class Tape {
 public:
  explicit Tape(Device& device) : device_(&device) {}
  Device& device() const { return *device_; }

  // ---- Storages
  Tensor tensor(std::string name, const Shape& shape, Layout layout, DType dtype = DType::kFloat32);
  template <class T>
  Array<T> array(std::string name, std::int64_t count) {
    return array_in<T>(storage(std::move(name), static_cast<std::size_t>(count) * sizeof(T)), count);
  }
  op::Statistics statistics(std::string name, std::int64_t channels);
  // `count` elements from `first` on of the persistent storage of that name.
  template <class T>
  Array<T> external(const std::string& name, std::int64_t first, std::int64_t count) {
    const std::int64_t end = first + count;
    return array_in<T>(external_storage(name, static_cast<std::size_t>(end) * sizeof(T)), end).slice(first, count);
  }
  // Forgotten after forward, and recomputed in backward.
  void drop_after_forward(StorageId storage) { storages_[storage].dropped = true; }
  // Alive over the whole program: inputs that are filled before the first step, results that are read after the last.
  void keep(StorageId storage) { storages_[storage].kept = true; }
  // Nobody wants its gradient: images.
  void set_constant(StorageId storage) { storages_[storage].constant = true; }

  // ---- Gradients
  // Of a tensor: the same slice of its storage's gradient.
  Tensor gradient(const Tensor& tensor);
  // Gives an external storage of `count` floats its gradients: flat, alive from the first backward step to the end.
  void make_gradients(const std::string& external, std::string name, std::int64_t count);
  // Of an array in such a storage.
  Array<float> gradient(const Array<float>& array) const;

  // ---- Operations
  // Records a forward operation. Throws Error where the device has no implementation, or where it reads what no
  // operation has written.
  void add(const std::string& name, const Operation& operation);
  // The same; where the device has no implementation, records nothing and says why in *why_not. The step that the layer
  // takes in its place carries the refusals.
  bool try_add(const std::string& name, const Operation& operation, std::string* why_not);
  // Records an operation that follows backward: kClip or kUpdate.
  void add_update(const std::string& name, Phase phase, const Operation& operation);

  // Schedules and plans. Throws Error where a gradient that is read has no writer.
  void freeze(bool with_backward);
  const Planner& planner() const { return planner_; }
  std::size_t bytes() const { return planner_.bytes(); }
  const std::vector<Step>& steps() const { return steps_; }
  std::size_t forward_steps() const { return forward_steps_; }
  // "features.conv0 forward: oneDNN 2.6.3: jit:avx512_core", a line each, of steps whose kernels say what they are.
  std::string implementations() const;

  // ---- Running
  // Lays the storages out at `memory`, bytes() long; externals lie where `persistent` has them.
  void bind(std::byte* memory, const Persistent& persistent);
  std::byte* memory() const { return base_; }
  // Where an operand lies. Throws Error before bind(), and where nothing uses it.
  template <class T>
  T* address(const Array<T>& array) const {
    return reinterpret_cast<T*>(address(array.storage) + array.start);
  }
  void* address(const Tensor& tensor) const { return address(tensor.storage) + tensor.start; }
  void run(bool clipping = false);  // the whole program
  // Runs forward step by step, and returns the name of the first layer that puts out a value that is not finite, or
  // "". Memory must have been cleared before the inputs were set, so that nothing but outputs is seen.
  std::string first_not_finite();
  // Fills memory with NaN as soon as its lifetime ends: a read too late shows in the loss.
  void set_poison(bool poison) { poison_ = poison; }

 private:
  friend class Gradients;  // engine/gradients.h: emits the steps of backward

  struct Storage {
    std::string name;
    std::size_t bytes = 0;  // of an external one, those that are used
    bool is_external = false, dropped = false, kept = false, kept_in_backward = false, constant = false;
    Tensor whole;               // where it holds a tensor
    std::int64_t channels = 0;  // where it holds statistics
    int producer = -1;          // the first forward step that writes it
    bool several_writers = false;
    StorageId gradient = -1, recomputed = -1;
    std::vector<bool> written;  // channels that forward has written, where it holds a tensor
    bool is_read = false;       // in forward
    int buffer = -1;            // of the planner
  };

  template <class T>
  static Array<T> array_in(StorageId storage, std::int64_t count) {
    Array<T> array;
    array.storage = storage;
    array.count = count;
    return array;
  }
  StorageId storage(std::string name, std::size_t bytes);
  StorageId external_storage(const std::string& name, std::size_t bytes);  // as many at least
  Storage& storage_of(const std::string& layer, StorageId id);
  bool try_prepare(Step& step);
  void prepare(Step& step);  // throws Error where the device has no implementation
  [[noreturn]] void fail_unprepared(const std::string& name, const Operation& operation,
                                    const std::string& why_not) const;
  void note_uses(const Step& step);
  void note_written(const Step& step, const Tensor& tensor);
  void require(StorageId storage);                 // emits what recomputes a dropped storage
  StorageId in_backward(StorageId storage) const;  // where a storage's contents are in backward
  void push_backward(Step step);
  void plan(bool with_backward);
  std::byte* address(StorageId storage) const;
  void run_steps(std::size_t begin, std::size_t end, bool clipping);

  Device* device_;
  std::vector<Storage> storages_;
  std::map<std::string, StorageId> externals_;
  std::vector<Step> steps_, updates_;
  std::map<std::string, std::vector<Refusal>> refused_;  // by layer: of operations that were tried before
  std::size_t forward_steps_ = 0;
  bool frozen_ = false;
  Planner planner_;
  std::byte* base_ = nullptr;
  std::vector<std::byte*> memory_;      // by storage
  std::vector<std::vector<int>> ends_;  // by step: buffers whose lifetime ends here
  bool poison_ = false;
};

}  // namespace densetree
