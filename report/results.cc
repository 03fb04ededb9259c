#include "report/results.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "engine/io/csv.h"
#include "engine/io/file.h"
#include "engine/io/json.h"
#include "kernels/core/error.h"
#include "metrics/ratio.h"

namespace densetree::report {

namespace {

using nlohmann::ordered_json;

// ---- Tables
double share(std::int64_t part, std::int64_t all) {
  return metrics::ratio(part, all).value_or(0);
}

// No ROC where a class is missing: its rates would be 0/0.
std::string roc_csv(const metrics::Evaluation& evaluation) {
  std::string text = "label,threshold,false_positive_rate,true_positive_rate\n";
  for (const metrics::LabelEvaluation& label : evaluation.labels) {
    for (const metrics::CurvePoint& p : label.auroc.value ? label.curve : std::vector<metrics::CurvePoint>()) {
      const std::string fields[] = {label.name, fmt::format("{}", p.threshold),
                                    fmt::format("{}", share(p.false_positives, label.images - label.positives)),
                                    fmt::format("{}", share(p.true_positives, label.positives))};
      text += csv_row(fields);
    }
  }
  return text;
}

// The first point, where nothing is called positive, has no precision and is left out.
std::string precision_recall_csv(const metrics::Evaluation& evaluation) {
  std::string text = "label,threshold,recall,precision\n";
  for (const metrics::LabelEvaluation& label : evaluation.labels) {
    for (const metrics::CurvePoint& p :
         label.average_precision.value ? label.curve : std::vector<metrics::CurvePoint>()) {
      const std::int64_t called = p.true_positives + p.false_positives;
      if (called > 0) {
        const std::string fields[] = {label.name, fmt::format("{}", p.threshold),
                                      fmt::format("{}", share(p.true_positives, label.positives)),
                                      fmt::format("{}", share(p.true_positives, called))};
        text += csv_row(fields);
      }
    }
  }
  return text;
}

std::string posterior_csv(const metrics::ScoredImages& set, const tree::TreeEvaluation& evaluation) {
  std::vector<std::string> fields = {"Image Index"};
  for (const tree::Node& node : evaluation.tree.nodes()) {
    fields.push_back(node.name);
  }
  std::string text = csv_row(fields);
  for (std::size_t i = 0; i < set.images.size(); ++i) {
    fields.assign(1, set.images[i]);
    for (std::size_t v = 0; v < evaluation.posterior.nodes; ++v) {
      fields.push_back(fmt::format("{}", evaluation.posterior.at(v, i)));
    }
    text += csv_row(fields);
  }
  return text;
}

std::string reliability_csv(const tree::TreeEvaluation& evaluation) {
  std::string text = "node,bin,images,positives,mean_probability\n";
  for (std::size_t v = 0; v < evaluation.nodes.size(); ++v) {
    const std::vector<metrics::ReliabilityBin>& bins = evaluation.nodes[v].reliability;
    for (std::size_t b = 0; b < bins.size(); ++b) {
      if (bins[b].images > 0) {
        const std::string fields[] = {evaluation.tree.nodes()[v].name, fmt::format("{}", b),
                                      fmt::format("{}", bins[b].images), fmt::format("{}", bins[b].positives),
                                      fmt::format("{}", bins[b].mean_probability)};
        text += csv_row(fields);
      }
    }
  }
  return text;
}

std::string risk_coverage_csv(const tree::TreeEvaluation& evaluation) {
  std::string text = "node,coverage,risk\n";
  for (std::size_t v = 0; v < evaluation.nodes.size(); ++v) {
    if (evaluation.nodes[v].risk) {
      for (const metrics::RiskCoverage::Point& p : evaluation.nodes[v].risk->curve) {
        const std::string fields[] = {evaluation.tree.nodes()[v].name, fmt::format("{}", p.coverage),
                                      fmt::format("{}", p.risk)};
        text += csv_row(fields);
      }
    }
  }
  return text;
}

// ---- metrics.json
void put(ordered_json& object, const std::string& name, const metrics::Estimate& estimate, bool with_interval) {
  object[name] = estimate.value ? ordered_json(*estimate.value) : ordered_json(nullptr);
  if (with_interval) {
    object[name + "_interval"] = estimate.interval
                                     ? ordered_json::array({estimate.interval->low, estimate.interval->high})
                                     : ordered_json(nullptr);
  }
}

ordered_json json_of(const std::optional<double>& value) {
  return value ? ordered_json(*value) : ordered_json(nullptr);
}

ordered_json node_json(const tree::NodeEvaluation& node, bool intervals) {
  ordered_json object = {{"images", node.images}, {"positives", node.positives}};
  put(object, "auroc", node.auroc, intervals);
  put(object, "average_precision", node.average_precision, intervals);
  put(object, "brier", node.brier, intervals);
  object["ece"] = json_of(node.ece);
  object["ece_equal_mass"] = json_of(node.ece_equal_mass);
  object["aurc"] = node.risk ? ordered_json(node.risk->aurc) : ordered_json(nullptr);
  object["augrc"] = node.risk ? ordered_json(node.risk->augrc) : ordered_json(nullptr);
  object["raw_auroc"] = json_of(node.raw_auroc);
  object["raw_brier"] = json_of(node.raw_brier);
  object["raw_ece"] = json_of(node.raw_ece);
  return object;
}

ordered_json reports_json(const tree::Reports& reports) {
  return {{"coverage", reports.coverage},
          {"reported", reports.reported},
          {"right", reports.right},
          {"precision", json_of(reports.precision)},
          {"recall", json_of(reports.recall)}};
}

ordered_json confidence_json(const tree::ConfidenceAtT& at, const tree::LabelTree& tree) {
  ordered_json object = {{"leaf", reports_json(at.leaf)},
                         {"frontier", reports_json(at.frontier)},
                         {"true_leaves", at.true_leaves},
                         {"persist", json_of(at.persist)},
                         {"soften", json_of(at.soften)},
                         {"withdrawn", json_of(at.withdrawn)},
                         {"hierarchical_precision", json_of(at.hierarchical_precision)},
                         {"hierarchical_recall", json_of(at.hierarchical_recall)},
                         {"hierarchical_f", json_of(at.hierarchical_f)}};
  for (std::size_t leaf = 0; leaf < at.auc_at_t.size(); ++leaf) {
    const std::string& name = tree.nodes()[leaf].name;
    object["auc_at_t"][name] = json_of(at.auc_at_t[leaf].auroc);
    object["auc_at_t_coverage"][name] = at.auc_at_t[leaf].coverage;
    object["auc_at_t_positives"][name] = at.auc_at_t[leaf].positives;
  }
  return object;
}

ordered_json thresholds_json(const tree::ThresholdChoice& choice, const tree::LabelTree& tree) {
  ordered_json object = {{"request", tree::to_text(choice.request)},
                         {"guarantee", tree::guarantee_text(choice)},
                         {"images", choice.images}};
  for (std::size_t v = 0; v < choice.nodes.size(); ++v) {
    const std::optional<double>& t = choice.nodes[v].threshold;
    const bool always = t && *t == -std::numeric_limits<double>::infinity();
    object["nodes"][tree.nodes()[v].name] = always ? ordered_json("always") : json_of(t);
  }
  return object;
}

ordered_json co_occurrence_json(const tree::TreeEvaluation& evaluation) {
  const auto leaves = static_cast<std::size_t>(evaluation.tree.leaves());
  ordered_json object;
  for (std::size_t a = 0; a < leaves; ++a) {
    for (std::size_t b = 0; b < leaves; ++b) {
      object[evaluation.tree.nodes()[a].name][evaluation.tree.nodes()[b].name] = evaluation.together[a * leaves + b];
    }
  }
  return object;
}

void put_tree(ordered_json& root, const tree::TreeEvaluation& evaluation, bool intervals) {
  const tree::LabelTree& tree = evaluation.tree;
  root["calibration"] = ordered_json::object();
  for (const auto& [name, value] : evaluation.settings) {
    root["calibration"][name] = value;
  }
  for (std::size_t v = 0; v < evaluation.nodes.size(); ++v) {
    root["nodes"][tree.nodes()[v].name] = node_json(evaluation.nodes[v], intervals);
  }
  root["confidence"] = ordered_json::object();
  for (const tree::ConfidenceAtT& at : evaluation.at) {
    root["confidence"][at.name] = confidence_json(at, tree);
  }
  root["confusions"] = ordered_json::array();
  for (const tree::Confusion& confusion : evaluation.confusions) {
    root["confusions"].push_back({{"at", evaluation.confusion_threshold},
                                  {"reported", tree.node(confusion.reported).name},
                                  {"instead", tree.node(confusion.instead).name},
                                  {"images", confusion.images},
                                  {"false_reports", confusion.false_reports}});
  }
  root["co_occurrence"] = co_occurrence_json(evaluation);
  root["thresholds"] = evaluation.choice ? thresholds_json(*evaluation.choice, tree) : ordered_json(nullptr);
}

}  // namespace

std::string metrics_json(const metrics::Evaluation& evaluation, const tree::TreeEvaluation* tree) {
  const bool intervals = evaluation.draws > 0;
  ordered_json root;
  root["images"] = evaluation.images;
  root["patients"] = evaluation.patients;
  if (intervals) {
    root["bootstrap"] = {{"draws", evaluation.draws}, {"seed", evaluation.seed}, {"over", "patients"}, {"level", 0.95}};
  }
  put(root, "mean_auroc", evaluation.mean_auroc, intervals);
  put(root, "mean_average_precision", evaluation.mean_average_precision, intervals);
  root["labels"] = ordered_json::object();
  for (const metrics::LabelEvaluation& label : evaluation.labels) {
    ordered_json& object = root["labels"][label.name];
    object["images"] = label.images;
    object["positives"] = label.positives;
    put(object, "auroc", label.auroc, intervals);
    put(object, "average_precision", label.average_precision, intervals);
    put(object, "brier", label.brier, intervals);
    if (intervals) {
      object["undefined_draws"] = label.undefined_draws;
    }
  }
  if (tree) {
    put_tree(root, *tree, intervals);
  }
  return json_text(root, 2) + "\n";
}

std::vector<std::filesystem::path> result_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const char* name : {"scores.csv", "posteriors.csv", "curves/roc.csv", "curves/precision_recall.csv",
                           "curves/reliability.csv", "curves/risk_coverage.csv", "report.html", "metrics.json"}) {
    files.push_back(folder / name);
  }
  return files;
}

void write_results(const std::filesystem::path& folder, const metrics::ScoredImages& set,
                   const metrics::Evaluation& evaluation, const tree::TreeEvaluation* tree,
                   const ReportContext& context) {
  make_folder(folder / "curves");
  write_file(folder / "scores.csv", metrics::score_csv(set));
  write_file(folder / "curves" / "roc.csv", roc_csv(evaluation));
  write_file(folder / "curves" / "precision_recall.csv", precision_recall_csv(evaluation));
  const std::filesystem::path posteriors = folder / "posteriors.csv",
                              reliability = folder / "curves" / "reliability.csv",
                              risk_coverage = folder / "curves" / "risk_coverage.csv";
  if (tree) {
    write_file(posteriors, posterior_csv(set, *tree));
    write_file(reliability, reliability_csv(*tree));
    write_file(risk_coverage, risk_coverage_csv(*tree));
  } else {
    for (const auto& path : {posteriors, reliability, risk_coverage}) {
      std::filesystem::remove(path);
    }
  }
  write_file(folder / "report.html", report_html(evaluation, tree, context));
  write_file(folder / "metrics.json", metrics_json(evaluation, tree));
}

}  // namespace densetree::report
