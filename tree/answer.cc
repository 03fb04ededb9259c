#include "tree/answer.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/core/error.h"
#include "kernels/functors/label_tree.h"

namespace densetree::tree {

namespace {

constexpr std::size_t kNamed = 3;  // uncertain kinds that a sentence names

bool more_probable(const std::pair<std::int32_t, double>& a, const std::pair<std::int32_t, double>& b) {
  return a.second != b.second ? a.second > b.second : a.first < b.first;
}

std::string sentence(const LabelTree& tree, const Report& report) {
  std::string text = fmt::format("{} {:.2f}", spoken(tree.node(report.node).name), report.posterior);
  if (report.uncertain.empty()) {
    return text;
  }
  text += "; which kind is uncertain: ";
  for (std::size_t i = 0; i < std::min(kNamed, report.uncertain.size()); ++i) {
    const auto& [node, posterior] = report.uncertain[i];
    text += fmt::format("{}{} {:.2f}", i > 0 ? ", " : "", spoken(tree.node(node).name), posterior);
  }
  return text;
}

}  // namespace

Answer answer(const LabelTree& tree, std::span<const double> posteriors, std::span<const double> thresholds) {
  const auto nodes = static_cast<std::size_t>(tree.size());
  check(posteriors.size() == nodes && thresholds.size() == nodes, "{} posteriors and {} thresholds for {} nodes",
        posteriors.size(), thresholds.size(), nodes);
  std::vector<std::int32_t> parents;
  for (const Node& node : tree.nodes()) {
    parents.push_back(node.parent);
  }
  std::vector<std::uint8_t> frontier(nodes);
  const TreeTopology topology{tree.leaves(), tree.size(), parents.data(), nullptr, nullptr};
  frontier_of(topology, posteriors.data(), 1, thresholds.data(), frontier.data());
  Answer result;
  for (std::int32_t v = 0; v < tree.size(); ++v) {
    if (frontier[static_cast<std::size_t>(v)]) {
      Report report{v, posteriors[static_cast<std::size_t>(v)], {}};
      for (const std::int32_t child : tree.node(v).children) {
        report.uncertain.emplace_back(child, posteriors[static_cast<std::size_t>(child)]);
      }
      std::sort(report.uncertain.begin(), report.uncertain.end(), more_probable);
      result.reports.push_back(std::move(report));
    }
  }
  std::stable_sort(result.reports.begin(), result.reports.end(),
                   [](const Report& a, const Report& b) { return a.posterior > b.posterior; });
  const auto leaves = posteriors.first(static_cast<std::size_t>(tree.leaves()));
  const auto most = std::max_element(leaves.begin(), leaves.end());
  result.most_likely = {static_cast<std::int32_t>(most - leaves.begin()), *most};
  return result;
}

std::vector<std::string> sentences(const LabelTree& tree, const Answer& answer) {
  std::vector<std::string> lines;
  for (const Report& report : answer.reports) {
    lines.push_back(sentence(tree, report));
  }
  if (lines.empty()) {
    lines.push_back(fmt::format("nothing is certain enough to report; most likely {} {:.2f}",
                                spoken(tree.node(answer.most_likely.first).name), answer.most_likely.second));
  }
  return lines;
}

std::string spoken(const std::string& name) {
  std::string text = name;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_') {
      text[i] = ' ';
      const bool word = i + 2 < text.size() && std::islower(static_cast<unsigned char>(text[i + 2]));
      if (word) {  // not an abbreviation
        text[i + 1] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[i + 1])));
      }
    }
  }
  return text;
}

}  // namespace densetree::tree
