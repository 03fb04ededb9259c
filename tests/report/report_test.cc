#include "report/report.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <set>

#include "kernels/core/error.h"
#include "kernels/core/philox.h"
#include "report/html.h"
#include "report/svg.h"
#include "tests/report/markup.h"
#include "tests/report/sample_report.h"
#include "tree/answer.h"

namespace densetree::report {
namespace {

const SampleReport& sample() {
  static const SampleReport report = sample_report(tree::LabelTree::of_14_labels(), 600);
  return report;
}

// A report that is read: its sections by id.
struct Page {
  explicit Page(const std::string& html) : root(MarkupReader(html).read()) {
    for (const Element* section : root->all("section")) {
      sections[section->attribute("id")] = section;
    }
  }
  const Element& section(const std::string& id) const {
    check(sections.contains(id), "no section '{}'", id);
    return *sections.at(id);
  }
  std::unique_ptr<Element> root;
  std::map<std::string, const Element*> sections;
};

using Rows = std::vector<std::vector<const Element*>>;

// The cells of a table's body, without heads of groups.
Rows rows_of(const Element& table) {
  Rows rows;
  for (const Element* row : table.all("tbody").at(0)->all("tr", "")) {
    if (row->attribute("class") != "group") {
      rows.emplace_back();
      for (const auto& cell : row->children) {
        rows.back().push_back(cell.get());
      }
    }
  }
  return rows;
}

Rows first_table(const Page& page, const std::string& section) {
  return rows_of(*page.section(section).all("table").at(0));
}

// Numbers of a text, with commas in thousands left out.
std::vector<double> numbers_in(std::string text) {
  std::erase(text, ',');
  std::vector<double> numbers;
  for (std::size_t at = 0; at < text.size();) {
    if (std::isdigit(static_cast<unsigned char>(text[at]))) {
      std::size_t used = 0;
      numbers.push_back(std::stod(text.substr(at), &used));
      at += used;
    } else {
      ++at;
    }
  }
  return numbers;
}

// Whether a cell shows these numbers, rounded to so many decimals, and no others; none: undefined.
void expect_shows(const Element& cell, const std::vector<std::optional<double>>& values, int decimals,
                  double scale = 1) {
  std::vector<double> wanted;
  for (const auto& value : values) {
    if (value) {
      wanted.push_back(scale * *value);
    }
  }
  const std::string& text = cell.text;
  const std::vector<double> shown = numbers_in(text);
  ASSERT_EQ(shown.size(), wanted.size()) << text;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    EXPECT_NEAR(shown[i], wanted[i], 0.5001 * std::pow(10, -decimals)) << text;
  }
  if (wanted.empty()) {
    EXPECT_EQ(text, "–");
  }
}

void expect_count(const Element& cell, std::int64_t value) {
  expect_shows(cell, {static_cast<double>(value)}, 9);
}

void expect_estimate(const Element& cell, const metrics::Estimate& estimate, int decimals) {
  expect_shows(cell,
               {estimate.value, estimate.interval ? std::optional(estimate.interval->low) : std::nullopt,
                estimate.interval ? std::optional(estimate.interval->high) : std::nullopt},
               decimals);
}

std::string exact_name(const Element& cell) {
  return cell.all("span", "name").at(0)->attribute("title");
}

TEST(ReportTest, IsWholeWithoutScriptsAndFetchesNothing) {
  const std::string html = sample().html();
  const Page page(html);
  for (const char* banned :
       {"http", "<script", "javascript", "src=", "@import", "url(", "<link", "onload", "nan", "inf<"}) {
    EXPECT_EQ(html.find(banned), std::string::npos) << banned;
  }
  std::set<std::string> ids;
  std::vector<std::string> order;
  for (const Element* section : page.root->all("section")) {
    EXPECT_TRUE(ids.insert(section->attribute("id")).second);
    order.push_back(section->attribute("id"));
  }
  EXPECT_EQ(order, (std::vector<std::string>{"summary", "tree", "labels", "curves", "thresholds", "auc-at-t",
                                             "destinations", "confusions", "together", "guarantee", "made"}));
  for (const Element* link : page.root->all("a")) {
    EXPECT_TRUE(ids.contains(link->attribute("href").substr(1))) << link->attribute("href");
  }
  for (const Element* svg : page.root->all("svg")) {
    EXPECT_TRUE(svg->attribute("aria-hidden") == "true" || svg->children.at(0)->name == "title");
  }
  for (const Element* table : page.root->all("table")) {
    EXPECT_EQ(table->all("caption").size(), 1u);
    for (const Element* head : table->all("th")) {
      EXPECT_NE(head->attribute("scope"), "");
    }
  }
}

TEST(ReportTest, SummaryAndLabelsShowTheirNumbers) {
  const Page page(sample().html());
  const metrics::Evaluation& evaluation = sample().evaluation;
  const auto cards = page.section("summary").all("dd");
  ASSERT_EQ(cards.size(), 6u);
  expect_count(*cards[0], evaluation.images);
  expect_count(*cards[1], evaluation.patients);
  expect_count(*cards[2], 14);
  expect_count(*cards[3], 21);
  expect_estimate(*cards[4], evaluation.mean_auroc, 3);
  expect_estimate(*cards[5], evaluation.mean_average_precision, 3);
  EXPECT_NE(page.section("summary").text.find("no medical device"), std::string::npos);
  const Rows rows = first_table(page, "labels");
  ASSERT_EQ(rows.size(), evaluation.labels.size());
  for (std::size_t l = 0; l < rows.size(); ++l) {
    const metrics::LabelEvaluation& label = evaluation.labels[l];
    EXPECT_EQ(exact_name(*rows[l][0]), label.name);
    expect_count(*rows[l][1], label.images);
    expect_count(*rows[l][2], label.positives);
    expect_estimate(*rows[l][3], label.auroc, 3);
    expect_estimate(*rows[l][4], label.average_precision, 3);
    expect_estimate(*rows[l][5], label.brier, 4);
  }
}

// Below 1 % two decimals, as the page says them.
void expect_percent(const Element& cell, std::optional<double> share) {
  const bool bound = cell.text.starts_with("<") || cell.text.starts_with(">");
  expect_shows(cell, {share}, bound ? 1 : share && *share < 0.00995 ? 2 : 1, 100);
}

TEST(ReportTest, TreeShowsEveryNodeBelowItsParent) {
  const Page page(sample().html());
  const tree::TreeEvaluation& result = sample().tree;
  const Rows rows = first_table(page, "tree");
  ASSERT_EQ(rows.size(), result.nodes.size());
  std::vector<std::int32_t> above;  // the way down to the last row
  for (const auto& row : rows) {
    const std::int32_t v = result.tree.find(exact_name(*row[0])).value();
    const tree::NodeEvaluation& node = result.nodes[static_cast<std::size_t>(v)];
    while (!above.empty() && above.back() != result.tree.node(v).parent) {
      above.pop_back();
    }
    EXPECT_EQ(above.empty(), v == result.tree.root());
    EXPECT_EQ(row[0]->all("i", "twig").size(), above.empty() ? 0u : 1u);
    above.push_back(v);
    expect_percent(*row[1], double(node.positives) / double(node.images));
    expect_estimate(*row[2], node.auroc, 3);
    expect_shows(*row[3], {node.auroc.value}, 3);
    expect_shows(*row[4], {node.raw_ece}, 3);
    expect_shows(*row[5], {node.ece}, 3);
    const std::optional<double> threshold = result.choice->nodes[static_cast<std::size_t>(v)].threshold;
    if (threshold) {
      EXPECT_NEAR(std::stod(row[6]->text), *threshold, 0.006 * *threshold);
    } else {
      EXPECT_EQ(row[6]->text, "none certified");
    }
  }
}

TEST(ReportTest, ThresholdsShowWhatTheyDo) {
  const Page page(sample().html());
  const std::vector<tree::ConfidenceAtT>& at = sample().tree.at;
  const Rows rows = first_table(page, "thresholds");
  ASSERT_EQ(rows.size(), 17u);
  for (std::size_t t = 0; t < at.size(); ++t) {
    std::size_t r = 0;
    const auto cell = [&]() -> const Element& { return *rows[r++].at(t + 1); };
    for (const tree::Reports& reports : {at[t].leaf, at[t].frontier}) {
      expect_percent(cell(), reports.coverage);
      expect_count(cell(), reports.reported);
      expect_count(cell(), reports.right);
      expect_shows(cell(), {reports.precision}, 3);
      expect_shows(cell(), {reports.recall}, 3);
    }
    expect_count(cell(), at[t].true_leaves);
    for (const auto& share : {at[t].persist, at[t].soften, at[t].withdrawn}) {
      expect_percent(cell(), share);
    }
    for (const auto& value : {at[t].hierarchical_precision, at[t].hierarchical_recall, at[t].hierarchical_f}) {
      expect_shows(cell(), {value}, 3);
    }
  }
}

TEST(ReportTest, AucStandsWithCoverageAndPositives) {
  const Page page(sample().html());
  const tree::TreeEvaluation& result = sample().tree;
  EXPECT_NE(page.section("auc-at-t").text.find("falls as T rises"), std::string::npos);
  const Rows rows = first_table(page, "auc-at-t");
  ASSERT_EQ(rows.size(), 14u);
  for (std::size_t l = 0; l < rows.size(); ++l) {
    for (std::size_t t = 0; t < result.at.size(); ++t) {
      const tree::ConfidenceAtT::AucAtT& auc = result.at[t].auc_at_t[l];
      const Element& cell = *rows[l].at(t + 1);
      const auto below = cell.all("small");
      ASSERT_EQ(below.size(), 2u);
      expect_percent(*below[0], auc.coverage);
      expect_count(*below[1], auc.positives);
      Element value;
      value.text = cell.text.substr(0, cell.text.size() - below[0]->text.size() - below[1]->text.size());
      expect_shows(value, {auc.auroc}, 3);
    }
  }
}

// The sentences, made from all nodes in their order instead of along the way up.
TEST(ReportTest, SaysWhatWasSoftened) {
  const Page page(sample().html());
  const tree::TreeEvaluation& result = sample().tree;
  const auto items = page.section("destinations").all("li");
  ASSERT_EQ(items.size(), 14 * result.at.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const tree::ConfidenceAtT& at = result.at[i / 14];
    const tree::ConfidenceAtT::Destination& went = at.destinations[i % 14];
    std::vector<double> wanted = {0};
    for (std::size_t v = 0; v < went.counts.size(); ++v) {
      wanted[0] += double(went.counts[v]);
      if (went.counts[v] > 0) {
        wanted.push_back(double(went.counts[v]));
        EXPECT_NE(items[i]->text.find(" as " + tree::spoken(result.tree.nodes()[v].name)), std::string::npos);
      }
    }
    wanted[0] += double(went.withdrawn);
    if (wanted[0] == 0) {
      EXPECT_EQ(items[i]->text, "No image has " + tree::spoken(result.tree.nodes()[i % 14].name) + ".");
      continue;
    }
    std::string sentence = items[i]->text.substr(0, items[i]->text.find("withdrawn.") + 10);
    const std::string where = at.name == "chosen" ? " at the chosen thresholds," : " at confidence " + at.name + ",";
    ASSERT_NE(sentence.find(where), std::string::npos) << sentence;
    sentence.erase(sentence.find(where), where.size());
    if (went.withdrawn > 0) {
      wanted.push_back(double(went.withdrawn));
    } else {
      EXPECT_NE(sentence.find("none was withdrawn"), std::string::npos) << sentence;
    }
    EXPECT_EQ(numbers_in(sentence), wanted) << sentence;
  }
}

TEST(ReportTest, ShowsConfusionsAndWhatOccursTogether) {
  const Page page(sample().html());
  const tree::TreeEvaluation& result = sample().tree;
  const Rows confusions = first_table(page, "confusions");
  ASSERT_EQ(confusions.size(), result.confusions.size());
  ASSERT_FALSE(confusions.empty());
  for (std::size_t i = 0; i < confusions.size(); ++i) {
    const tree::Confusion& confusion = result.confusions[i];
    EXPECT_EQ(exact_name(*confusions[i][0]), result.tree.node(confusion.reported).name);
    EXPECT_EQ(exact_name(*confusions[i][1]), result.tree.node(confusion.instead).name);
    expect_count(*confusions[i][2], confusion.images);
    expect_count(*confusions[i][3], confusion.false_reports);
    expect_percent(*confusions[i][4], double(confusion.images) / double(confusion.false_reports));
  }
  const Rows together = first_table(page, "together");
  ASSERT_EQ(together.size(), 14u);
  for (std::size_t a = 0; a < 14; ++a) {
    const double all = std::max<double>(1, double(result.together[a * 15]));
    for (std::size_t b = 0; b < 14; ++b) {
      const Element& cell = *together[a][b + 1];
      expect_count(cell, result.together[a * 14 + b]);
      if (a != b) {
        const double part = std::stod(cell.attribute("style").substr(std::string("--part:").size()));
        EXPECT_NEAR(part, double(result.together[a * 14 + b]) / all, 6e-4);
      }
    }
  }
}

TEST(ReportTest, SaysWhatIsGuaranteed) {
  SampleReport report = sample();
  const Page page(report.html());
  EXPECT_NE(page.section("guarantee").text.find(tree::guarantee_text(*report.tree.choice)), std::string::npos);
  const Rows rows = first_table(page, "guarantee");
  ASSERT_EQ(rows.size(), report.tree.nodes.size());
  std::size_t none = 0;
  for (std::size_t v = 0; v < rows.size(); ++v) {
    const tree::NodeThreshold& node = report.tree.choice->nodes[v];
    EXPECT_EQ(exact_name(*rows[v][0]), report.tree.tree.nodes()[v].name);
    expect_count(*rows[v][2], node.images);
    if (node.threshold) {
      expect_count(*rows[v][3], node.reported);
      expect_count(*rows[v][4], node.wrong);
      EXPECT_NEAR(std::stod(rows[v][6]->text), node.p_value, 0.06 * node.p_value);
    } else {
      ++none;
      for (std::size_t c = 3; c < 7; ++c) {
        EXPECT_EQ(rows[v][c]->text, "–");
      }
    }
  }
  EXPECT_GT(none, 0u);
  EXPECT_LT(none, rows.size());
  EXPECT_NE(page.section("guarantee").text.find("could be certified for these nodes"), std::string::npos);

  for (tree::NodeThreshold& node : report.tree.choice->nodes) {
    node.threshold.reset();
  }
  EXPECT_NE(Page(report.html()).section("guarantee").text.find("No threshold could be certified for any node"),
            std::string::npos);
  report.tree.choice.reset();
  const Page without(report.html());
  EXPECT_NE(without.section("guarantee").text.find("nothing is guaranteed"), std::string::npos);
  EXPECT_EQ(first_table(without, "tree").at(0).size(), 6u);
}

TEST(ReportTest, MissedPositivesAreNamedSo) {
  SampleReport report = sample();
  report.tree.choice->request = {tree::Guarantee::kMiss, 0.1, 0.1};
  tree::NodeThreshold& node = report.tree.choice->nodes[0];
  node.threshold = -std::numeric_limits<double>::infinity();
  node.images = 40, node.reported = 36, node.wrong = 4;
  const Page page(report.html());
  const Element& table = *page.section("guarantee").all("table").at(0);
  EXPECT_NE(table.text.find("Missed"), std::string::npos);
  const Rows rows = rows_of(table);
  EXPECT_EQ(rows[0][1]->text, "always");
  expect_percent(*rows[0][5], 0.1);
}

TEST(ReportTest, UndefinedIsADash) {
  SampleReport report = sample();
  metrics::LabelEvaluation& label = report.evaluation.labels[4];
  label.positives = 0, label.auroc = {}, label.average_precision = {}, label.curve.clear();
  report.tree.nodes[4] = tree::NodeEvaluation{};
  for (tree::ConfidenceAtT& at : report.tree.at) {
    at.auc_at_t[4] = {};
    at.destinations[4] = {0, std::vector<std::int64_t>(report.tree.nodes.size())};
  }
  const Page page(report.html());
  const auto row = first_table(page, "labels").at(4);
  EXPECT_EQ(row[3]->text, "–");
  EXPECT_EQ(row[4]->text, "–");
  for (const auto& of_tree : first_table(page, "tree")) {
    if (exact_name(*of_tree[0]) == label.name) {
      for (std::size_t c : {1u, 2u, 4u, 5u}) {
        EXPECT_EQ(of_tree[c]->text, "–");
      }
      EXPECT_EQ(of_tree[3]->text, "");
    }
  }
  const auto charts = page.section("curves").all("div", "multiple").at(4)->all("svg", "chart");
  ASSERT_EQ(charts.size(), 4u);
  for (const Element* chart : charts) {
    EXPECT_EQ(chart->all("text", "note").at(0)->text, "–");
    EXPECT_TRUE(chart->all("polyline", "line").empty());
    EXPECT_TRUE(chart->all("circle").empty());
  }
  EXPECT_TRUE(first_table(page, "auc-at-t").at(4).at(1)->text.starts_with("–0"));
  EXPECT_NE(page.section("destinations").text.find("No image has Mass."), std::string::npos);
  report.evaluation.mean_auroc = {};
  report.evaluation.mean_average_precision = {};
  for (metrics::LabelEvaluation& other : report.evaluation.labels) {
    other.auroc = {};
  }
  const Page nothing(report.html());
  EXPECT_EQ(nothing.section("summary").all("dd").at(4)->text, "–");
  EXPECT_NE(nothing.section("summary").text.find("No AUROC is defined"), std::string::npos);
}

TEST(ReportTest, WithoutATreeOnlyTheLabels) {
  const Page page(report_html(sample().evaluation, nullptr, {"Scores", {}}));
  EXPECT_EQ(page.sections.size(), 4u);
  EXPECT_EQ(first_table(page, "labels").size(), 14u);
  EXPECT_EQ(page.section("curves").all("svg", "chart").size(), 28u);
  EXPECT_NE(page.section("summary").text.find("There is no calibration"), std::string::npos);
}

TEST(ReportTest, AnyNumberOfThresholds) {
  SampleReport report = sample();
  const tree::ConfidenceAtT one = report.tree.at[1];
  report.tree.at = {one};
  EXPECT_EQ(first_table(Page(report.html()), "thresholds").at(0).size(), 2u);
  report.tree.at.clear();
  report.tree.confusions.clear();
  const Page none(report.html());
  EXPECT_NE(none.section("thresholds").text.find("No threshold was asked for"), std::string::npos);
  EXPECT_NE(none.section("destinations").text.find("No threshold was asked for"), std::string::npos);
  EXPECT_NE(none.section("confusions").text.find("No label was reported falsely"), std::string::npos);
  report.tree.at.assign(8, one);
  const Page many(report.html());
  std::vector<std::size_t> columns;
  for (const Element* table : many.section("thresholds").all("table")) {
    columns.push_back(table->all("thead").at(0)->all("th").size());
  }
  EXPECT_EQ(columns, (std::vector<std::size_t>{7, 3}));
}

TEST(ReportTest, NamesCannotBecomeMarkup) {
  const std::string hostile = "</style><script>alert(`x`)</script>&amp;' onload='y_z";
  const tree::LabelTree tree = tree::LabelTree::parse(
      fmt::format("[labels]\n\"{0}\" = [\"Mass\"]\nB = [\"Edema\"]\n[tree]\n\"R<&>\" = [\"{0}\", \"B\"]\n", hostile),
      "tree");
  SampleReport report = sample_report(tree, 300);
  report.context.title = "<b>title";
  report.context.provenance = {{"<i>name", "<u>value\x01\x7f"}};
  report.tree.settings = {{"<s>", "\"'&"}};
  report.tree.at[0].name = "<T>";
  const std::string html = report.html();
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("' onload"), std::string::npos);
  const Page page(html);
  EXPECT_EQ(exact_name(*first_table(page, "labels").at(0).at(0)), hostile);
  EXPECT_EQ(page.root->all("head").at(0)->all("title").at(0)->text, "<b>title");
  EXPECT_EQ(first_table(page, "made").at(0).at(1)->text, "\"'&");
  EXPECT_EQ(rows_of(*page.section("made").all("table").at(1)).at(0).at(1)->text, "<u>value\uFFFD\uFFFD");
  EXPECT_NE(page.section("thresholds").text.find("T = <T>"), std::string::npos);
  EXPECT_NE(page.section("destinations").text.find("At confidence <T>"), std::string::npos);
}

