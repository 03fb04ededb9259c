// The label tree: leaves are the labels a classifier scores, an inner node is true when any leaf below it is
// (docs/method.md §2). A finding that is not certain enough backs off to its parent.
//
// A tree file is TOML. [labels] maps a leaf to the data set's findings; without it the 14 findings of ChestX-ray14 are
// the labels. [tree] maps a parent to its children:
//
//   [labels]
//   Effusion = ["Effusion"]
//   Mass_Hernia = ["Mass", "Hernia"]
//
//   [tree]
//   Abnormal = ["Effusion", "Mass_Hernia"]
//
// Nodes are numbered: first the leaves in the order of the labels, then inner nodes, children before parents, the root
// last.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/labels.h"

namespace densetree::tree {

struct Node {
  std::string name;
  std::int32_t parent = -1;            // -1: the root
  std::vector<std::int32_t> children;  // in the file's order; none for a leaf
  std::vector<std::int32_t> leaves;    // below it, ascending; a leaf has itself
};

class LabelTree {
 public:
  // Throws Error, "file:line: …", on text that is no TOML, a cycle, a second parent, several roots, an unknown or
  // repeated name, a label left out, a node without or with one child.
  static LabelTree read(const std::filesystem::path& path);
  static LabelTree parse(std::string_view text, const std::string& source);
  // docs/method.md §2: over the 14 findings, and over 13 labels with Mass and Hernia merged.
  static LabelTree of_14_labels();
  static LabelTree of_13_labels();
  // Whichever of the two has exactly these labels, in any order, with its nodes in this order; Error where neither has.
  static LabelTree standard_for(const data::LabelSet& labels);

  const data::LabelSet& labels() const { return labels_; }
  std::int32_t leaves() const { return static_cast<std::int32_t>(labels_.size()); }
  std::int32_t size() const { return static_cast<std::int32_t>(nodes_.size()); }  // nodes
  std::int32_t root() const { return size() - 1; }
  const Node& node(std::int32_t index) const { return nodes_[static_cast<std::size_t>(index)]; }
  const std::vector<Node>& nodes() const { return nodes_; }
  bool is_leaf(std::int32_t index) const { return index < leaves(); }
  std::optional<std::int32_t> find(std::string_view name) const;
  // Whether `ancestor` lies on the way from `node` to the root; a node is not its own ancestor.
  bool is_ancestor(std::int32_t ancestor, std::int32_t node) const;

  // A tree file that reads back as this tree. Equal texts mean equal trees and labels.
  std::string to_toml() const;
  // For a terminal, one line a node; `notes` (empty, or one per node) stand beside the names.
  std::string draw(const std::vector<std::string>& notes = {}) const;

 private:
  data::LabelSet labels_;
  std::vector<Node> nodes_;
};

// Throws Error, opened by `source`, unless the labels are the tree's, in its order.
void require_labels(const LabelTree& tree, const std::vector<std::string>& labels, const std::string& source);

}  // namespace densetree::tree
