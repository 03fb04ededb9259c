// What a backend chooses from: the implementations of an operation in order, the fastest first and the reference last.
//
// A backend has a Context (its threads, its stream) and, in its namespace, an overload set
//   void compute(const Context&, const op::Copy&, void* workspace);
// for operations that need no preparing, with
//   std::size_t scratch_bytes(const Context&, const op::L2Norm&);
// where they need workspace; without one they get none. An operation that has neither `compute` nor a list of its own
// does not compile.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/device.h"

namespace densetree {

template <class Op, class Context>
std::size_t scratch_bytes(const Context&, const Op&) {
  return 0;
}

// Of an operation that needs no preparing.
template <class Op, class Context>
class DirectKernel final : public Kernel {
 public:
  DirectKernel(const Context& context, const Op& operation)
      : context_(context), bytes_(scratch_bytes(context, operation)) {}
  std::size_t workspace_bytes() const override { return bytes_; }
  void run(const Operation& operation, void* workspace) override {
    compute(context_, std::get<Op>(operation), workspace);
  }

 private:
  const Context& context_;
  std::size_t bytes_;
};

template <class Op, class Context>
struct Implementation {
  const char* name;
  // Null where it does not take the operation, and the reason in *why_not.
  std::unique_ptr<Kernel> (*make)(Context& context, const Op& operation, std::string* why_not);
};

// The kernel of the first implementation that takes the operation. Null where none does.
template <class Op, class Context>
std::unique_ptr<Kernel> first_of(std::span<const Implementation<Op, Context>> list, Context& context,
                                 const Op& operation, std::vector<Refusal>* refusals) {
  for (const Implementation<Op, Context>& implementation : list) {
    std::string why_not;
    if (auto kernel = implementation.make(context, operation, &why_not)) {
      return kernel;
    }
    if (refusals != nullptr) {
      refusals->push_back({implementation.name, std::move(why_not)});
    }
  }
  return nullptr;
}

}  // namespace densetree