// Every corner of a drawn ROC curve is a point of the curve, in the chart's frame, and both ends are there.
void expect_roc(const Element& chart, const tree::NodeEvaluation& node) {
  const Element& frame = *chart.all("rect", "frame").at(0);
  const auto side = [&](const char* name) { return std::stod(frame.attribute(name)); };
  std::string points = chart.all("polyline", "line").at(0)->attribute("points");
  std::replace(points.begin(), points.end(), ',', ' ');
  const std::vector<double> drawn = numbers_in(points);
  ASSERT_GE(drawn.size(), 4u);
  for (std::size_t i = 0; i < drawn.size(); i += 2) {
    double nearest = 1e9;
    for (const metrics::CurvePoint& p : node.curve) {
      const double x = side("x") + side("width") * double(p.false_positives) / double(node.images - node.positives);
      const double y = side("y") + side("height") * (1 - double(p.true_positives) / double(node.positives));
      nearest = std::min(nearest, std::max(std::abs(x - drawn[i]), std::abs(y - drawn[i + 1])));
    }
    EXPECT_LT(nearest, 0.051);
  }
  EXPECT_NEAR(drawn[0], side("x"), 1e-9);
  EXPECT_NEAR(drawn.back(), side("y"), 1e-9);
}

TEST(ReportTest, DrawsTheCurves) {
  const Page page(sample().html());
  const tree::TreeEvaluation& result = sample().tree;
  const auto multiples = page.section("curves").all("div", "multiple");
  ASSERT_EQ(multiples.size(), result.nodes.size());
  for (std::size_t v = 0; v < multiples.size(); ++v) {
    const tree::NodeEvaluation& node = result.nodes[v];
    const auto charts = multiples[v]->all("svg", "chart");
    ASSERT_EQ(charts.size(), 4u);
    EXPECT_EQ(charts[0]->all("polyline", "score").size(),
              result.tree.is_leaf(static_cast<std::int32_t>(v)) && node.auroc.value ? 1u : 0u);
    if (node.auroc.value) {
      expect_roc(*charts[0], node);
    }
    std::size_t filled = 0;
    for (const metrics::ReliabilityBin& bin : node.reliability) {
      filled += bin.images > 0;
    }
    EXPECT_EQ(charts[2]->all("circle", "dot").size(), filled);
    const auto captions = multiples[v]->all("figcaption");
    expect_shows(*captions[0], {node.auroc.value, node.raw_auroc}, 3);
    expect_shows(*captions[2], {node.ece, node.raw_ece}, 3);
    expect_shows(*captions[3], {node.risk->aurc, node.risk->augrc}, 4);
  }
}

