#include "data/prepare_plan.h"

#include <algorithm>
#include <system_error>
#include <unordered_map>

#include "data/hash.h"
#include "data/image_folder.h"
#include "kernels/core/error.h"

namespace densetree::data {
namespace {

namespace fs = std::filesystem;
using Files = std::unordered_map<std::string, std::vector<fs::path>>;  // by name

std::string folders_text(const std::vector<fs::path>& folders) {
  std::string text;
  for (const fs::path& folder : folders) text += (text.empty() ? "" : ", ") + folder.string();
  return text;
}

// Size and time of change: a file that was replaced is noticed.
std::string stamp(const fs::path& file) {
  std::error_code error;
  const std::uintmax_t bytes = fs::file_size(file, error);
  const auto time = fs::last_write_time(file, error).time_since_epoch().count();
  return error ? "unreadable" : fmt::format("{} {}", bytes, time);
}

// Why this image of the table cannot be taken, or "".
std::string fault(const Files& files, const std::string& image, const std::optional<Side>& side) {
  const auto found = files.find(image);
  if (found == files.end()) return "no file of that name in the image folders";
  if (found->second.size() > 1) {
    std::vector<std::string> paths;
    for (const fs::path& path : found->second) paths.push_back(path.string());
    std::sort(paths.begin(), paths.end());
    return fmt::format("several files of that name: {}", fmt::join(paths, " and "));
  }
  return side ? "" : "in neither of the two split lists";
}

// The number says how images are decoded: 1 knew no EXIF data and took fewer files.
std::string fingerprint_of(const PreparePlan& plan, int size, std::int64_t max_pixels) {
  std::string text = fmt::format("densetree prepare 2\nsize {}\nmax pixels {}\n", size, max_pixels);
  for (const PlannedRow& row : plan.rows) {
    text += fmt::format("{},{},{},{},{}\n", row.entry.image, row.entry.patient, row.entry.findings, name_of(row.side),
                        stamp(row.file));
  }
  for (const auto& [image, why] : plan.rejected) text += fmt::format("{},{}\n", image, why);
  return hash_text(xxh64(text));
}

}  // namespace

PreparePlan plan_prepare(const std::vector<fs::path>& folders, const LabelTable& table, const SplitOptions& split,
                         int size, std::int64_t max_pixels) {
  check(!folders.empty(), "no image folder is given");
  PreparePlan plan;
  const std::vector<std::optional<Side>> sides = split_by_patient(table, split, &plan.notes);
  Files files;
  for (const fs::path& file : files_below(folders)) files[file.filename().string()].push_back(file);

  for (std::size_t i = 0; i < table.entries.size(); ++i) {
    const LabelEntry& entry = table.entries[i];
    const std::string why = fault(files, entry.image, sides[i]);
    if (why.empty()) {
      plan.rows.push_back({entry, *sides[i], files.at(entry.image).front()});
    } else {
      plan.rejected[entry.image] = why;
    }
    files.erase(entry.image);
  }
  for (const auto& [name, paths] : files) {
    if (is_image_name(name)) plan.rejected[name] = "no row in the label table";
  }
  if (plan.rows.empty()) {
    const std::string& first = table.entries.front().image;
    fail("none of the {} images of {} can be taken from {}; the first, {}: {}", table.entries.size(), table.source,
         folders_text(folders), first, plan.rejected.at(first));
  }
  std::sort(plan.rows.begin(), plan.rows.end(),
            [](const PlannedRow& a, const PlannedRow& b) { return a.entry.image < b.entry.image; });
  plan.fingerprint = fingerprint_of(plan, size, max_pixels);
  return plan;
}

}  // namespace densetree::data
