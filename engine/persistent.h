// What outlives a step: weights, running statistics, moments, a step's scalars. Listed once, by name, for all tapes
// that share it, and laid out one after the other in one block.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace densetree {

class Persistent {
 public:
  void add(std::string name, std::size_t bytes);  // throws Error where the name is taken
  std::size_t bytes() const { return bytes_; }    // of the block
  void place(std::byte* memory) { base_ = memory; }
  // Where it lies. Throws Error where nothing has the name, where that has fewer bytes, or before place().
  void* at(const std::string& name, std::size_t bytes = 0) const;

 private:
  struct Entry {
    std::size_t offset, bytes;
  };
  std::map<std::string, Entry> entries_;
  std::size_t bytes_ = 0;
  std::byte* base_ = nullptr;
};

}  // namespace densetree