TEST(ReportTest, StaysSmall) {
  SampleReport report = sample();
  RandomStream random(3, RandomUse::kSynth);
  for (tree::NodeEvaluation& node : report.tree.nodes) {
    node.curve.clear();
    node.auroc.value = node.average_precision.value = 0.5;
    for (std::int64_t i = 0; i <= 1000; ++i) {  // rougher than a curve of 1000 points can be
      node.curve.push_back({1 - double(i) / 1000, i * node.positives / 1000,
                            random.below(1001) * (node.images - node.positives) / 1000});
    }
    node.risk.emplace();
    for (int i = 1; i <= 25000; ++i) {
      node.risk->curve.push_back({i / 25000.0, double(random.uniform())});
    }
  }
  EXPECT_LT(report.html().size(), 1500000u);
}

TEST(ReportTest, RefusesWhatDoesNotFit) {
  const auto refused = [](auto&& change, const std::string& word) {
    SampleReport report = sample();
    change(report);
    try {
      report.html();
      ADD_FAILURE() << "not refused: " << word;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(word), std::string::npos) << e.what();
    }
  };
  refused([](SampleReport& r) { r.evaluation.labels.pop_back(); }, "13 labels");
  refused([](SampleReport& r) { r.evaluation.labels[2].name = "Other"; }, "'Other'");
  refused([](SampleReport& r) { r.tree.nodes.pop_back(); }, "20 nodes");
  refused([](SampleReport& r) { r.tree.together.pop_back(); }, "195 numbers");
  refused([](SampleReport& r) { r.tree.choice->nodes.pop_back(); }, "20 nodes");
  refused([](SampleReport& r) { r.tree.at[1].auc_at_t.pop_back(); }, "'0.5'");
  refused([](SampleReport& r) { r.tree.at[0].destinations[3].counts.pop_back(); }, "'0.2'");
}

