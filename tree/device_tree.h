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

class DeviceTree {
 public:
  DeviceTree(Device& device, const LabelTree& tree, Pooling pooling);

  // scores: (N, L) in [0, 1]; targets: (N, L) of 1, 0 or NaN. N >= 1.
  NodeTable<double> pool(std::span<const double> scores);
  NodeTable<std::uint8_t> truths(std::span<const float> targets);
  // Everything from scores to posteriors; no table of the size of the data leaves the device.
  Histograms fit(std::span<const double> scores, std::span<const float> targets, const FitSettings& settings);
  NodeTable<double> posteriors(std::span<const double> scores, const Histograms& histograms);
  // thresholds: [V].
  Answers answer(const NodeTable<double>& posteriors, std::span<const double> thresholds);

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
