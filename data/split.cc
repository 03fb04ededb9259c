#include "data/split.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "engine/io/file.h"
#include "engine/io/text.h"
#include "kernels/core/error.h"
#include "kernels/core/philox.h"

namespace densetree::data {
namespace {

using Sides = std::vector<std::optional<Side>>;

// Where a list names an image: for messages and look-ups.
struct Listed {
  const std::filesystem::path* list;
  std::size_t line;
};
using Lists = std::unordered_map<std::string, Listed>;

std::vector<std::int64_t> sorted_unique(std::vector<std::int64_t> patients) {
  std::sort(patients.begin(), patients.end());
  patients.erase(std::unique(patients.begin(), patients.end()), patients.end());
  return patients;
}

void shuffle(std::vector<std::int64_t>& patients, std::uint64_t seed) {
  RandomStream random(seed, RandomUse::kSplit);
  for (std::size_t left = patients.size(); left > 1; --left) {
    std::swap(patients[left - 1], patients[random.below(static_cast<std::uint32_t>(left))]);
  }
}

// How many of `count` patients a fraction takes: rounded, at least one where it is above 0.
std::size_t share(std::size_t count, double fraction) {
  if (fraction == 0) return 0;
  return std::max<std::size_t>(1, static_cast<std::size_t>(std::llround(static_cast<double>(count) * fraction)));
}

Sides split_by_fraction(const LabelTable& table, const SplitOptions& options) {
  std::vector<std::int64_t> patients;
  for (const LabelEntry& entry : table.entries) patients.push_back(entry.patient);
  patients = sorted_unique(std::move(patients));
  shuffle(patients, options.seed);
  const std::size_t test = share(patients.size(), options.test_fraction);
  const std::size_t val = test < patients.size() ? share(patients.size() - test, options.val_fraction) : 0;
  check(test + val < patients.size(),
        "{}: {} patients are too few to train with a test fraction of {} and a validation fraction of {}", table.source,
        patients.size(), options.test_fraction, options.val_fraction);
  std::unordered_map<std::int64_t, Side> side;
  for (std::size_t i = 0; i < patients.size(); ++i) {
    side[patients[i]] = i < test ? Side::kTest : i < test + val ? Side::kVal : Side::kTrain;
  }
  Sides sides;
  for (const LabelEntry& entry : table.entries) sides.emplace_back(side.at(entry.patient));
  return sides;
}

void read_list(const std::filesystem::path& path, Lists& lists) {
  const std::string text = utf8_text(read_file(path), path.string());
  std::size_t line = 0, names = 0;
  for (const std::string_view whole : lines_of(text)) {
    ++line;
    const std::string name(whole.substr(0, whole.find_last_not_of(" \t") + 1));
    if (!name.empty()) {
      const auto [earlier, first] = lists.emplace(name, Listed{&path, line});
      check(first || earlier->second.list == &path, "{}:{}: image {} is also in {}:{}; it may be in one list only",
            path.string(), line, name, earlier->second.list->string(), earlier->second.line);
      ++names;
    }
  }
  check(names > 0, "{}: is empty; it must hold image names, one a line", path.string());
}

// Says which names of a list are no image of the table. Throws Error where none is one.
void check_matched(const LabelTable& table, const Lists& lists, const std::filesystem::path& list,
                   std::vector<std::string>* unmatched) {
  std::unordered_set<std::string_view> images;
  for (const LabelEntry& entry : table.entries) images.insert(entry.image);
  std::size_t names = 0, missing = 0, first_line = SIZE_MAX;
  std::string_view first;
  for (const auto& [name, listed] : lists) {
    if (listed.list != &list) continue;
    ++names;
    if (images.contains(name)) continue;
    ++missing;
    if (listed.line < first_line) first = name, first_line = listed.line;
  }
  if (missing == 0) return;
  const std::string what = fmt::format("{} of its {} names are no image of {}; the first, in line {}, is '{}'", missing,
                                       names, table.source, first_line, first);
  check(missing < names, "{}: {}; a list has file names as `Image Index` has them, one a line, and nothing else",
        list.string(), what);
  if (unmatched) unmatched->push_back(fmt::format("{}: {}", list.string(), what));
}

// First image of a patient in the lists, to find a second one on the other side.
void check_one_side(const LabelTable& table, const Lists& lists) {
  std::unordered_map<std::int64_t, const LabelEntry*> first_of;
  for (const LabelEntry& entry : table.entries) {
    const auto listed = lists.find(entry.image);
    if (listed == lists.end()) continue;
    const auto [found, fresh] = first_of.emplace(entry.patient, &entry);
    if (fresh) continue;
    const Listed& here = listed->second;
    const Listed& there = lists.at(found->second->image);
    check(here.list == there.list,
          "patient {} stands on two sides: image {} in {}:{} and image {} in {}:{}; all images of a patient must be in "
          "one list",
          entry.patient, found->second->image, there.list->string(), there.line, entry.image, here.list->string(),
          here.line);
  }
}

Sides split_by_list(const LabelTable& table, const SplitOptions& options, std::vector<std::string>* unmatched) {
  Lists lists;
  for (const std::filesystem::path* list : {&options.train_val_list, &options.test_list}) {
    read_list(*list, lists);
    check_matched(table, lists, *list, unmatched);
  }
  check_one_side(table, lists);
  const auto listed_in = [&](const LabelEntry& entry, const std::filesystem::path& list) {
    const auto listed = lists.find(entry.image);
    return listed != lists.end() && listed->second.list == &list;
  };
  std::vector<std::int64_t> patients;
  for (const LabelEntry& entry : table.entries) {
    if (listed_in(entry, options.train_val_list)) patients.push_back(entry.patient);
  }
  patients = sorted_unique(std::move(patients));
  shuffle(patients, options.seed);
  const std::size_t val = share(patients.size(), options.val_fraction);
  check(val < patients.size(), "{}: names {} patients of {}, too few to train with a validation fraction of {}",
        options.train_val_list.string(), patients.size(), table.source, options.val_fraction);
  const std::vector<std::int64_t> validating =
      sorted_unique({patients.begin(), patients.begin() + static_cast<std::ptrdiff_t>(val)});
  Sides sides;
  for (const LabelEntry& entry : table.entries) {
    if (listed_in(entry, options.test_list)) {
      sides.emplace_back(Side::kTest);
    } else if (listed_in(entry, options.train_val_list)) {
      const bool validates = std::binary_search(validating.begin(), validating.end(), entry.patient);
      sides.emplace_back(validates ? Side::kVal : Side::kTrain);
    } else {
      sides.emplace_back(std::nullopt);
    }
  }
  return sides;
}

}  // namespace

std::vector<std::optional<Side>> split_by_patient(const LabelTable& table, const SplitOptions& options,
                                                  std::vector<std::string>* unmatched) {
  check_settings(options);
  check(options.train_val_list.empty() == options.test_list.empty(),
        "only one list is given; a list for training and validation and one for testing go together");
  return options.test_list.empty() ? split_by_fraction(table, options) : split_by_list(table, options, unmatched);
}

}  // namespace densetree::data
