// The named tensors of a network, flat: trainable weights in one array, running means and variances in two others.
//
// Names, order and shapes are torchvision's. Being flat, weights are updated by one Adam pass and written by one copy.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace densetree {

class Parameters {
 public:
  enum class Kind { kWeight, kRunningMean, kRunningVariance };  // trained by gradient | statistics of batch norm
  struct Entry {
    std::string name;
    std::vector<std::int64_t> shape;
    Kind kind;
    std::int64_t offset, elements;  // in floats, within the array of its kind
  };

  int add(std::string name, std::vector<std::int64_t> shape, Kind kind);  // its number
  int find(const std::string& name) const;                                // its number, or -1
  const std::vector<Entry>& entries() const { return entries_; }
  const Entry& entry(int index) const { return entries_[index]; }
  std::int64_t size(Kind kind) const { return size_[static_cast<int>(kind)]; }

  // [begin, end) of the floats between weights, which alignment leaves unused.
  std::vector<std::pair<std::int64_t, std::int64_t>> gaps() const;

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string, int> index_;
  std::int64_t size_[3] = {0, 0, 0};
};

}  // namespace densetree
