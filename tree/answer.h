// The answer for one image in words: what is certain enough to report, and where it backs off to a parent, what is
// uncertain below it.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tree/label_tree.h"

namespace densetree::tree {

struct Report {
  std::int32_t node = 0;
  double posterior = 0;
  // Of an inner node: its children, none of which is certain nor above one that is, most probable first.
  std::vector<std::pair<std::int32_t, double>> uncertain;
};

struct Answer {
  std::vector<Report> reports;  // the frontier, most probable first
  // Where nothing is certain: the most probable leaf.
  std::pair<std::int32_t, double> most_likely;
};

// posteriors, thresholds: [V]. Nodes are reported where posterior >= threshold and no descendant's is (docs/method.md
// §6).
Answer answer(const LabelTree& tree, std::span<const double> posteriors, std::span<const double> thresholds);

// One line a report: "Airspace opacity 0.83; which kind is uncertain: Consolidation 0.41, Infiltration 0.38".
std::vector<std::string> sentences(const LabelTree& tree, const Answer& answer);

// "Pleural_Thickening" -> "Pleural thickening"
std::string spoken(const std::string& name);

}  // namespace densetree::tree
