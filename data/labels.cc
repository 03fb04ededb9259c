#include "data/labels.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <unordered_map>

#include "engine/io/csv.h"
#include "engine/io/nearest_name.h"
#include "engine/io/text.h"
#include "kernels/core/error.h"

namespace densetree::data {
namespace {

constexpr FindingSet bit(std::size_t finding) {
  return FindingSet{1} << finding;
}

// Index in kFindings, or its size.
std::size_t find_finding(std::string_view name) {
  return static_cast<std::size_t>(std::find(kFindings.begin(), kFindings.end(), name) - kFindings.begin());
}

// "; did you mean 'Mass'?", or nothing.
std::string guess(std::string_view name) {
  std::vector<std::string> known(kFindings.begin(), kFindings.end());
  known.emplace_back(kNoFinding);
  return did_you_mean(name, known);
}

}  // namespace

std::int64_t parse_patient(std::string_view text, const std::string& where) {
  const std::string_view digits = without_blanks(text);
  std::int64_t patient = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), patient);
  check(error == std::errc() && end == digits.data() + digits.size() && patient >= 0 && digits.front() != '-',
        "{}: patient '{}' is not a whole number from 0 to {}, in digits alone", where, text,
        std::numeric_limits<std::int64_t>::max());
  return patient;
}

FindingSet parse_findings(std::string_view text, const std::string& where) {
  if (text == kNoFinding) return 0;
  check(!text.empty(), "{}: no findings; write '{}' where there are none", where, kNoFinding);
  FindingSet set = 0;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('|', begin), text.size());
    const std::string_view name = text.substr(begin, end - begin);
    const std::size_t finding = find_finding(name);
    check(name != kNoFinding, "{}: '{}' stands beside other findings in '{}'; it must stand alone", where, kNoFinding,
          text);
    if (finding == kFindings.size()) {  // no check(): its arguments would search for a name at every image
      fail("{}: unknown finding '{}'{}; known are {} and {}, joined by |", where, name, guess(name),
           fmt::join(kFindings, ", "), kNoFinding);
    }
    check((set & bit(finding)) == 0, "{}: finding '{}' is there twice in '{}'", where, name, text);
    set |= bit(finding);
    begin = end + 1;
  }
  return set;
}

std::vector<std::string> finding_names(FindingSet findings) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kFindings.size(); ++i) {
    if ((findings & bit(i)) != 0) names.emplace_back(kFindings[i]);
  }
  return names;
}

std::string findings_text(FindingSet findings) {
  return findings == 0 ? std::string(kNoFinding) : fmt::format("{}", fmt::join(finding_names(findings), "|"));
}

LabelTable read_label_table(const std::filesystem::path& path) {
  const CsvTable csv = CsvTable::read(path);
  const std::size_t image = csv.column("Image Index"), patient = csv.column("Patient ID"),
                    findings = csv.column("Finding Labels");
  check(csv.rows() > 0, "{}: has a header but no rows", csv.source());
  LabelTable table{csv.source(), {}};
  table.entries.reserve(csv.rows());
  std::unordered_map<std::string_view, std::size_t> seen;
  for (std::size_t i = 0; i < csv.rows(); ++i) {
    const std::vector<std::string>& row = csv.row(i);
    const std::string where = fmt::format("{}:{}", csv.source(), csv.line(i));
    check(!row[image].empty() && row[image].find('/') == std::string::npos,
          "{}: image '{}' must be a file name without folder", where, row[image]);
    const auto [earlier, first] = seen.emplace(row[image], csv.line(i));
    check(first, "{}: image {} is already in line {}; each image may have one row", where, row[image], earlier->second);
    table.entries.push_back(
        {row[image], parse_patient(row[patient], where), parse_findings(row[findings], where), csv.line(i)});
  }
  return table;
}

LabelSet::LabelSet() {
  for (std::size_t i = 0; i < kFindings.size(); ++i) {
    names_.emplace_back(kFindings[i]);
    findings_.push_back(bit(i));
  }
}

LabelSet::LabelSet(const std::vector<std::pair<std::string, std::vector<std::string>>>& labels) {
  check(!labels.empty(), "there are no labels; at least one is needed");
  for (const auto& [name, findings] : labels) {
    check(!name.empty(), "a label has an empty name");
    check(std::find(names_.begin(), names_.end(), name) == names_.end(), "label '{}' is there twice", name);
    check(!findings.empty(), "label '{}' has no findings; name one or more of {}", name, fmt::join(kFindings, ", "));
    FindingSet set = 0;
    for (const std::string& text : findings) {
      const std::size_t finding = find_finding(text);
      check(finding < kFindings.size(), "label '{}' has the unknown finding '{}'; known are {}", name, text,
            fmt::join(kFindings, ", "));
      set |= bit(finding);
    }
    names_.push_back(name);
    findings_.push_back(set);
  }
}

void LabelSet::targets(FindingSet findings, std::span<float> out) const {
  check(out.size() == size(), "{} targets asked of {} labels", out.size(), size());
  for (std::size_t i = 0; i < size(); ++i) out[i] = (findings & findings_[i]) != 0 ? 1.0f : 0.0f;
}

}  // namespace densetree::data
