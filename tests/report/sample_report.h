// An evaluation to make reports of: drawn scores of plausible quality for rare and common findings that come together,
// a plain calibration of them, and everything a report shows.
#pragma once

#include <cstddef>

#include "report/report.h"

namespace densetree::report {

struct SampleReport {
  metrics::Evaluation evaluation;
  tree::TreeEvaluation tree;
  ReportContext context;

  std::string html() const { return report_html(evaluation, &tree, context); }
};

SampleReport sample_report(const tree::LabelTree& tree, std::size_t images = 2000);

}  // namespace densetree::report