// The reader that the tests above trust.
TEST(ReportHtmlTest, BrokenMarkupIsSeen) {
  const std::string good = "<!DOCTYPE html>\n<html><p class=\"a\">x &lt; y<br/></p></html>\n";
  EXPECT_EQ(MarkupReader(good).read()->all("p", "a").at(0)->text, "x < y");
  for (const auto& [part, broken] :
       std::initializer_list<std::pair<std::string, std::string>>{{"</p>", ""},
                                                                  {"</p></html>", "</html></p>"},
                                                                  {"&lt;", "<"},
                                                                  {"&lt;", "&"},
                                                                  {"&lt;", "&nbsp;"},
                                                                  {"\"a\"", "a"},
                                                                  {"=\"a\"", ""},
                                                                  {"class", "class=\"b\" class"},
                                                                  {"x", "\x01"},
                                                                  {"</html>\n", "</html>\n<p/>"}}) {
    std::string bad = good;
    bad.replace(bad.rfind(part), part.size(), broken);
    EXPECT_THROW(MarkupReader(bad).read(), Error) << bad;
  }
}

TEST(ReportHtmlTest, NumbersAsTheyAreRead) {
  EXPECT_EQ(html::count(0), "0");
  EXPECT_EQ(html::count(999), "999");
  EXPECT_EQ(html::count(1000), "1,000");
  EXPECT_EQ(html::count(-1234567), "-1,234,567");
  EXPECT_EQ(html::images(1), "1 image");
  EXPECT_EQ(html::number(std::nullopt), "–");
  EXPECT_EQ(html::number(std::nan("")), "–");
  EXPECT_EQ(html::number(0.0), "0.000");
  EXPECT_EQ(html::percent(std::nullopt), "–");
  EXPECT_EQ(html::percent(0.0), "0\u00A0%");
  EXPECT_EQ(html::percent(1.0), "100\u00A0%");
  EXPECT_EQ(html::percent(0.00001), "&lt;\u00A00.01\u00A0%");
  EXPECT_EQ(html::percent(0.99999), "&gt;\u00A099.9\u00A0%");
  EXPECT_EQ(html::percent(0.0042), "0.42\u00A0%");
  EXPECT_EQ(html::percent(0.4321), "43.2\u00A0%");
  EXPECT_EQ(html::threshold(std::numeric_limits<double>::infinity()), "never");
  EXPECT_EQ(html::threshold(-std::numeric_limits<double>::infinity()), "always");
  EXPECT_EQ(html::threshold(0.012345), "0.0123");
  EXPECT_EQ(html::ratio(1, 0), std::nullopt);
  html::Table table("caption", {"a", "b"});
  EXPECT_THROW(table.row(std::string("head"), {}), Error);
}

