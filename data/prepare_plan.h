// What `prepare` is going to do, before it decodes anything: which file becomes which row, and what is left out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "data/labels.h"
#include "data/split.h"

namespace densetree::data {

struct PlannedRow {
  LabelEntry entry;
  Side side = Side::kTrain;
  std::filesystem::path file;
};

struct PreparePlan {
  std::vector<PlannedRow> rows;                 // sorted by image name
  std::map<std::string, std::string> rejected;  // image name to reason
  std::vector<std::string> notes;               // of split lists: names that are no image of the table
  // Hash of everything the result depends on: rows, their files' sizes and times, what is rejected, the image size, the
  // limit on pixels.
  std::string fingerprint;
};

// Searches `folders` and all below them (each once, links followed) for the images of the table. Rejected are images of
// the table without a file, with two files, or in no split list, and PNG or JPEG files the table does not have.
// Throws Error: a folder that cannot be read; no image at all.
PreparePlan plan_prepare(const std::vector<std::filesystem::path>& folders, const LabelTable& table,
                         const SplitOptions& split, int size, std::int64_t max_pixels);

}  // namespace densetree::data
