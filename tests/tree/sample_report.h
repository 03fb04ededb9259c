// An evaluation to make reports of: drawn scores of plausible quality for rare and common findings that come together,
// a plain calibration of them, and everything a report shows.
#pragma once

#include <cstddef>

#include "tree/report.h"

namespace densetree::tree {

struct SampleReport {
  Evaluation evaluation;
  TreeEvaluation tree;
  ReportContext context;

  std::string html() const { return report_html(evaluation, &tree, context); }
};

SampleReport sample_report(const LabelTree& tree, std::size_t images = 2000);

}  // namespace densetree::tree
