// report.html: an evaluation on one page that a person can read, on paper and on a phone. One file without scripts,
// without anything fetched; curves are inline SVG.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "metrics/evaluation.h"
#include "tree/tree_evaluation.h"

namespace densetree::report {

struct ReportContext {
  std::string title;  // "Evaluation of RUN on DATA, split test"
  // How it was made: name and value, in order; command line, files, versions, date.
  std::vector<std::pair<std::string, std::string>> provenance;
};

// `tree` is null when there is no calibration: the page then holds what is known of the labels alone.
std::string report_html(const metrics::Evaluation& evaluation, const tree::TreeEvaluation* tree,
                        const ReportContext& context);

}  // namespace densetree::report
