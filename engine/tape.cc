#include "engine/tape.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "engine/gradients.h"
#include "kernels/core/error.h"

namespace densetree {
namespace {

// Infinities and NaN have all bits of the exponent set.
template <class Bits>
bool all_finite(std::span<const std::byte> numbers, Bits exponent) {
  for (std::size_t at = 0; at < numbers.size(); at += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, &numbers[at], sizeof bits);
    if ((bits & exponent) == exponent) {
      return false;
    }
  }
  return true;
}
bool all_finite(std::span<const std::byte> numbers, DType type) {
  return type == DType::kBFloat16 ? all_finite<std::uint16_t>(numbers, 0x7F80)
                                  : all_finite<std::uint32_t>(numbers, 0x7F800000);
}

std::string why_refused(const std::vector<Refusal>& refusals) {
  return refusals.empty() ? "it has no implementation" : refusals.back().reason;
}

template <class T>
void place(Array<T>& array, std::byte* storage) {
  array.data = reinterpret_cast<T*>(storage + array.start);
}
void place(Tensor& tensor, std::byte* storage) {
  tensor.data = storage + tensor.start;
}

}  // namespace

// ---- Storages

StorageId Tape::storage(std::string name, std::size_t bytes) {
  storages_.emplace_back();
  storages_.back().name = std::move(name);
  storages_.back().bytes = bytes;
  return static_cast<StorageId>(storages_.size()) - 1;
}

StorageId Tape::external_storage(const std::string& name, std::size_t bytes) {
  const auto [place, is_new] = externals_.try_emplace(name, static_cast<StorageId>(storages_.size()));
  if (is_new) {
    storages_[storage(name, 0)].is_external = true;
  }
  Storage& s = storages_[place->second];
  s.bytes = std::max(s.bytes, bytes);
  return place->second;
}

Tape::Storage& Tape::storage_of(const std::string& layer, StorageId id) {
  check(id >= 0 && id < static_cast<StorageId>(storages_.size()),
        "tape: an operand of '{}' lies in none of the tape's storages", layer);
  return storages_[id];
}

Tensor Tape::tensor(std::string name, const Shape& shape, Layout layout, DType dtype) {
  const auto bytes = static_cast<std::size_t>(storage_elements(shape, layout)) * size_of(dtype);
  Tensor tensor = make_view(nullptr, shape, layout, dtype);
  tensor.storage = storage(std::move(name), bytes);
  storages_[tensor.storage].whole = tensor;
  return tensor;
}

op::Statistics Tape::statistics(std::string name, std::int64_t channels) {
  const Array<float> all = array<float>(std::move(name), 3 * channels);
  storages_[all.storage].channels = channels;
  return {all.slice(0, channels), all.slice(channels, channels), all.slice(2 * channels, channels)};
}

// ---- Gradients

Tensor Tape::gradient(const Tensor& tensor) {
  if (storages_[tensor.storage].gradient < 0) {
    const Tensor whole = storages_[tensor.storage].whole;
    const StorageId id =
        this->tensor("grad " + storages_[tensor.storage].name, whole.shape(), whole.layout, whole.dtype).storage;
    storages_[tensor.storage].gradient = id;
  }
  Tensor result = tensor;
  result.storage = storages_[tensor.storage].gradient;
  return result;
}

void Tape::make_gradients(const std::string& external, std::string name, std::int64_t count) {
  const StorageId gradients = array<float>(std::move(name), count).storage;
  storages_[gradients].kept_in_backward = true;
  storages_[external_storage(external, 0)].gradient = gradients;
}

Array<float> Tape::gradient(const Array<float>& array) const {
  const Storage& s = storages_[array.storage];
  check(s.gradient >= 0, "tape: '{}' has no gradients", s.name);
  Array<float> result = array;
  result.storage = s.gradient;
  return result;
}

// ---- Operations

void Tape::add(const std::string& name, const Operation& operation) {
  std::string why_not;
  if (!try_add(name, operation, &why_not)) {
    fail_unprepared(name, operation, why_not);
  }
}

bool Tape::try_add(const std::string& name, const Operation& operation, std::string* why_not) {
  check(!frozen_, "tape: '{}' is added after it was frozen", name);
  Step step{.name = name, .operation = operation};
  if (!try_prepare(step)) {
    *why_not = why_refused(step.refusals);
    std::move(step.refusals.begin(), step.refusals.end(), std::back_inserter(refused_[name]));
    return false;
  }
  const std::vector<Refusal> before = std::exchange(refused_[name], {});
  step.refusals.insert(step.refusals.begin(), before.begin(), before.end());
  note_uses(step);
  steps_.push_back(std::move(step));
  return true;
}

