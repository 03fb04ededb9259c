#include "tree/device_tree.h"

#include <algorithm>

#include "kernels/core/error.h"

namespace densetree::tree {

namespace {

std::vector<std::int32_t> parents(const LabelTree& tree) {
  std::vector<std::int32_t> result;
  for (const Node& node : tree.nodes()) {
    result.push_back(node.parent);
  }
  return result;
}

std::vector<std::int32_t> leaf_begins(const LabelTree& tree) {
  std::vector<std::int32_t> result = {0};
  for (const Node& node : tree.nodes()) {
    result.push_back(result.back() + static_cast<std::int32_t>(node.leaves.size()));
  }
  return result;
}

std::vector<std::int32_t> leaf_lists(const LabelTree& tree) {
  std::vector<std::int32_t> result;
  for (const Node& node : tree.nodes()) {
    result.insert(result.end(), node.leaves.begin(), node.leaves.end());
  }
  return result;
}

}  // namespace

DeviceTree::DeviceTree(Device& device, const LabelTree& tree, Pooling pooling)
    : device_(device),
      operations_(device.make_tree_operations()),
      pooling_(pooling),
      leaves_(tree.leaves()),
      nodes_(tree.size()),
      parent_(device, std::span<const std::int32_t>(parents(tree))),
      leaf_begin_(device, std::span<const std::int32_t>(leaf_begins(tree))),
      leaf_(device, std::span<const std::int32_t>(leaf_lists(tree))),
      topology_{leaves_, nodes_, parent_.data(), leaf_begin_.data(), leaf_.data()} {}

std::size_t DeviceTree::images_of(std::size_t cells) const {
  const auto leaves = static_cast<std::size_t>(leaves_);
  check(cells > 0 && cells % leaves == 0, "{} values of {} labels: there must be one per label of at least one image",
        cells, leaves_);
  return cells / leaves;
}

DeviceArray<double> DeviceTree::pool_on_device(std::span<const double> scores) {
  const std::size_t images = images_of(scores.size());
  const auto wrong = std::find_if(scores.begin(), scores.end(), [](double s) { return !(s >= 0 && s <= 1); });
  if (wrong != scores.end()) {
    fail("the score of label {} of image {} is {}; a score is a number from 0 to 1", (wrong - scores.begin()) % leaves_,
         (wrong - scores.begin()) / leaves_, *wrong);
  }
  const DeviceInput<double> leaf_scores(device_, *operations_, scores);
  DeviceArray<double> pooled(device_, images * static_cast<std::size_t>(nodes_));
  operations_->pool_scores(topology_, pooling_, leaf_scores.data(), static_cast<std::int64_t>(images), pooled.data());
  device_.synchronize();  // before leaf_scores is released
  return pooled;
}

DeviceArray<std::uint8_t> DeviceTree::truths_on_device(std::span<const float> targets) {
  const std::size_t images = images_of(targets.size());
  const DeviceInput<float> leaf_truths(device_, *operations_, targets);
  DeviceArray<std::uint8_t> truths(device_, images * static_cast<std::size_t>(nodes_));
  operations_->pool_truths(topology_, leaf_truths.data(), static_cast<std::int64_t>(images), truths.data());
  device_.synchronize();
  return truths;
}

NodeTable<double> DeviceTree::pool(std::span<const double> scores) {
  NodeTable<double> table(static_cast<std::size_t>(nodes_), images_of(scores.size()));
  pool_on_device(scores).read(table.values);
  return table;
}

NodeTable<std::uint8_t> DeviceTree::truths(std::span<const float> targets) {
  NodeTable<std::uint8_t> table(static_cast<std::size_t>(nodes_), images_of(targets.size()));
  truths_on_device(targets).read(table.values);
  return table;
}

Histograms DeviceTree::fit(std::span<const double> scores, std::span<const float> targets,
                           const FitSettings& settings) {
  check(scores.size() == targets.size(), "{} scores but {} truths", scores.size(), targets.size());
  check(settings.priors.size() == static_cast<std::size_t>(nodes_), "{} priors for {} nodes", settings.priors.size(),
        nodes_);
  require_bins({.kind = settings.binning, .bins = settings.bins, .edges = nullptr});
  const auto images = static_cast<std::int64_t>(images_of(scores.size()));
  const auto nodes = static_cast<std::size_t>(nodes_), bins = static_cast<std::size_t>(settings.bins);
  const bool quantile = settings.binning == Binning::kQuantile;
  const DeviceArray<double> pooled = pool_on_device(scores);
  const DeviceArray<std::uint8_t> truth = truths_on_device(targets);
  const DeviceArray<double> priors(device_, std::span<const double>(settings.priors));
  const DeviceArray<double> edges(device_, nodes * bins), table(device_, nodes * bins);
  const DeviceArray<std::uint32_t> counts(device_, nodes * 2 * bins);
  const DeviceArray<std::byte> workspace(device_, quantile ? operations_->quantile_bytes(nodes_, images) : 1);
  const Bins by{settings.binning, settings.bins, edges.data()};
  if (quantile) {
    operations_->quantile_histogram(pooled.data(), truth.data(), nodes_, images, settings.bins, edges.data(),
                                    counts.data(), workspace.data());
  } else {
    operations_->histogram(pooled.data(), truth.data(), nodes_, images, by, counts.data());
  }
  operations_->posterior_table(counts.data(), priors.data(), nodes_, by, settings.posterior, table.data());
  Histograms result{settings.binning, settings.bins, edges.read(), counts.read(), table.read()};
  result.edges.resize(quantile ? nodes * (bins - 1) : 0);
  return result;
}

NodeTable<double> DeviceTree::posteriors(std::span<const double> scores, const Histograms& histograms) {
  const std::size_t images = images_of(scores.size()), nodes = static_cast<std::size_t>(nodes_);
  check(histograms.posteriors.size() == nodes * static_cast<std::size_t>(histograms.bins),
        "histograms of {} values for {} nodes of {} bins", histograms.posteriors.size(), nodes_, histograms.bins);
  const DeviceArray<double> pooled = pool_on_device(scores);
  std::vector<double> some_edges = histograms.edges;
  some_edges.resize(some_edges.size() + 1);  // an array is never empty
  const DeviceArray<double> edges(device_, std::span<const double>(some_edges));
  const DeviceArray<double> values(device_, std::span<const double>(histograms.posteriors));
  const DeviceArray<double> result(device_, images * nodes);
  operations_->posteriors(pooled.data(), nodes_, static_cast<std::int64_t>(images),
                          {histograms.binning, histograms.bins, edges.data()}, values.data(), result.data());
  NodeTable<double> table(nodes, images);
  result.read(table.values);
  return table;
}

DeviceTree::Answering DeviceTree::answering(const NodeTable<double>& posteriors) {
  check(posteriors.nodes == static_cast<std::size_t>(nodes_) && posteriors.images > 0,
        "posteriors of {} nodes and {} images; the tree has {} nodes", posteriors.nodes, posteriors.images, nodes_);
  return {*this, posteriors};
}

DeviceTree::Answering::Answering(DeviceTree& tree, const NodeTable<double>& posteriors)
    : tree_(tree),
      images_(posteriors.images),
      posteriors_(tree.device_, *tree.operations_, posteriors.values),
      climb_(tree.device_, static_cast<std::size_t>(tree.leaves_) * images_),
      frontier_(tree.device_, static_cast<std::size_t>(tree.nodes_) * images_) {}

Answers DeviceTree::Answering::at(std::span<const double> thresholds) {
  const auto nodes = static_cast<std::size_t>(tree_.nodes_), leaves = static_cast<std::size_t>(tree_.leaves_);
  check(thresholds.size() == nodes, "{} thresholds; the tree has {} nodes", thresholds.size(), nodes);
  TreeOperations& operations = *tree_.operations_;
  const DeviceInput<double> limits(tree_.device_, operations, thresholds);
  const auto images = static_cast<std::int64_t>(images_);
  operations.climb(tree_.topology_, posteriors_.data(), limits.data(), images, climb_.data());
  operations.frontier(tree_.topology_, posteriors_.data(), limits.data(), images, frontier_.data());
  Answers answers{{leaves, images_}, {nodes, images_}};
  climb_.read(answers.climb.values);
  frontier_.read(answers.frontier.values);
  return answers;
}

}  // namespace densetree::tree
