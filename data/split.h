// Who trains, who validates, who tests: always by patient, so that no patient stands on two sides.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/labels.h"
#include "engine/io/settings.h"

namespace densetree::data {

enum class Side : std::uint8_t { kTrain, kVal, kTest };
inline constexpr Side kSides[] = {Side::kTrain, Side::kVal, Side::kTest};
constexpr Names<Side, 3> names(Side) {
  return {"split", {{Side::kTrain, "train"}, {Side::kVal, "val"}, {Side::kTest, "test"}}};
}

struct SplitOptions {
  double test_fraction = 0.2, val_fraction = 0.2;
  std::uint64_t seed = 1;
  // Both or none: image names, one a line, as NIH ships them (train_val_list.txt, test_list.txt). Blanks and tabs at
  // the ends of lines, and a byte order mark, are left out.
  std::filesystem::path train_val_list, test_list;

  static void settings(auto& o, auto&& f) {
    f(o.test_fraction, Setting{"test-fraction", "of the patients, for testing; not with lists", from_below(0, 1)});
    f(o.val_fraction, Setting{"val-fraction", "of the patients that are not for testing", from_below(0, 1)});
  }
};

// One side for each entry of the table; none where lists are given and hold no such image.
//
// Patients are sorted by number and shuffled with the seed; the first test_fraction are for testing, the next
// val_fraction of the others for validation (each rounded, but at least one patient where the fraction is above 0).
// So the split depends on the set of patients and the seed, never on the order of the file. With lists only the
// validation patients are drawn. Throws Error: fractions outside [0, 1), too few patients, one list without the other,
// an image in both lists, a patient on both sides (naming the patient, both images and both lists), a list of which no
// name is in the table. `unmatched`, where given, gets a sentence for each list of which some names are not.
std::vector<std::optional<Side>> split_by_patient(const LabelTable& table, const SplitOptions& options,
                                                  std::vector<std::string>* unmatched = nullptr);

}  // namespace densetree::data
