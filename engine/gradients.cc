#include "engine/gradients.h"

#include <algorithm>
#include <utility>

#include "kernels/core/error.h"

namespace densetree {
namespace {

// An array as a tensor of one row.
Tensor row_of(const Array<float>& array) {
  Tensor row = make_view(nullptr, {1, array.count, 1, 1}, Layout::kPlanar);
  row.storage = array.storage;
  row.start = array.start;
  return row;
}

void add_unique(std::vector<StorageId>& list, StorageId id) {
  if (std::find(list.begin(), list.end(), id) == list.end()) {
    list.push_back(id);
  }
}

// ---- One rule for each operation that has a gradient ----------------------------------------------

void backward(const op::Convolution& o, Gradients& g) {
  const Tensor dy = g.of(o.y);
  g.emit(op::ConvolutionWeightGradient{.shape = o.shape, .x = o.x, .dy = dy, .dw = g.to(o.w)});
  if (const Tensor dx = g.to(o.x); dx.present()) {
    g.emit(op::ConvolutionDataGradient{.shape = o.shape, .dy = dy, .w = o.w, .dx = dx});
  }
}

void backward(const op::ChannelStatistics& o, Gradients& g) {
  g.denormalize(o.y.present() ? o.y : o.x, o.statistics, o.x);
}

void backward(const op::AffineRelu& o, Gradients& g) {
  const Tensor dy = g.of(o.y);
  const auto [s, sums, mode] = g.normalized(o.x, o.affine.mean);
  g.emit(op::AffineReluGradient{.dy = dy,
                                .x = o.x,
                                .affine = o.affine,
                                .mode = mode,
                                .s = s,
                                .sums = sums,
                                .dgamma = g.to(o.affine.gamma),
                                .dbeta = g.to(o.affine.beta)});
}

void backward(const op::NormConvolution& o, Gradients& g) {
  if (o.statistics.present()) {
    g.denormalize(o.y, o.statistics, o.y);
  }
  const Tensor dy = g.of(o.y);
  const auto [s, sums, mode] = g.normalized(o.x, o.affine.mean);
  g.emit(op::NormConvolutionGradient{.shape = o.shape,
                                     .x = o.x,
                                     .affine = o.affine,
                                     .w = o.w,
                                     .dy = dy,
                                     .z = o.z,
                                     .mode = mode,
                                     .s = s,
                                     .sums = sums,
                                     .dw = g.to(o.w),
                                     .dgamma = g.to(o.affine.gamma),
                                     .dbeta = g.to(o.affine.beta)});
}

void backward(const op::Copy& o, Gradients& g) {
  g.pass(g.of(o.y), o.x);
}

void backward(const op::Add& o, Gradients& g) {
  g.pass(g.of(o.y), o.x);
}

void backward(const op::MaxPool& o, Gradients& g) {
  const Tensor dy = g.of(o.y);
  if (const Tensor dx = g.to(o.x); dx.present()) {
    g.emit(op::MaxPoolGradient{.window = o.window, .dy = dy, .argmax = o.argmax, .dx = dx});
  }
}

void backward(const op::AveragePool& o, Gradients& g) {
  const Tensor dy = g.of(o.y);
  if (const Tensor dx = g.to(o.x); dx.present()) {
    g.emit(op::AveragePoolGradient{.kernel = o.kernel, .dy = dy, .dx = dx});
  }
}

void backward(const op::GlobalAveragePool& o, Gradients& g) {
  const Tensor dy = g.of(o.y);
  if (const Tensor dx = g.to(o.x); dx.present()) {
    g.emit(op::GlobalAveragePoolGradient{.dy = dy, .dx = dx});
  }
}

void backward(const op::Linear& o, Gradients& g) {
  const Tensor dy = g.of(o.y);
  g.emit(op::LinearGradient{.x = o.x, .w = o.w, .dy = dy, .dx = g.to(o.x), .dw = g.to(o.w), .db = g.to(o.b)});
}

void backward(const op::Loss& o, Gradients& g) {
  if (o.dz.present()) {
    g.adopt(o.dz, o.z);
  }
}

// Running averages take no part in the loss.
void backward(const op::UpdateRunning&, Gradients&) {}

template <class Op>
void backward(const Op& o, Gradients&) {
  fail("tape: {} has no gradient; it cannot be part of a network that trains", o.kName);
}

}  // namespace

void Gradients::emit() {
  seen_.resize(tape_.storages_.size());
  for (const Step& step : tape_.steps_) {
    note_reads(step.operation);
  }
  for (std::size_t left = tape_.forward_steps_; left > 0; --left) {
    index_ = left - 1;
    const Operation operation = tape_.steps_[index_].operation;  // a copy: emitting appends to the steps
    if (!makes_constants(operation)) {
      std::visit([&](const auto& o) { backward(o, *this); }, operation);
    }
  }
}

void Gradients::note_reads(const Operation& operation) {
  StorageId normalized = -1;
  std::visit(
      [&](const auto& o) {
        if constexpr (requires { o.affine.mean; }) {
          normalized = o.x.storage;
          add_unique(seen_[normalized].normalized_by, o.affine.mean.storage);
          add_unique(seen_[o.affine.mean.storage].normalizes, normalized);
        }
      },
      operation);
  // Statistics that are taken where a tensor lies have a gradient of their own.
  const auto* taken = std::get_if<op::ChannelStatistics>(&operation);
  const bool only_taken = taken != nullptr && !taken->y.present();
  for_each_operand(operation, [&](Access access, const auto& operand) {
    if (access == Access::kRead && operand.storage != normalized && !only_taken) {
      seen_[operand.storage].plainly = true;
    }
  });
}

bool Gradients::makes_constants(const Operation& operation) const {
  int constants = 0, others = 0;
  for_each_operand(operation, [&]<class T>(Access access, const T& operand) {
    if (std::is_same_v<T, Tensor> && access != Access::kRead) {
      ++(tape_.storages_[operand.storage].constant ? constants : others);
    }
  });
  return constants > 0 && others == 0;
}

void Gradients::emit(const Operation& operation) {
  push(operation);
  for (const op::Add& add : std::exchange(pending_, {})) {
    push(add);
  }
}

void Gradients::push(const Operation& operation) {
  for_each_operand(operation, [&](Access, const auto& operand) { tape_.require(operand.storage); });
  Step step{.name = tape_.steps_[index_].name, .phase = Phase::kBackward, .operation = operation};
  tape_.prepare(step);
  tape_.push_backward(std::move(step));
}

// ---- Gradients of tensors and weights

std::vector<bool>& Gradients::written_of(const Tensor& gradient) {
  written_.resize(std::max(written_.size(), tape_.storages_.size()));
  std::vector<bool>& written = written_[gradient.storage];
  written.resize(tape_.storages_[gradient.storage].whole.c);
  return written;
}

bool Gradients::is_written(const Tensor& y) const {
  const StorageId gradient = tape_.storages_[y.storage].gradient;
  if (gradient < 0 || gradient >= static_cast<StorageId>(written_.size()) || written_[gradient].empty()) {
    return false;
  }
  const auto begin = written_[gradient].begin() + y.first_channel();
  return std::find(begin, begin + y.c, true) != begin + y.c;
}

Tensor Gradients::of(const Tensor& y) {
  check(is_written(y), "tape: the backward of '{}' reads the gradient of '{}', which no consumer wrote",
        tape_.steps_[index_].name, tape_.storages_[y.storage].name);
  const Tensor dy = tape_.gradient(y);
  clear_rest(dy, {});
  return dy;
}

GradMode Gradients::mark_written(const Tensor& gradient) {
  std::vector<bool>& written = written_of(gradient);
  const auto begin = written.begin() + gradient.first_channel(), end = begin + gradient.c;
  const bool is_first = std::find(begin, end, true) == end;
  std::fill(begin, end, true);
  return is_first ? GradMode::kOverwrite : GradMode::kAccumulate;
}

void Gradients::clear_rest(const Tensor& gradient, const op::GradientSums& sums) {
  const std::int64_t first = gradient.first_channel();
  for (std::int64_t begin = 0; begin < gradient.c; ++begin) {
    const std::vector<bool>& written = written_of(gradient);
    std::int64_t end = begin;
    while (end < gradient.c && !written[first + end]) {
      ++end;
    }
    if (end == begin) {
      continue;
    }
    const Tensor part = gradient.slice(begin, end - begin);
    push(op::Clear{.y = part});
    for (const Array<double>& sum : {sums.s, sums.s_xhat}) {
      if (sum.present()) {
        push(op::Clear{.memory = bytes_of(sum.slice(begin, end - begin))});
      }
    }
    mark_written(part);
    begin = end;
  }
}

Gradients::Target Gradients::add_to(const Tensor& x) {
  const Tensor dx = tape_.gradient(x);
  if (is_written(x)) {
    clear_rest(dx, {});
  }
  return {dx, mark_written(dx)};
}

Tensor Gradients::to(const Tensor& x) {
  if (tape_.storages_[x.storage].constant) {
    return {};
  }
  const auto [dx, mode] = add_to(x);
  if (mode == GradMode::kOverwrite) {
    return dx;
  }
  const Tensor part = tape_.tensor("part of grad " + tape_.storages_[x.storage].name, x.shape(), x.layout, x.dtype);
  pending_.push_back({.x = part, .y = dx});
  return part;
}

Array<float> Gradients::to(const Array<float>& w) {
  const Array<float> dw = tape_.gradient(w);
  const auto overlaps = [&](const Array<float>& other) {
    return other.storage == dw.storage && other.start < dw.start + dw.bytes() && dw.start < other.start + other.bytes();
  };
  const auto found = std::find_if(written_arrays_.begin(), written_arrays_.end(), overlaps);
  if (found == written_arrays_.end()) {
    written_arrays_.push_back(dw);
    return dw;
  }
  check(found->start == dw.start && found->count == dw.count,
        "tape: '{}' shares a part of its weights with another layer; all or none can be shared",
        tape_.steps_[index_].name);
  const Array<float> part = tape_.array<float>("part of " + tape_.storages_[dw.storage].name, dw.count);
  pending_.push_back({.x = row_of(part), .y = row_of(dw)});
  return part;
}

void Gradients::adopt(const Tensor& dz, const Tensor& z) {
  Tape::Storage& storage = tape_.storages_[z.storage];
  if (storage.gradient < 0 && z.whole) {
    storage.gradient = dz.storage;
    mark_written(dz);
  } else {
    pass(dz, z);
  }
}

void Gradients::pass(const Tensor& dy, const Tensor& x) {
  if (tape_.storages_[x.storage].constant) {
    return;
  }
  const auto [dx, mode] = add_to(x);
  if (mode == GradMode::kOverwrite) {
    emit(op::Copy{.x = dy, .y = dx});
  } else {
    emit(op::Add{.x = dy, .y = dx});
  }
}

// ---- Batch norm

Gradients::Set& Gradients::set_of(const Tensor& x, const Array<float>& mean) {
  sets_.resize(std::max(sets_.size(), tape_.storages_.size()));
  Set& set = sets_[mean.storage];
  if (set.channels > 0) {
    return set;
  }
  const std::string name = tape_.storages_[x.storage].name;
  const Seen &read = seen_[x.storage], &statistics = seen_[mean.storage];
  const bool alone = !read.plainly && read.normalized_by.size() == 1 && statistics.normalizes.size() == 1;
  set.channels = tape_.storages_[mean.storage].channels;
  check(set.channels > 0, "tape: '{}' is no storage of statistics", tape_.storages_[mean.storage].name);
  set.in_place = alone && first_of(mean) == x.first_channel();
  set.s = set.in_place ? Tensor()
                       : tape_.tensor("grad " + name + " normalized", {x.n, set.channels, x.h, x.w}, x.layout, x.dtype);
  set.sums = tape_.array<double>("gradient sums of " + name, 2 * set.channels);
  return set;
}

Gradients::Normalized Gradients::part_of(const Set& set, const Tensor& x, const Array<float>& mean) const {
  const std::int64_t first = first_of(mean);
  return {set.in_place ? tape_.gradient(x) : set.s.slice(first, x.c),
          {set.sums.slice(first, x.c), set.sums.slice(set.channels + first, x.c)}};
}

Gradients::Normalized Gradients::normalized(const Tensor& x, const Array<float>& mean) {
  Normalized part = part_of(set_of(x, mean), x, mean);
  const std::vector<bool>& written = written_of(part.s);
  const auto begin = written.begin() + part.s.first_channel();
  if (std::find(begin, begin + x.c, true) != begin + x.c) {
    clear_rest(part.s, part.sums);
  }
  part.mode = mark_written(part.s);
  return part;
}

void Gradients::denormalize(const Tensor& x, const op::Statistics& statistics, const Tensor& source) {
  if (tape_.storages_[source.storage].constant) {
    return;
  }
  const bool copied = source.storage != x.storage;
  const auto id = static_cast<std::size_t>(statistics.mean.storage);
  const Set* set = id < sets_.size() && sets_[id].channels > 0 ? &sets_[id] : nullptr;
  if (set != nullptr) {
    const Normalized part = part_of(*set, x, statistics.mean);
    clear_rest(part.s, part.sums);
    const auto [dx, mode] = set->in_place && !copied ? Target{part.s, GradMode::kOverwrite} : add_to(source);
    push(op::NormalizeGradient{
        .s = part.s, .x = x, .statistics = statistics, .sums = part.sums, .mode = mode, .dx = dx});
  }
  const bool is_read_plainly = (set == nullptr || !set->in_place) && is_written(x);
  if (copied && is_read_plainly) {
    pass(of(x), source);
  }
}

}  // namespace densetree
