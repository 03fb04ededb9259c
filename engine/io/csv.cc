#include "engine/io/csv.h"

#include <algorithm>

#include "engine/io/file.h"
#include "kernels/core/error.h"

namespace densetree {
namespace {

// Walks over the text one record at a time.
class Reader {
 public:
  Reader(std::string_view text, const std::string& source) : text_(text), source_(source) {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
  }

  // The next record that is not an empty line, and the line it starts on. False at the end.
  bool next(std::vector<std::string>& fields, std::size_t& line) {
    while (at_ < text_.size() && end_of_line()) take_end_of_line();
    if (at_ >= text_.size()) return false;
    fields.clear();
    line = line_;
    for (;;) {
      fields.push_back(text_[at_] == '"' ? quoted_field() : plain_field());
      if (at_ >= text_.size()) return true;
      if (end_of_line()) {
        take_end_of_line();
        return true;
      }
      ++at_;  // the comma
      if (at_ >= text_.size()) {
        fields.emplace_back();
        return true;
      }
    }
  }

 private:
  bool end_of_line() const {
    return text_[at_] == '\n' || (text_[at_] == '\r' && (at_ + 1 == text_.size() || text_[at_ + 1] == '\n'));
  }
  void take_end_of_line() {
    if (text_[at_] == '\r') ++at_;
    if (at_ < text_.size()) ++at_;
    ++line_;
  }
  std::string plain_field() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && text_[at_] != ',' && !end_of_line()) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }
  std::string quoted_field() {
    const std::size_t opened = line_;
    std::string field;
    for (++at_; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"') {
        const bool doubled = at_ + 1 < text_.size() && text_[at_ + 1] == '"';
        if (!doubled) break;
        ++at_;
      }
      if (c == '\n') ++line_;
      field += c;
    }
    check(at_ < text_.size(), "{}:{}: a quote is opened and never closed", source_, opened);
    ++at_;
    check(at_ >= text_.size() || text_[at_] == ',' || end_of_line(),
          "{}:{}: text after a closing quote; write a quote inside quotes twice", source_, line_);
    return field;
  }

  std::string_view text_;
  const std::string& source_;
  std::size_t at_ = 0, line_ = 1;
};

}  // namespace

CsvTable CsvTable::read(const std::filesystem::path& path) {
  return parse(read_file(path), path.string());
}

CsvTable CsvTable::parse(std::string_view text, const std::string& source) {
  CsvTable table;
  table.source_ = source;
  Reader reader(text, source);
  std::size_t line = 0;
  check(reader.next(table.header_, line), "{}: is empty; the first line must name the columns", source);
  const std::size_t width = table.header_.size();
  std::vector<std::string> fields;
  while (reader.next(fields, line)) {
    check(fields.size() == width, "{}:{}: has {} fields; the header has {}", source, line, fields.size(), width);
    table.rows_.push_back(std::move(fields));
    table.lines_.push_back(line);
    fields = {};
    fields.reserve(width);
  }
  return table;
}

bool CsvTable::has_column(std::string_view name) const {
  return std::find(header_.begin(), header_.end(), name) != header_.end();
}

std::size_t CsvTable::column(std::string_view name) const {
  const auto found = std::find(header_.begin(), header_.end(), name);
  check(found != header_.end(), "{}: has no column '{}'; its columns are: {}", source_, name, fmt::join(header_, ", "));
  check(std::find(found + 1, header_.end(), name) == header_.end(), "{}: has two columns '{}'", source_, name);
  return static_cast<std::size_t>(found - header_.begin());
}

std::string csv_row(std::span<const std::string> fields) {
  std::string row;
  for (const std::string& field : fields) {
    if (&field != fields.data()) row += ',';
    const bool alone_and_empty = fields.size() == 1 && field.empty();
    if (!alone_and_empty && field.find_first_of(",\"\r\n") == std::string::npos) {
      row += field;
      continue;
    }
    row += '"';
    for (const char c : field) {
      if (c == '"') row += '"';
      row += c;
    }
    row += '"';
  }
  return row + '\n';
}

}  // namespace densetree
