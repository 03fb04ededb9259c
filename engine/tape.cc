#include "engine/tape.h"

#include <algorithm>
#include <cstring>

#include "kernels/core/error.h"

namespace densetree {
namespace {

const char* suffix_of(Tape::Phase phase) {
  switch (phase) {
    case Tape::Phase::kForward:
      return " forward";
    case Tape::Phase::kRecompute:
      return " again";
    case Tape::Phase::kBackward:
      return " backward";
  }
  fail("tape: unknown phase {}", static_cast<int>(phase));
}

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

}  // namespace

Tensor Tensor::slice(std::int64_t begin, std::int64_t count) const {
  check(begin >= 0 && count > 0 && begin <= shape.c && count <= shape.c - begin,
        "{} channels from {} on are not within a tensor of {} channels", count, begin, shape.c);
  Tensor part = *this;
  part.first += begin;
  part.shape.c = count;
  return part;
}

View Run::view(const Tensor& tensor) const {
  const View whole = make_view(memory[tensor.storage], tensor.storage_shape, tensor.layout, tensor.dtype);
  return tensor.shape.c == whole.c ? whole : whole.slice(tensor.first, tensor.shape.c);
}

// ---- Building

StorageId Tape::storage(std::string name, std::size_t bytes, std::optional<DType> values) {
  storages_.emplace_back();
  storages_.back().values = values;
  storages_.back().name = std::move(name);
  storages_.back().bytes = bytes;
  return static_cast<StorageId>(storages_.size()) - 1;
}

Tensor Tape::tensor(std::string name, const Shape& shape, Layout layout, DType dtype) {
  const auto bytes = static_cast<std::size_t>(storage_elements(shape, layout)) * size_of(dtype);
  return {storage(std::move(name), bytes, dtype), shape, shape, 0, layout, dtype};
}

Tensor Tape::gradient(const Tensor& tensor) {
  if (storages_[tensor.storage].gradient < 0) {
    const StorageId id = storage("grad " + storages_[tensor.storage].name, storages_[tensor.storage].bytes);
    storages_[tensor.storage].gradient = id;
    storages_[id].written.assign(tensor.storage_shape.c, false);
  }
  Tensor result = tensor;
  result.storage = storages_[tensor.storage].gradient;
  return result;
}

std::string Tape::implementations() const {
  std::string text;
  for (const auto& operation : operations_) {
    if (const std::string what = operation->implementation(); !what.empty()) {
      text += fmt::format("{}: {}\n", operation->name(), what);
    }
  }
  return text;
}

void Tape::add(std::unique_ptr<Operation> operation) {
  const int index = static_cast<int>(operations_.size());
  for (const StorageId id : operation->forward_uses().writes) {
    if (storages_[id].producer < 0) {
      storages_[id].producer = index;
    }
  }
  operations_.push_back(std::move(operation));
}

// ---- Freezing

void Tape::freeze(bool with_backward) {
  check(schedule_.empty() && !operations_.empty(), "tape: freeze() needs a built tape, once");
  schedule_forward();
  if (with_backward) {
    schedule_backward();
  }
  const int last = static_cast<int>(schedule_.size()) - 1;
  for (StorageId id = 0; id < static_cast<StorageId>(storages_.size()); ++id) {
    if (storages_[id].kept) {
      touch(id, 0, false);
      touch(id, last, false);
    } else if (storages_[id].kept_in_backward && with_backward) {
      touch(id, static_cast<int>(forward_steps_), false);
      touch(id, last, false);
    }
  }
  planner_.freeze();
  ends_.resize(schedule_.size());
  for (int buffer = 0; buffer < static_cast<int>(planner_.buffers().size()); ++buffer) {
    if (planner_.buffer(buffer).last >= 0) {
      ends_[planner_.buffer(buffer).last].push_back(buffer);
    }
  }
}

void Tape::schedule_forward() {
  for (int index = 0; index < static_cast<int>(operations_.size()); ++index) {
    const Uses uses = operations_[index]->forward_uses();
    for (const StorageId id : uses.reads) {
      check(storages_[id].kept || (storages_[id].producer >= 0 && storages_[id].producer < index),
            "tape: '{}' reads '{}' before anything wrote it", operations_[index]->name(), storages_[id].name);
    }
    for (const StorageId id : uses.writes) {
      if (!storages_[id].written.empty()) {
        mark_overwritten(id);  // a loss gives its gradient at once
      }
    }
    push_step(index, Phase::kForward, uses);
  }
  forward_steps_ = schedule_.size();
}

void Tape::schedule_backward() {
  for (int index = static_cast<int>(operations_.size()) - 1; index >= 0; --index) {
    const std::optional<Uses> uses = operations_[index]->backward_uses();
    if (!uses) {
      continue;
    }
    for (const StorageId id : uses->reads) {
      require(id);
      const std::vector<bool>& written = storages_[id].written;
      check(written.empty() || std::find(written.begin(), written.end(), true) != written.end(),
            "tape: the backward of '{}' reads '{}', which no consumer wrote", operations_[index]->name(),
            storages_[id].name);
    }
    for (const StorageId id : uses->writes) {
      mark_overwritten(id);
    }
    const int step = push_step(index, Phase::kBackward, *uses);
    if (uses->accumulates) {
      schedule_[step].mode = mark_written(*uses->accumulates);
    }
  }
}

void Tape::require(StorageId id) {
  if (!storages_[id].dropped || storages_[id].second_buffer >= 0) {
    return;
  }
  const int producer = storages_[id].producer;
  const Uses uses = operations_[producer]->forward_uses();
  for (const StorageId read : uses.reads) {
    require(read);
  }
  storages_[id].second_buffer = planner_.book(storages_[id].name + " (again)", storages_[id].bytes);
  const int step = push_step(producer, Phase::kRecompute, uses);
  moves_[step].push_back(id);
}

int Tape::push_step(int operation, Phase phase, const Uses& uses) {
  const int step = static_cast<int>(schedule_.size());
  const bool backward = phase != Phase::kForward;
  schedule_.push_back({operation, phase});
  moves_.emplace_back();
  labels_.push_back(operations_[operation]->name() + suffix_of(phase));
  for (const StorageId id : uses.reads) {
    touch(id, step, backward);
  }
  for (const StorageId id : uses.writes) {
    touch(id, step, backward);
  }
  if (uses.accumulates) {
    touch(uses.accumulates->storage, step, backward);
  }
  if (uses.workspace > 0) {
    schedule_[step].workspace = planner_.book("workspace " + operations_[operation]->name(), uses.workspace);
    planner_.use(schedule_[step].workspace, step);
  }
  return step;
}

void Tape::touch(StorageId id, int step, bool backward) {
  Storage& s = storages_[id];
  if (backward && s.dropped) {
    check(s.second_buffer >= 0, "tape: '{}' was dropped after forward and not made again", s.name);
    planner_.use(s.second_buffer, step);
    return;
  }
  if (s.buffer < 0) {
    s.buffer = planner_.book(s.name, s.bytes);
  }
  planner_.use(s.buffer, step);
}

GradMode Tape::mark_written(const Tensor& gradient) {
  std::vector<bool>& written = storages_[gradient.storage].written;
  const auto begin = written.begin() + gradient.first, end = begin + gradient.shape.c;
  const auto count = std::count(begin, end, true);
  check(count == 0 || count == gradient.shape.c, "tape: '{}' is written in part when a wider writer comes",
        storages_[gradient.storage].name);
  std::fill(begin, end, true);
  return count == 0 ? GradMode::kOverwrite : GradMode::kAccumulate;
}

void Tape::mark_overwritten(StorageId id) {
  std::vector<bool>& written = storages_[id].written;
  check(std::find(written.begin(), written.end(), true) == written.end(),
        "tape: '{}' has two consumers whose backward overwrites it", storages_[id].name);
  std::fill(written.begin(), written.end(), true);
}

// ---- Running

void Tape::bind(std::byte* memory) {
  base_ = memory;
  memory_.assign(storages_.size(), nullptr);
  for (std::size_t id = 0; id < storages_.size(); ++id) {
    if (storages_[id].buffer >= 0) {
      memory_[id] = base_ + planner_.buffer(storages_[id].buffer).offset;
    }
  }
}

void Tape::run() {
  run_steps(0, schedule_.size());
}
void Tape::run_forward() {
  run_steps(0, forward_steps_);
}

std::string Tape::first_not_finite() {
  std::vector<std::byte> bytes;
  for (std::size_t index = 0; index < forward_steps_; ++index) {
    run_steps(index, index + 1);
    const Operation& operation = *operations_[schedule_[index].operation];
    for (const StorageId id : operation.forward_uses().writes) {
      if (storages_[id].values) {
        bytes.resize(storages_[id].bytes);
        device_.download(bytes.data(), memory_[id], bytes.size());
        if (!all_finite(bytes, *storages_[id].values)) {
          return operation.name();
        }
      }
    }
  }
  return "";
}

void Tape::run_steps(std::size_t begin, std::size_t end) {
  check(base_ != nullptr, "tape: run() before bind()");
  for (StorageId id = 0; begin == 0 && id < static_cast<StorageId>(storages_.size()); ++id) {
    if (storages_[id].dropped && storages_[id].buffer >= 0) {
      memory_[id] = base_ + planner_.buffer(storages_[id].buffer).offset;  // where the last step moved it from
    }
  }
  for (std::size_t index = begin; index < end; ++index) {
    const Step& step = schedule_[index];
    for (const StorageId id : moves_[index]) {
      memory_[id] = base_ + planner_.buffer(storages_[id].second_buffer).offset;
    }
    void* workspace = step.workspace < 0 ? nullptr : base_ + planner_.buffer(step.workspace).offset;
    const Run run{device_, memory_, workspace, step.phase == Phase::kRecompute, step.mode};
    const Range range(device_, labels_[index].c_str());
    if (step.phase == Phase::kBackward) {
      operations_[step.operation]->backward(run);
    } else {
      operations_[step.operation]->forward(run);
    }
    if (poison_ && index + 1 < schedule_.size()) {
      for (const int buffer : ends_[index]) {
        device_.fill(base_ + planner_.buffer(buffer).offset, 0xFF, planner_.buffer(buffer).bytes);
      }
    }
  }
}

}  // namespace densetree