bool Tape::try_prepare(Step& step) {
  try {
    step.kernel = device_->prepare(step.operation, &step.refusals);
  } catch (const Error& e) {
    fail("{}: {}", step.name, e.what());
  }
  step.label = fmt::format("{} {}", step.name, name_of(step.phase));
  return step.kernel != nullptr;
}

void Tape::prepare(Step& step) {
  if (!try_prepare(step)) {
    fail_unprepared(step.name, step.operation, why_refused(step.refusals));
  }
}

// Apart, because asking a device for its name takes a while.
void Tape::fail_unprepared(const std::string& name, const Operation& operation, const std::string& why_not) const {
  fail("{}: {} has no {}: {}", name, device_->info().name, name_of(operation), why_not);
}

void Tape::note_uses(const Step& step) {
  for_each_operand(step.operation, [&]<class T>(Access access, const T& operand) {
    Storage& s = storage_of(step.name, operand.storage);
    const bool is_made = s.kept || s.is_external || s.producer >= 0;
    check(access == Access::kWrite || is_made, "tape: '{}' reads '{}' before anything wrote it", step.name, s.name);
    check(access != Access::kAdd || s.is_external || !s.is_read,
          "tape: '{}' changes '{}', which an operation before it reads: the backward of that would see the new value",
          step.name, s.name);
    if (access == Access::kRead) {
      s.is_read = true;
      return;
    }
    s.several_writers = s.producer >= 0;
    s.producer = s.several_writers ? s.producer : static_cast<int>(steps_.size());
    if constexpr (std::is_same_v<T, Tensor>) {
      if (access == Access::kWrite) {
        note_written(step, operand);
      }
    }
  });
}

void Tape::note_written(const Step& step, const Tensor& tensor) {
  Storage& s = storages_[tensor.storage];
  s.written.resize(s.whole.c);
  const auto begin = s.written.begin() + tensor.first_channel(), end = begin + tensor.c;
  check(std::find(begin, end, true) == end, "tape: '{}' overwrites channels of '{}' that are written already",
        step.name, s.name);
  std::fill(begin, end, true);
}

void Tape::add_update(const std::string& name, Phase phase, const Operation& operation) {
  check(!frozen_, "tape: '{}' is added after it was frozen", name);
  Step step{.name = name, .phase = phase, .operation = operation};
  for_each_operand(operation, [&](Access, const auto& operand) {
    const Storage& s = storage_of(name, operand.storage);
    check(!s.dropped, "tape: '{}' uses '{}', which is dropped after forward", name, s.name);
  });
  prepare(step);
  updates_.push_back(std::move(step));
}

std::string Tape::implementations() const {
  std::string text;
  for (const Step& step : steps_) {
    if (const std::string what = step.kernel->implementation(); !what.empty() && step.phase != Phase::kRecompute) {
      text += fmt::format("{}: {}\n", step.label, what);
    }
  }
  return text;
}

// ---- Freezing

void Tape::freeze(bool with_backward) {
  check(!frozen_ && !steps_.empty(), "tape: freeze() needs a built tape, once");
  frozen_ = true;
  forward_steps_ = steps_.size();
  if (with_backward) {
    Gradients(*this).emit();
    std::move(updates_.begin(), updates_.end(), std::back_inserter(steps_));
  }
  plan(with_backward);
}

StorageId Tape::in_backward(StorageId id) const {
  return storages_[id].recomputed >= 0 ? storages_[id].recomputed : id;
}

void Tape::require(StorageId id) {
  if (!storages_[id].dropped || storages_[id].recomputed >= 0) {
    return;
  }
  check(storages_[id].producer >= 0, "tape: '{}' is dropped, and no operation makes it", storages_[id].name);
  const Step& made_by = steps_[storages_[id].producer];
  check(!storages_[id].several_writers, "tape: '{}' is written by several operations, so it cannot be recomputed",
        storages_[id].name);
  Step step{.name = made_by.name,
            .phase = Phase::kRecompute,
            .operation = recomputed(made_by.operation),
            .kernel = made_by.kernel};
  for_each_operand(step.operation, [&](Access access, const auto& operand) {
    if (access == Access::kRead) {
      require(operand.storage);
    } else if (storages_[operand.storage].dropped) {
      const Storage& first = storages_[operand.storage];
      const StorageId recomputed = storage(first.name + " (recomputed)", first.bytes);
      storages_[operand.storage].recomputed = recomputed;
    }
  });
  push_backward(std::move(step));
}

