// NIH's label table, and labels made of its findings.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace densetree::data {

// The 14 findings of ChestX-ray14, in the order of its publication.
inline constexpr std::array<std::string_view, 14> kFindings = {
    "Atelectasis", "Cardiomegaly", "Effusion",           "Infiltration",  "Mass",
    "Nodule",      "Pneumonia",    "Pneumothorax",       "Consolidation", "Edema",
    "Emphysema",   "Fibrosis",     "Pleural_Thickening", "Hernia"};
inline constexpr std::string_view kNoFinding = "No Finding";

using FindingSet = std::uint32_t;  // bit i: kFindings[i] is there

// From and to the form "Cardiomegaly|Effusion". Parsing throws Error, opened by `where` ("file:line"), on an unknown
// or repeated finding, an empty text, or `No Finding` beside others.
FindingSet parse_findings(std::string_view text, const std::string& where);
std::string findings_text(FindingSet findings);
std::vector<std::string> finding_names(FindingSet findings);  // in the order of kFindings

// A patient's number, with blanks around it or not. Throws Error, opened by `where`, on anything else.
std::int64_t parse_patient(std::string_view text, const std::string& where);

struct LabelEntry {
  std::string image;  // file name without folder
  std::int64_t patient = 0;
  FindingSet findings = 0;
  std::size_t line = 0;  // in the table
};

struct LabelTable {
  std::string source;
  std::vector<LabelEntry> entries;  // in the file's order
};

// Reads the columns `Image Index`, `Patient ID` and `Finding Labels`; others are left alone. *.gz is unpacked.
// Throws Error naming file and line: a missing column, no rows, an image listed twice or named with a folder,
// a patient that is no whole number, findings as above.
LabelTable read_label_table(const std::filesystem::path& path);

// Labels to train on. Each is true when any of its findings is there.
class LabelSet {
 public:
  LabelSet();  // the 14 findings, one to one
  // Pairs of a label and its findings, as a tree file's [labels] gives them. Throws Error on a repeated or empty
  // label, a label without findings, an unknown finding.
  explicit LabelSet(const std::vector<std::pair<std::string, std::vector<std::string>>>& labels);

  std::size_t size() const { return names_.size(); }
  const std::vector<std::string>& names() const { return names_; }
  FindingSet findings(std::size_t label) const { return findings_[label]; }
  bool operator==(const LabelSet&) const = default;
  // out[size()]: 1 where the label is true, else 0.
  void targets(FindingSet findings, std::span<float> out) const;

 private:
  std::vector<std::string> names_;
  std::vector<FindingSet> findings_;
};

}  // namespace densetree::data
