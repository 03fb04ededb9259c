// The sections of a report. Each function gives the markup below one heading.
#pragma once

#include <string>

#include "metrics/evaluation.h"
#include "tree/tree_evaluation.h"

namespace densetree::report {

// nodes.cc: what is known of labels and nodes, one row each.
std::string tree_section(const tree::TreeEvaluation& tree);
std::string labels_section(const metrics::Evaluation& evaluation);
std::string together_section(const tree::TreeEvaluation& tree);

// curves.cc: four small charts for every node; two for every label where there is no tree.
std::string curves_section(const metrics::Evaluation& evaluation, const tree::TreeEvaluation* tree);

// answers.cc: what thresholds do, and where they come from.
std::string thresholds_section(const tree::TreeEvaluation& tree);
std::string auc_section(const tree::TreeEvaluation& tree);
std::string destinations_section(const tree::TreeEvaluation& tree);
std::string confusions_section(const tree::TreeEvaluation& tree);
std::string guarantee_section(const tree::TreeEvaluation& tree);

}  // namespace densetree::report
