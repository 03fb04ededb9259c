#include "nn/checkpoint_labels.h"

#include <string>
#include <utility>
#include <vector>

#include "engine/io/json.h"
#include "kernels/core/error.h"

namespace densetree::nn {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFindingsKey = "densetree.findings";  // JSON: {"label": ["finding", …], …}

}  // namespace

void store_labels(CheckpointMeta& meta, const data::LabelSet& labels) {
  meta.labels = labels.names();
  Json findings;
  for (std::size_t label = 0; label < labels.size(); ++label) {
    findings[labels.names()[label]] = data::finding_names(labels.findings(label));
  }
  meta.extra[kFindingsKey] = json_text(findings);
}

bool has_findings(const CheckpointMeta& meta) {
  return meta.extra.contains(kFindingsKey);
}

data::LabelSet labels_of(const CheckpointMeta& meta) {
  const auto it = meta.extra.find(kFindingsKey);
  check(it != meta.extra.end(), "the checkpoint does not say which findings its labels stand for ({})", kFindingsKey);
  const Json findings = Json::parse(it->second, nullptr, false);
  check(findings.is_object(), "the checkpoint's {} is not a JSON object", kFindingsKey);
  std::vector<std::pair<std::string, std::vector<std::string>>> labels;
  for (const std::string& name : meta.labels) {
    check(findings.contains(name) && findings[name].is_array(), "the checkpoint's {} has no list for label '{}'",
          kFindingsKey, name);
    std::vector<std::string> list;
    for (const Json& finding : findings[name]) {
      check(finding.is_string(), "the checkpoint's {} lists {} for label '{}'", kFindingsKey, finding.dump(), name);
      list.push_back(finding.get<std::string>());
    }
    labels.emplace_back(name, std::move(list));
  }
  return data::LabelSet(labels);
}

}  // namespace densetree::nn
