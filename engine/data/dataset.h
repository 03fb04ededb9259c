// A prepared data set (prepare.h says what lies in the folder), opened for reading: pixels by memory map, rows of the
// index in memory. Opening checks that header, index and manifest agree, and reads no pixel.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/data/labels.h"
#include "engine/data/split.h"
#include "engine/io/file.h"

namespace densetree::data {

struct DatasetRow {
  std::string image;  // file name
  std::int64_t patient = 0;
  FindingSet findings = 0;
  Side side = Side::kTrain;
};

class Dataset {
 public:
  // Throws Error naming the file and what would be right: no prepared data set, another version, images.npy of
  // another type or shape or cut short, an index whose rows or splits disagree with the manifest.
  explicit Dataset(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  std::int64_t size() const { return static_cast<std::int64_t>(rows_.size()); }
  std::int64_t image_size() const { return image_size_; }  // side in pixels
  const DatasetRow& row(std::int64_t index) const { return rows_[static_cast<std::size_t>(index)]; }
  std::span<const std::uint8_t> pixels(std::int64_t index) const;  // (S, S), rows from the top

  std::vector<std::int64_t> rows_of(Side side) const;               // ascending
  std::vector<std::int64_t> rows_of(std::string_view split) const;  // Error names the three
  std::string images_hash() const { return images_hash_; }          // as the manifest has it

  // Reads everything and compares it with the manifest's hashes. Throws Error naming the file that differs.
  void verify() const;

 private:
  void read_index(const std::string& text);

  std::filesystem::path folder_;
  MappedFile images_;
  std::size_t offset_ = 0;
  std::int64_t image_size_ = 0;
  std::vector<DatasetRow> rows_;
  std::string images_hash_, index_hash_;
};

}  // namespace densetree::data
