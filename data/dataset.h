// A prepared data set (prepare.h says what lies in the folder), opened for reading: pixels by memory map, rows of the
// index in memory. Opening checks that header, index and manifest agree, the index by its hash, and reads no pixel.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/data_index.h"
#include "engine/io/file.h"

namespace densetree::data {

class Dataset {
 public:
  // Throws Error naming the file and what would be right: no prepared data set, another version, images.npy of
  // another type or shape or cut short, an index whose rows, splits or hash disagree with the manifest.
  explicit Dataset(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  std::int64_t size() const { return static_cast<std::int64_t>(rows_.size()); }
  std::int64_t image_size() const { return image_size_; }  // side in pixels
  const DataRow& row(std::int64_t index) const { return rows_[static_cast<std::size_t>(index)]; }
  // These rows with the hashes of their pixels, which are read where the index does not have them.
  std::vector<DataRow> rows_with_pixels(std::span<const std::int64_t> indices) const;
  std::span<const std::uint8_t> pixels(std::int64_t index) const;  // (S, S), rows from the top

  std::vector<std::int64_t> all_rows() const;
  std::vector<std::int64_t> rows_of(Side side) const;               // ascending
  std::vector<std::int64_t> rows_of(std::string_view split) const;  // Error names the three
  std::string images_hash() const { return images_hash_; }          // as the manifest has them
  std::string index_hash() const { return index_hash_; }

  // Reads everything and compares it with the manifest's hashes. Throws Error naming the file that differs, and the
  // first image whose pixels do.
  void verify() const;

 private:
  std::uint64_t hash_of_pixels(std::int64_t index) const;

  std::filesystem::path folder_;
  MappedFile images_;
  std::size_t offset_ = 0;
  std::int64_t image_size_ = 0;
  std::vector<DataRow> rows_;
  std::string images_hash_, index_hash_;
};

}  // namespace densetree::data
