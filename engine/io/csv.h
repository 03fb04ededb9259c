// Comma-separated tables as NIH, pandas and spreadsheets write them: quotes, doubled quotes, commas and line breaks
// inside quotes; lines ended by LF, CRLF or CR; UTF-8, or UTF-16 with a byte-order mark; rows of nothing but commas,
// which are left out; blanks around column names; plain or gzipped (by the name's .gz).
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace densetree {

class CsvTable {
 public:
  // Throws Error naming file and line: an unclosed quote, a row of another width than the header, no header, columns
  // separated by something else than commas, what is no text.
  static CsvTable read(const std::filesystem::path& path);
  static CsvTable parse(std::string_view bytes, const std::string& source);

  const std::vector<std::string>& header() const { return header_; }
  std::size_t rows() const { return rows_.size(); }
  const std::vector<std::string>& row(std::size_t index) const { return rows_[index]; }
  std::size_t line(std::size_t row) const { return lines_[row]; }  // in the file, from 1, for messages
  const std::string& source() const { return source_; }

  bool has_column(std::string_view name) const;
  std::size_t column(std::string_view name) const;  // Error names the file, the nearest name, and all

 private:
  std::string source_;
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::size_t> lines_;
};

// One row, quoted where needed, with '\n'.
std::string csv_row(std::span<const std::string> fields);

}  // namespace densetree
