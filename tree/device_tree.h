// A label tree on a device: tables of all nodes and images from the scores and truths of the leaves, computed by the
// device's tree operations (kernels/tree_operations.h).
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/device_array.h"
#include "kernels/tree_operations.h"
#include "tree/confidence.h"
#include "tree/label_tree.h"
#include "tree/node_table.h"

namespace densetree::tree {

// Bins, counts and posteriors of every node, in host memory.
struct Histograms {
  Binning binning = Binning::kQuantile;
  std::int32_t bins = 0;
  std::vector<double> edges;          // [V][bins − 1], infinity behind the last; empty for kUniform
  std::vector<std::uint32_t> counts;  // [V][2][bins], true then false
  std::vector<double> posteriors;     // [V][bins]

  bool operator==(const Histograms&) const = default;
};

struct FitSettings {
  Binning binning = Binning::kQuantile;
  std::int32_t bins = 50;
  PosteriorSettings posterior;
  std::vector<double> priors;  // [V], NaN: the share of true images
};

// An input of the host where the device can read it: in place, or uploaded.
template <class T>
class DeviceInput {
 public:
  DeviceInput(Device& device, const TreeOperations& operations, std::span<const T> values) : data_(values.data()) {
    if (!operations.reads_host_memory()) {
      uploaded_.emplace(device, values);
      data_ = uploaded_->data();
    }
  }
  const T* data() const { return data_; }

 private:
  const T* data_;
  std::optional<DeviceArray<T>> uploaded_;
};

class DeviceTree {
 public:
  // Answers from the posteriors of some images, which lie on the device for all thresholds that are tried. Lives no
  // longer than the tree and the posteriors.
  class Answering {
   public:
    Answers at(std::span<const double> thresholds);  // [V]

   private:
    friend class DeviceTree;
    Answering(DeviceTree& tree, const NodeTable<double>& posteriors);

    DeviceTree& tree_;
    std::size_t images_;
    DeviceInput<double> posteriors_;
    DeviceArray<std::int32_t> climb_;
    DeviceArray<std::uint8_t> frontier_;
  };

  DeviceTree(Device& device, const LabelTree& tree, Pooling pooling);

  // scores: (N, L) in [0, 1]; targets: (N, L) of 1, 0 or NaN. N >= 1.
  NodeTable<double> pool(std::span<const double> scores);
  NodeTable<std::uint8_t> truths(std::span<const float> targets);
  // Everything from scores to posteriors; no table of the size of the data leaves the device.
  Histograms fit(std::span<const double> scores, std::span<const float> targets, const FitSettings& settings);
  NodeTable<double> posteriors(std::span<const double> scores, const Histograms& histograms);
  Answering answering(const NodeTable<double>& posteriors);
  Answering answering(NodeTable<double>&&) = delete;

 private:
  DeviceArray<double> pool_on_device(std::span<const double> scores);
  DeviceArray<std::uint8_t> truths_on_device(std::span<const float> targets);
  std::size_t images_of(std::size_t cells) const;

  Device& device_;
  std::unique_ptr<TreeOperations> operations_;
  Pooling pooling_;
  std::int32_t leaves_, nodes_;
  DeviceArray<std::int32_t> parent_, leaf_begin_, leaf_;
  TreeTopology topology_;
};

}  // namespace densetree::tree
