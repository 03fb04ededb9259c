// Planner: who needs how much memory from which step to which, packed into one block.
//
// Book, freeze, run: every buffer is booked with its bytes and marked with the steps that use it; freeze() gives each
// an offset such that buffers whose lifetimes meet never overlap. Nothing is allocated here. The plan can be printed,
// and its peak is what a run takes, to the byte.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace densetree {

class Planner {
 public:
  struct Buffer {
    std::string name;
    std::size_t bytes = 0;
    int first = -1, last = -1;  // steps of use, inclusive; -1 when never used
    std::size_t offset = 0;     // valid after freeze()
  };

  int book(std::string name, std::size_t bytes);  // the buffer's number
  void use(int buffer, int step);                 // extends its lifetime to include step
  // Packs by greatest size first, each buffer at the lowest offset free over its whole lifetime.
  void freeze();

  const std::vector<Buffer>& buffers() const { return buffers_; }
  const Buffer& buffer(int index) const { return buffers_[index]; }
  std::size_t bytes() const { return bytes_; }  // of the whole block
  // Most bytes alive in one step: no packing can do with less.
  std::size_t lower_bound() const;

  static constexpr std::size_t kAlignment = 256;

 private:
  std::vector<Buffer> buffers_;
  std::size_t bytes_ = 0;
  bool frozen_ = false;
};

}  // namespace densetree
