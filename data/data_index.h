// The rows of a data set: which image is whose, what was found on it, and on which side of the split it stands. Kept as
// a table, DATA/index.csv, and once more in each run that was trained on them, so that the run knows them again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/labels.h"
#include "data/split.h"

namespace densetree::data {

struct DataRow {
  std::string image;  // file name
  std::int64_t patient = 0;
  FindingSet findings = 0;
  Side side = Side::kTrain;
  std::optional<std::uint64_t> pixels;  // XXH64 of the stored image; tables of other programs may lack it
  bool operator==(const DataRow&) const = default;
};

// Image Index,Patient ID,Finding Labels,split,pixels_xxh64. Reading throws Error naming `source` and line; the last
// column may be missing, and others may be there.
std::string data_index_csv(std::span<const DataRow> rows);
std::vector<DataRow> parse_data_index(std::string_view text, const std::string& source);

// Such a table of which every row must have the hash of its pixels: what a run keeps. Throws Error as
// parse_data_index().
std::vector<DataRow> read_known_rows(const std::filesystem::path& file);

// The rows of both. An image that `known` has for training or validation keeps that side, whatever `rows` says.
std::vector<DataRow> united(std::span<const DataRow> known, std::span<const DataRow> rows);

// Whether a run that was trained on the rows `known` has seen images of `rows`, recognised by their pixels, on another
// side of the split or with other findings. A sentence that says how many and names the first, or "". All rows must
// have the hash of their pixels.
std::string find_conflict(std::span<const DataRow> known, std::span<const DataRow> rows);

}  // namespace densetree::data
