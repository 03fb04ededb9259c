// Tables of an evaluation for a terminal.
#pragma once

#include <string>

#include "metrics/evaluation.h"
#include "tree/tree_evaluation.h"

namespace densetree::report {

// One line a label.
std::string text_table(const metrics::Evaluation& evaluation);
// The label tree with each node's measures, then a line for each threshold.
std::string text_table(const tree::TreeEvaluation& evaluation);

}  // namespace densetree::report