TEST(ReportSvgTest, ThinsWithinTheTolerance) {
  RandomStream random(7, RandomUse::kSynth);
  std::vector<svg::Point> line;
  line.reserve(500);
  for (int i = 0; i < 500; ++i) {
    line.push_back({double(i) / 5, 20 * std::sin(i / 40.0) + 0.3 * random.uniform()});
  }
  const std::vector<svg::Point> thinned = svg::thin(line, 0.5, 100);
  EXPECT_LT(thinned.size(), 60u);
  EXPECT_EQ(thinned.front(), line.front());
  EXPECT_EQ(thinned.back(), line.back());
  std::size_t next = 1;  // the thinned line at x, against each point left out
  for (const svg::Point& p : line) {
    while (next + 1 < thinned.size() && thinned[next].x < p.x) {
      ++next;
    }
    const svg::Point a = thinned[next - 1], b = thinned[next];
    const double slope = (b.y - a.y) / (b.x - a.x), above = std::abs(p.y - a.y - slope * (p.x - a.x));
    EXPECT_LE(above / std::hypot(1, slope), 0.5 + 1e-9);
  }
  EXPECT_LE(svg::thin(line, 0.001, 10).size(), 10u);
  EXPECT_EQ(svg::thin({{0, 0}, {1, 0}, {2, 0}, {3, 0}}, 0.1, 9), (std::vector<svg::Point>{{0, 0}, {3, 0}}));
  EXPECT_THROW(svg::thin(line, 0, 10), Error);
  EXPECT_THROW(svg::thin(line, 0.1, 1), Error);
  EXPECT_EQ(svg::axis_end(0), 0.01);
  EXPECT_EQ(svg::axis_end(0.05), 0.05);
  EXPECT_EQ(svg::axis_end(0.051), 0.1);
  EXPECT_EQ(svg::axis_end(0.7), 1);
}

}  // namespace
}  // namespace densetree::report
