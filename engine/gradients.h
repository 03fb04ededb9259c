// Reverse mode: what the forward operations of a tape become in backward. gradients.cc has one rule for each operation;
// here is what the rules ask for.
//
// The gradient of a tensor that several operations read is the sum of what each gives: the first overwrites it, later
// ones add. An operation that can only overwrite writes into a tensor of its own then, which is added. Channels that
// nobody wrote are cleared where others of the same tensor are read or added to.
//
// Batch norm is factored (kernels/operations.h): operations that see x through its statistics add to S = ∂L/∂x̂. Where
// nobody reads x in another way, and by one set of statistics alone, S lies where ∂L/∂x will, and is turned into it in
// place.
#pragma once

#include <vector>

#include "engine/tape.h"

namespace densetree {

class Gradients {
 public:
  explicit Gradients(Tape& tape) : tape_(tape) {}

  // Emits the backward of all forward operations, the last one first.
  void emit();

  // ---- For the rules
  void emit(const Operation& operation);
  // ∂L/∂y, complete. Throws Error where nobody wrote it.
  Tensor of(const Tensor& y);
  // Where the next emitted operation overwrites ∂L/∂x, or ∂L/∂w of a weight. Not present where x is constant.
  Tensor to(const Tensor& x);
  Array<float> to(const Array<float>& w);
  // ∂L/∂x += or = dy.
  void pass(const Tensor& dy, const Tensor& x);
  // Where an operation that can do both writes ∂L/∂x.
  struct Target {
    Tensor dx;
    GradMode mode = GradMode::kOverwrite;
  };
  Target add_to(const Tensor& x);
  // ∂L/∂z += or = dz, which forward wrote: dz itself, where nobody else has written ∂L/∂z.
  void adopt(const Tensor& dz, const Tensor& z);

  // S of x under the statistics whose mean is given, and its sums, to be added to.
  struct Normalized {
    Tensor s;
    op::GradientSums sums;
    GradMode mode = GradMode::kOverwrite;
  };
  Normalized normalized(const Tensor& x, const Array<float>& mean);
  // From S of x to ∂L/∂source, where the statistics are those of x, which is `source` or a copy of it; and from ∂L/∂x,
  // where a copy was read as it is.
  void denormalize(const Tensor& x, const op::Statistics& statistics, const Tensor& source);

 private:
  // Of one set of statistics: S of the channels that it covers, and the sums.
  struct Set {
    Tensor s;
    Array<double> sums;  // [2][channels]
    std::int64_t channels = 0;
    bool in_place = false;  // S lies in the gradient of x
  };
  // How forward operations see the contents of a storage: as they are, or normalised by statistics in one of these; and
  // what the statistics in it normalise.
  struct Seen {
    bool plainly = false;
    std::vector<StorageId> normalized_by, normalizes;
  };
  void note_reads(const Operation& operation);
  void push(const Operation& operation);
  bool makes_constants(const Operation& operation) const;  // and nothing else: its backward is left out
  Set& set_of(const Tensor& x, const Array<float>& mean);
  static std::int64_t first_of(const Array<float>& mean) {
    return static_cast<std::int64_t>(mean.start / sizeof(float));
  }
  Normalized part_of(const Set& set, const Tensor& x, const Array<float>& mean) const;

  bool is_written(const Tensor& y) const;  // any of ∂L/∂y
  std::vector<bool>& written_of(const Tensor& gradient);
  GradMode mark_written(const Tensor& gradient);
  // Clears what is not written yet of a gradient, and of the sums beside it where there are any.
  void clear_rest(const Tensor& gradient, const op::GradientSums& sums);

  Tape& tape_;
  std::vector<Seen> seen_;                    // by storage
  std::size_t index_ = 0;                     // the forward step whose backward is emitted
  std::vector<std::vector<bool>> written_;    // by storage: channels of gradients that have a writer
  std::vector<Array<float>> written_arrays_;  // gradients of weights that have a writer
  std::vector<Set> sets_;                     // by the storage of the statistics
  std::vector<op::Add> pending_;              // follow the next operation
};

}  // namespace densetree
