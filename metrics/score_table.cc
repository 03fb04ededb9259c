#include "metrics/score_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "engine/io/csv.h"
#include "engine/io/nearest_name.h"
#include "engine/io/text.h"
#include "kernels/core/error.h"

namespace densetree::metrics {

namespace {

constexpr std::string_view kImageColumn = "Image Index";
constexpr std::string_view kScorePrefix = "prob_";

struct LabelColumn {
  std::string label;
  std::size_t column = 0;
};

std::optional<std::size_t> find_column(const CsvTable& table, const std::string& label) {
  const std::string prefixed = std::string(kScorePrefix) + label;
  const bool plain = table.has_column(label), with_prefix = table.has_column(prefixed);
  check(!(plain && with_prefix), "{}: has both '{}' and '{}'; which of them holds the scores?", table.source(), label,
        prefixed);
  if (plain || with_prefix) {
    return table.column(plain ? label : prefixed);
  }
  return std::nullopt;
}

// "prob Mass" and the like without what stands for the prefix.
std::string_view bare_name(std::string_view column) {
  const bool prefixed = !nearest_name(column.substr(0, kScorePrefix.size()), {std::string(kScorePrefix)}).empty();
  return prefixed ? column.substr(kScorePrefix.size()) : column;
}

// A sentence for each column that may be meant for a label without one, and one for all others that are no label.
std::vector<std::string> notes_on(const std::vector<std::string>& others, const std::vector<std::string>& missing) {
  std::vector<std::string> notes, left;
  for (const std::string& column : others) {
    const std::string label = nearest_name(bare_name(column), missing);
    if (label.empty()) {
      left.push_back(column);
    } else {
      notes.push_back(fmt::format("column '{}' looks like label '{}'; rename it", column, label));
    }
  }
  if (!left.empty()) {
    notes.push_back(fmt::format("left out are the columns that are no label: {}", fmt::join(left, ", ")));
  }
  return notes;
}

std::vector<LabelColumn> find_columns(const CsvTable& table, const data::LabelSet& labels, MissingLabels allowed,
                                      std::vector<std::string>& notes) {
  std::vector<LabelColumn> columns;
  std::vector<std::string> missing, others;
  std::vector<bool> used(table.header().size(), false);
  used[table.column(kImageColumn)] = true;
  for (const std::string& label : labels.names()) {
    if (const auto column = find_column(table, label)) {
      columns.push_back({label, *column});
      used[*column] = true;
    } else {
      missing.push_back(label);
    }
  }
  for (std::size_t column = 0; column < used.size(); ++column) {
    if (!used[column] && !table.header()[column].empty()) {
      others.push_back(table.header()[column]);
    }
  }
  notes = notes_on(others, missing);
  const std::string all_notes = notes.empty() ? "" : fmt::format("; {}", fmt::join(notes, "; "));
  check(!columns.empty(), "{}: no column is called after a label, with or without '{}'; the labels are {}{}",
        table.source(), kScorePrefix, fmt::join(labels.names(), ", "), all_notes);
  if (!missing.empty()) {
    const std::string what =
        fmt::format("{} of {} labels have no column: {}", missing.size(), labels.size(), fmt::join(missing, ", "));
    check(allowed == MissingLabels::kLeftOut,
          "{}: {}{}; `densetree eval --allow-missing-labels` leaves them out, a calibration needs them all",
          table.source(), what, all_notes);
    notes.push_back(what + "; they are left out");
  }
  return columns;
}

double parse_score(const CsvTable& table, std::size_t row, std::size_t column) {
  const std::string& text = table.row(row)[column];
  const std::optional<double> value = parse_number(text);
  check(value && *value >= 0 && *value <= 1, "{}:{}: column '{}' is '{}'; a score is a number from 0 to 1{}",
        table.source(), table.line(row), table.header()[column], text,
        text.find(',') != std::string::npos   ? ", with a decimal point"
        : text.find('%') != std::string::npos ? ", not a percentage"
                                              : "");
  return *value;
}

}  // namespace

ScoreTable read_score_table(const std::filesystem::path& path, const data::LabelSet& labels, MissingLabels allowed) {
  const CsvTable table = CsvTable::read(path);
  const std::size_t image_column = table.column(kImageColumn);
  ScoreTable result;
  const std::vector<LabelColumn> columns = find_columns(table, labels, allowed, result.notes);
  check(table.rows() > 0, "{}: has no scores, only a header", table.source());
  result.source = table.source();
  for (const LabelColumn& column : columns) {
    result.labels.push_back(column.label);
  }
  result.scores.reserve(table.rows() * columns.size());
  std::unordered_map<std::string_view, std::size_t> seen;
  for (std::size_t row = 0; row < table.rows(); ++row) {
    const std::string& image = table.row(row)[image_column];
    check(!image.empty(), "{}:{}: the image has no name", table.source(), table.line(row));
    const auto [first, fresh] = seen.emplace(image, table.line(row));
    check(fresh, "{}:{}: image '{}' is there already, at line {}", table.source(), table.line(row), image,
          first->second);
    result.images.push_back(image);
    result.lines.push_back(table.line(row));
    for (const LabelColumn& column : columns) {
      result.scores.push_back(parse_score(table, row, column.column));
    }
  }
  return result;
}

void ScoredImages::check_values(const std::string& source) const {
  check(!images.empty(), "{}: there is no image to evaluate", source);
  check(!labels.empty(), "{}: there is no label to evaluate", source);
  const std::size_t cells = images.size() * labels.size();
  check(patients.size() == images.size() && scores.size() == cells && targets.size() == cells,
        "{}: {} images of {} labels, but {} patients, {} scores and {} targets", source, images.size(), labels.size(),
        patients.size(), scores.size(), targets.size());
  for (std::size_t i = 0; i < cells; ++i) {
    const std::size_t image = i / labels.size(), label = i % labels.size();
    check(scores[i] >= 0 && scores[i] <= 1, "{}: the score of {} for image {} is {}; it must be from 0 to 1", source,
          labels[label], images[image], scores[i]);
    check(targets[i] == 0 || targets[i] == 1 || std::isnan(targets[i]),
          "{}: the truth of {} for image {} is {}; it must be 0, 1 or missing", source, labels[label], images[image],
          targets[i]);
  }
}

ScoredImages join(const ScoreTable& scores, const data::LabelTable& truth, const data::LabelSet& labels) {
  std::unordered_map<std::string_view, const data::LabelEntry*> entries;
  for (const data::LabelEntry& entry : truth.entries) {
    entries.emplace(entry.image, &entry);
  }
  ScoredImages result;
  result.images = scores.images;
  result.labels = scores.labels;
  result.scores = scores.scores;
  std::vector<data::FindingSet> meaning;  // of each label
  for (const std::string& label : scores.labels) {
    const auto at = std::find(labels.names().begin(), labels.names().end(), label);
    check(at != labels.names().end(), "{}: label '{}' is unknown", scores.source, label);
    meaning.push_back(labels.findings(static_cast<std::size_t>(at - labels.names().begin())));
  }
  std::size_t absent = 0, first = 0;
  for (std::size_t i = 0; i < scores.images.size(); ++i) {
    const auto found = entries.find(scores.images[i]);
    if (found == entries.end()) {
      first = absent++ == 0 ? i : first;
      continue;
    }
    result.patients.push_back(found->second->patient);
    for (const data::FindingSet findings : meaning) {
      result.targets.push_back((found->second->findings & findings) != 0 ? 1.0f : 0.0f);
    }
  }
  check(absent == 0, "{}: {} of its {} images are not in {}; the first is '{}' at line {}", scores.source, absent,
        scores.images.size(), truth.source, scores.images[first], scores.lines[first]);
  return result;
}

std::string score_csv(const ScoredImages& set) {
  std::vector<std::string> fields = {std::string(kImageColumn)};
  for (const std::string& label : set.labels) {
    fields.push_back(std::string(kScorePrefix) + label);
  }
  std::string text = csv_row(fields);
  for (std::size_t i = 0; i < set.images.size(); ++i) {
    fields.assign(1, set.images[i]);
    for (std::size_t label = 0; label < set.labels.size(); ++label) {
      fields.push_back(fmt::format("{}", set.scores[i * set.labels.size() + label]));
    }
    text += csv_row(fields);
  }
  return text;
}

}  // namespace densetree::metrics
