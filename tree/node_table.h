// A value for every node of a label tree and every image, all images of a node side by side: (V, N).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace densetree::tree {

template <class T>
struct NodeTable {
  std::size_t nodes = 0, images = 0;
  std::vector<T> values;  // (V, N)

  NodeTable() = default;
  NodeTable(std::size_t node_count, std::size_t image_count, T value = T{})
      : nodes(node_count), images(image_count), values(node_count * image_count, value) {}

  std::span<const T> node(std::size_t v) const& { return std::span(values).subspan(v * images, images); }
  std::span<T> node(std::size_t v) & { return std::span(values).subspan(v * images, images); }
  std::span<const T> node(std::size_t) const&& = delete;  // it would outlive the table
  const T& at(std::size_t v, std::size_t image) const { return values[v * images + image]; }

  // The same nodes, with the images at `chosen` in that order.
  NodeTable select(std::span<const std::uint32_t> chosen) const {
    NodeTable result(nodes, chosen.size());
    for (std::size_t v = 0; v < nodes; ++v) {
      for (std::size_t i = 0; i < chosen.size(); ++i) {
        result.values[v * chosen.size() + i] = at(v, chosen[i]);
      }
    }
    return result;
  }
};

}  // namespace densetree::tree
