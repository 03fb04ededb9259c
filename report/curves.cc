#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/html.h"
#include "report/sections.h"
#include "report/svg.h"

namespace densetree::report {

namespace {

using html::number;
using html::paragraph;
using svg::Chart;
using svg::Point;

// A curve with the counts its rates are of.
struct Counted {
  const std::vector<metrics::CurvePoint>& points;
  std::int64_t images = 0, positives = 0;
};

double rate(std::int64_t part, std::int64_t whole) {
  return html::ratio(part, whole).value_or(0);
}

std::vector<Point> roc(const Counted& curve) {
  std::vector<Point> points;
  for (const metrics::CurvePoint& p : curve.points) {
    points.push_back(
        {rate(p.false_positives, curve.images - curve.positives), rate(p.true_positives, curve.positives)});
  }
  return points;
}

// Steps, as average precision adds them up: the precision at a threshold holds back to the recall before it.
std::vector<Point> precision_recall(const Counted& curve) {
  std::vector<Point> points;
  double before = 0;
  for (const metrics::CurvePoint& p : curve.points) {
    if (p.true_positives + p.false_positives > 0) {
      const double precision = rate(p.true_positives, p.true_positives + p.false_positives);
      const double recall = rate(p.true_positives, curve.positives);
      points.push_back({before, precision});
      points.push_back({recall, precision});
      before = recall;
    }
  }
  return points;
}

std::string figure(const Chart& chart, std::string_view heading, const std::string& caption) {
  return fmt::format("<figure>{}<figcaption><b>{}</b>{}</figcaption></figure>\n", chart.svg(), heading, caption);
}

// "0.812 (score 0.815)": of the confidence, and of the score it was made from.
std::string and_score(std::optional<double> value, std::optional<double> raw) {
  return number(value) + (raw ? fmt::format(" (score {})", number(raw)) : "");
}

// The curves of one node or label: of the confidence where there is a tree, and of the score where it is known.
struct Curves {
  std::string name;
  const Counted* score = nullptr;
  const Counted* posterior = nullptr;
};

std::string roc_figure(const Curves& curves, bool defined, const std::string& area) {
  Chart chart("ROC curve of " + curves.name, {"false-positive rate"}, {"true-positive rate"});
  chart.line({{0, 0}, {1, 1}}, "guide");
  if (!defined) {
    chart.note(html::kUndefined);
  } else {
    if (curves.score) {
      chart.line(roc(*curves.score), curves.posterior ? "score" : "line");
    }
    if (curves.posterior) {
      chart.line(roc(*curves.posterior), "line");
    }
  }
  return figure(chart, "ROC", "AUROC " + area);
}

std::string precision_recall_figure(const Curves& curves, bool defined, const std::string& area) {
  Chart chart("Precision and recall of " + curves.name, {"recall"}, {"precision"});
  const Counted& counts = curves.posterior ? *curves.posterior : *curves.score;
  if (!defined) {
    chart.note(html::kUndefined);
  } else {
    const double prevalence = rate(counts.positives, counts.images);
    chart.line({{0, prevalence}, {1, prevalence}}, "guide");
    if (curves.score) {
      chart.line(precision_recall(*curves.score), curves.posterior ? "score" : "line");
    }
    if (curves.posterior) {
      chart.line(precision_recall(*curves.posterior), "line");
    }
  }
  return figure(chart, "Precision–recall", "AP " + area);
}

std::string reliability_figure(const std::string& name, const tree::NodeEvaluation& node) {
  double most = 0;
  std::int64_t largest = 1;
  for (const metrics::ReliabilityBin& bin : node.reliability) {
    if (bin.images > 0) {
      most = std::max({most, bin.mean_probability, rate(bin.positives, bin.images)});
      largest = std::max(largest, bin.images);
    }
  }
  const double end = svg::axis_end(most);
  Chart chart("Reliability of " + name, {"stated probability", end}, {"observed share", end});
  chart.line({{0, 0}, {end, end}}, "guide");
  for (const metrics::ReliabilityBin& bin : node.reliability) {
    if (bin.images > 0) {
      const double observed = rate(bin.positives, bin.images);
      chart.dot({bin.mean_probability, observed}, 1.6 + 3.4 * std::sqrt(rate(bin.images, largest)),
                fmt::format("{}: stated {}, observed {}", html::images(bin.images), number(bin.mean_probability),
                            number(observed)));
    }
  }
  if (node.images == 0) {
    chart.note(html::kUndefined);
  }
  return figure(chart, "Reliability", "ECE " + and_score(node.ece, node.raw_ece));
}

std::string risk_figure(const std::string& name, const tree::NodeEvaluation& node) {
  double most = 0;
  std::vector<Point> points;
  for (const metrics::RiskCoverage::Point& p :
       node.risk ? node.risk->curve : std::vector<metrics::RiskCoverage::Point>()) {
    points.push_back({p.coverage, p.risk});
    most = std::max(most, p.risk);
  }
  const double end = svg::axis_end(most);
  Chart chart("Risk and coverage of " + name, {"coverage"}, {"risk", end});
  if (points.empty()) {
    chart.note(html::kUndefined);
  } else {
    chart.line({{0, points.back().y}, {1, points.back().y}}, "guide");
    chart.line(points, "line");
  }
  return figure(chart, "Risk–coverage",
                node.risk ? fmt::format("AURC {}, AUGRC {}", number(node.risk->aurc, 4), number(node.risk->augrc, 4))
                          : std::string(html::kUndefined));
}

std::string multiple(const std::string& name, const std::string& figures) {
  return fmt::format("<div class=\"multiple\"><h3>{}</h3>\n<div>\n{}</div></div>\n", html::name(name), figures);
}

std::string node_curves(const metrics::Evaluation& evaluation, const tree::TreeEvaluation& result, std::size_t v) {
  const tree::NodeEvaluation& node = result.nodes[v];
  const Counted posterior{node.curve, node.images, node.positives};
  Curves curves{result.tree.nodes()[v].name, nullptr, &posterior};
  std::optional<Counted> score;
  if (v < evaluation.labels.size()) {
    const metrics::LabelEvaluation& label = evaluation.labels[v];
    score.emplace(Counted{label.curve, label.images, label.positives});
    curves.score = &*score;
  }
  return multiple(curves.name,
                  roc_figure(curves, node.auroc.value.has_value(), and_score(node.auroc.value, node.raw_auroc)) +
                      precision_recall_figure(curves, node.average_precision.value.has_value(),
                                              number(node.average_precision.value)) +
                      reliability_figure(curves.name, node) + risk_figure(curves.name, node));
}

std::string label_curves(const metrics::LabelEvaluation& label) {
  const Counted score{label.curve, label.images, label.positives};
  const Curves curves{label.name, &score, nullptr};
  return multiple(label.name, roc_figure(curves, label.auroc.value.has_value(), number(label.auroc.value)) +
                                  precision_recall_figure(curves, label.average_precision.value.has_value(),
                                                          number(label.average_precision.value)));
}

std::string key(std::string_view kind) {
  return fmt::format(
      "<svg class=\"key\" viewBox=\"0 0 32 10\" aria-hidden=\"true\"><path class=\"{}\" d=\"M0 5H32\"/></svg>", kind);
}

}  // namespace

std::string curves_section(const metrics::Evaluation& evaluation, const tree::TreeEvaluation* tree) {
  std::string body = paragraph(
      "ROC: the nearer to the upper left corner, the better; the dotted diagonal is guessing. Precision–recall: the "
      "nearer to the upper right corner, the better; the dotted line is the share of positive images, which guessing "
      "reaches.");
  if (!tree) {
    for (const metrics::LabelEvaluation& label : evaluation.labels) {
      body += label_curves(label);
    }
    return body;
  }
  body += paragraph(
      "Reliability: each dot is a group of images with like confidence, the larger the more; on the dotted diagonal "
      "the stated probability is what is observed, below it the confidence is too high. Risk–coverage: the share of "
      "wrong answers (present at a confidence of one half or more, else absent) among the most confident images; "
      "dotted, among all. For rare labels answering “absent” everywhere is rarely wrong, so the risk is low whatever "
      "the classifier does. Axes of these two end where the values do: look at their numbers.");
  body += paragraph(key("line") + " calibrated confidence &#160; " + key("score") +
                    " score of the classifier (labels only)");
  for (std::size_t v = 0; v < tree->nodes.size(); ++v) {
    body += node_curves(evaluation, *tree, v);
  }
  return body;
}

}  // namespace densetree::report