void Tape::push_backward(Step step) {
  for_each_operand(step.operation, [&](Access, auto& operand) { operand.storage = in_backward(operand.storage); });
  step.label = fmt::format("{} {}", step.name, name_of(step.phase));
  steps_.push_back(std::move(step));
}

void Tape::plan(bool with_backward) {
  const auto use = [&](StorageId id, int step) {
    Storage& s = storages_[id];
    if (!s.is_external) {
      s.buffer = s.buffer < 0 ? planner_.book(s.name, s.bytes) : s.buffer;
      planner_.use(s.buffer, step);
    }
  };
  for (int index = 0; index < static_cast<int>(steps_.size()); ++index) {
    Step& step = steps_[index];
    for_each_operand(step.operation, [&](Access, const auto& operand) { use(operand.storage, index); });
    if (const std::size_t bytes = step.kernel->workspace_bytes(); bytes > 0) {
      step.workspace = planner_.book("workspace " + step.name, bytes);
      planner_.use(step.workspace, index);
    }
  }
  const int last = static_cast<int>(steps_.size()) - 1;
  for (StorageId id = 0; id < static_cast<StorageId>(storages_.size()); ++id) {
    const bool in_backward_only = storages_[id].kept_in_backward && with_backward;
    if (storages_[id].kept || in_backward_only) {
      use(id, storages_[id].kept ? 0 : static_cast<int>(forward_steps_));
      use(id, last);
    }
  }
  planner_.freeze();
  ends_.resize(steps_.size());
  for (int buffer = 0; buffer < static_cast<int>(planner_.buffers().size()); ++buffer) {
    if (planner_.buffer(buffer).last >= 0) {
      ends_[planner_.buffer(buffer).last].push_back(buffer);
    }
  }
}

// ---- Running

void Tape::bind(std::byte* memory, const Persistent& persistent) {
  base_ = memory;
  memory_.assign(storages_.size(), nullptr);
  for (std::size_t id = 0; id < storages_.size(); ++id) {
    if (storages_[id].is_external) {
      memory_[id] = static_cast<std::byte*>(persistent.at(storages_[id].name, storages_[id].bytes));
    } else if (storages_[id].buffer >= 0) {
      memory_[id] = base_ + planner_.buffer(storages_[id].buffer).offset;
    }
  }
  for (Step& step : steps_) {
    for_each_operand(step.operation, [&](Access, auto& operand) { place(operand, memory_[operand.storage]); });
  }
}

std::byte* Tape::address(StorageId storage) const {
  check(!memory_.empty() && memory_.at(storage) != nullptr, "tape: '{}' has no memory", storages_.at(storage).name);
  return memory_[storage];
}

void Tape::run(bool clipping) {
  run_steps(0, steps_.size(), clipping);
}

std::string Tape::first_not_finite() {
  std::vector<std::byte> bytes;
  for (std::size_t index = 0; index < forward_steps_; ++index) {
    run_steps(index, index + 1, false);
    bool finite = true;
    for_each_operand(steps_[index].operation, [&]<class T>(Access access, const T& operand) {
      if constexpr (std::is_same_v<T, Tensor>) {
        if (access != Access::kRead) {
          bytes.resize(storages_[operand.storage].bytes);
          device_->download(bytes.data(), memory_[operand.storage], bytes.size());
          finite &= all_finite(bytes, operand.dtype);
        }
      }
    });
    if (!finite) {
      return steps_[index].name;
    }
  }
  return "";
}

void Tape::run_steps(std::size_t begin, std::size_t end, bool clipping) {
  check(base_ != nullptr, "tape: run() before bind()");
  for (std::size_t index = begin; index < end; ++index) {
    const Step& step = steps_[index];
    if (step.phase != Phase::kClip || clipping) {
      const Range range(*device_, step.label.c_str());
      step.kernel->run(step.operation, step.workspace < 0 ? nullptr : base_ + planner_.buffer(step.workspace).offset);
    }
    if (poison_ && index + 1 < steps_.size()) {
      for (const int buffer : ends_[index]) {
        device_->fill(base_ + planner_.buffer(buffer).offset, 0xFF, planner_.buffer(buffer).bytes);
      }
    }
  }
}

}  // namespace densetree
