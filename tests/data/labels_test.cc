#include "data/labels.h"

#include <gtest/gtest.h>

#include <set>

#include "engine/io/file.h"
#include "tests/data/files.h"
#include "tests/shared_data.h"

namespace densetree::data {
namespace {

LabelTable read(const std::string& text) {
  const TemporaryFolder folder;
  write_file(folder / "t.csv", text);
  return read_label_table(folder / "t.csv");
}
std::string error_for(const std::string& text) {
  const std::string message = error_of([&] { read(text); });
  expect_contains(message, "t.csv");
  return message;
}
const std::string kHeader = "Image Index,Finding Labels,Patient ID\n";

TEST(Labels, ReadsTheColumnsByName) {
  const LabelTable table = read(
      "Patient ID,Image Index,Follow-up #,Finding Labels\r\n7,a.png,0,No Finding\r\n"
      "0012,\"b.png\",1,\"Hernia|Mass\"\r\n");
  ASSERT_EQ(table.entries.size(), 2u);
  EXPECT_EQ(table.entries[0].image, "a.png");
  EXPECT_EQ(table.entries[0].patient, 7);
  EXPECT_EQ(table.entries[0].findings, 0u);
  EXPECT_EQ(table.entries[1].image, "b.png");
  EXPECT_EQ(table.entries[1].patient, 12);
  EXPECT_EQ(table.entries[1].line, 3u);
  EXPECT_EQ(findings_text(table.entries[1].findings), "Mass|Hernia");
}

TEST(Labels, FindingsGoThereAndBack) {
  for (FindingSet set = 0; set < FindingSet{1} << kFindings.size(); set += 37) {
    EXPECT_EQ(parse_findings(findings_text(set), "x"), set);
  }
  EXPECT_EQ(findings_text(0), "No Finding");
}

TEST(Labels, FaultsNameLineAndRemedy) {
  expect_contains(error_for("Image Index,Finding Labels\na.png,Mass\n"), "no column 'Patient ID'");
  expect_contains(error_for("Image Index,Patient ID\na.png,1\n"), "no column 'Finding Labels'");
  expect_contains(error_for("Image,Patient ID,Finding Labels\n"), "no column 'Image Index'");
  expect_contains(error_for(""), "is empty");
  expect_contains(error_for(kHeader), "no rows");
  expect_contains(error_for(kHeader + "a.png,Mass,1\nb.png,mass,1\n"), "t.csv:3: unknown finding 'mass'");
  expect_contains(error_for(kHeader + "a.png,Mass|,1\n"), "t.csv:2: unknown finding ''");
  expect_contains(error_for(kHeader + "a.png,,1\n"), "t.csv:2: no findings; write 'No Finding'");
  expect_contains(error_for(kHeader + "a.png,Mass|No Finding,1\n"), "must stand alone");
  expect_contains(error_for(kHeader + "a.png,Mass|Edema|Mass,1\n"), "'Mass' is there twice");
  expect_contains(error_for(kHeader + "a.png,Mass,1\n\nb.png,Mass,2\na.png,Edema,1\n"),
                  "t.csv:5: image a.png is already in line 2");
  expect_contains(error_for(kHeader + "a.png,mass,1\n"), "unknown finding 'mass'; did you mean 'Mass'?; known are");
  expect_contains(error_for(kHeader + "a.png,Pleural Thickening,1\n"), "did you mean 'Pleural_Thickening'?");
  expect_contains(error_for("image index,Finding Labels,Patient ID\n"), "did you mean 'image index'?");
  expect_contains(error_for(kHeader + "dir/a.png,Mass,1\n"), "without folder");
  expect_contains(error_for(kHeader + ",Mass,1\n"), "t.csv:2");
  expect_contains(error_for(kHeader + "a.png,Mass\n"), "t.csv:2: has 2 fields; the header has 3");
}

TEST(Labels, PatientsAreWholeNumbers) {
  for (const char* patient : {"13", "00000013", " 13 ", "13\t"}) {
    EXPECT_EQ(read(kHeader + "a.png,Mass," + patient + "\n").entries[0].patient, 13) << patient;
  }
  EXPECT_EQ(parse_patient("9223372036854775807", "x"), 9223372036854775807);
  for (const char* patient : {"", " ", "x", "abc", "-3", "-0", "+3", "1.5", "13.0", "1e3", "1 3", "9223372036854775808",
                              "99999999999999999999", "123456789012345678901234567890123456"}) {
    expect_contains(error_for(kHeader + "a.png,Mass," + patient + "\n"),
                    fmt::format("t.csv:2: patient '{}' is not a whole number from 0 to 9223372036854775807, in digits "
                                "alone",
                                patient));
  }
}

// What a spreadsheet makes of a table.
TEST(Labels, ReadsWhatSpreadsheetsWrite) {
  const LabelTable table =
      read("\xef\xbb\xbfImage Index , Finding Labels,Patient ID\ra.png,Mass,1\r\"b.png\",No Finding,2\r,,\r,,,,\r");
  ASSERT_EQ(table.entries.size(), 2u);
  EXPECT_EQ(table.entries[1].image, "b.png");
  EXPECT_EQ(table.entries[1].line, 3u);
}

TEST(Labels, MergedLabelsAreTrueWhenAnyFindingIs) {
  const LabelSet labels({{"Mass_Hernia", {"Mass", "Hernia"}}, {"Edema", {"Edema"}}});
  ASSERT_EQ(labels.size(), 2u);
  const auto targets = [&](const char* text) {
    std::vector<float> out(2, -1.0f);
    labels.targets(parse_findings(text, "x"), out);
    return out;
  };
  EXPECT_EQ(targets("No Finding"), (std::vector<float>{0, 0}));
  EXPECT_EQ(targets("Hernia"), (std::vector<float>{1, 0}));
  EXPECT_EQ(targets("Mass|Hernia|Edema"), (std::vector<float>{1, 1}));
  EXPECT_EQ(targets("Nodule|Edema"), (std::vector<float>{0, 1}));
}

TEST(Labels, TheDefaultIsOneLabelAFinding) {
  const LabelSet labels;
  ASSERT_EQ(labels.size(), kFindings.size());
  std::vector<float> out(labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    EXPECT_EQ(labels.names()[i], kFindings[i]);
    labels.targets(parse_findings(kFindings[i], "x"), out);
    for (std::size_t j = 0; j < labels.size(); ++j) EXPECT_EQ(out[j], i == j ? 1.0f : 0.0f);
  }
}

TEST(Labels, BadLabelSetsAreRefused) {
  const auto error = [](std::vector<std::pair<std::string, std::vector<std::string>>> labels) {
    return error_of([&] { LabelSet set(labels); });
  };
  expect_contains(error({}), "no labels");
  expect_contains(error({{"A", {}}}), "label 'A' has no findings");
  expect_contains(error({{"A", {"Masses"}}}), "unknown finding 'Masses'");
  expect_contains(error({{"A", {"Mass"}}, {"A", {"Edema"}}}), "label 'A' is there twice");
  expect_contains(error({{"", {"Mass"}}}), "empty name");
}

TEST(Labels, ReadsTheWholeOfNih) {
  DENSETREE_NEEDS_SHARED("data/nih-full");
  const LabelTable table = read_label_table(shared_folder() / "data/nih-full/Data_Entry_2017_v2020.csv.gz");
  EXPECT_EQ(table.entries.size(), 112120u);
  std::set<std::int64_t> patients;
  std::size_t hernias = 0, healthy = 0;
  for (const LabelEntry& entry : table.entries) {
    patients.insert(entry.patient);
    hernias += (entry.findings & parse_findings("Hernia", "x")) != 0;
    healthy += entry.findings == 0;
  }
  EXPECT_EQ(patients.size(), 30805u);
  EXPECT_EQ(hernias, 227u);
  EXPECT_EQ(healthy, 60361u);
}

}  // namespace
}  // namespace densetree::data
