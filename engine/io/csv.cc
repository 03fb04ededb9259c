#include "engine/io/csv.h"

#include <algorithm>

#include "engine/io/file.h"
#include "engine/io/nearest_name.h"
#include "engine/io/text.h"
#include "kernels/core/error.h"

namespace densetree {
namespace {

bool all_blank(std::span<const std::string> fields) {
  return std::all_of(fields.begin(), fields.end(), [](const std::string& f) { return without_blanks(f).empty(); });
}

// Walks over the text one record at a time.
class Reader {
 public:
  Reader(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  // The next record that is not empty, and the line it starts on. Nothing but blanks and commas is empty, as
  // spreadsheets end their tables, unless there are quotes. False at the end.
  bool next(std::vector<std::string>& fields, std::size_t& line) {
    do {
      if (at_ >= text_.size()) return false;
      fields.clear();
      line = line_;
      quotes_ = false;
      read(fields);
    } while (!quotes_ && all_blank(fields));
    return true;
  }

 private:
  void read(std::vector<std::string>& fields) {
    for (;;) {
      fields.push_back(at_ < text_.size() && text_[at_] == '"' ? quoted_field() : plain_field());
      if (at_ >= text_.size()) return;
      if (end_of_line()) return take_end_of_line();
      ++at_;  // the comma
    }
  }
  bool end_of_line() const { return text_[at_] == '\n' || text_[at_] == '\r'; }
  void take_end_of_line() {
    at_ += text_.substr(at_).starts_with("\r\n") ? 2 : 1;
    ++line_;
  }
  std::string plain_field() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && text_[at_] != ',' && !end_of_line()) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }
  std::string quoted_field() {
    const std::size_t opened = line_;
    quotes_ = true;
    std::string field;
    for (++at_; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"') {
        const bool doubled = at_ + 1 < text_.size() && text_[at_ + 1] == '"';
        if (!doubled) break;
        ++at_;
      }
      if (c == '\n' || (c == '\r' && !text_.substr(at_).starts_with("\r\n"))) ++line_;
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
  bool quotes_ = false;  // in this record
};

// Throws Error where the first line that says something has more of another separator than commas outside quotes.
void check_separator(std::string_view text, const std::string& source) {
  std::size_t commas = 0, semicolons = 0, tabs = 0, bars = 0;
  bool in_quotes = false;
  for (std::size_t at = std::min(text.find_first_not_of("\r\n"), text.size()); at < text.size(); ++at) {
    const char c = text[at];
    in_quotes ^= c == '"';
    if (in_quotes) continue;
    if (c == '\n' || c == '\r') break;
    commas += c == ',', semicolons += c == ';', tabs += c == '\t', bars += c == '|';
  }
  const std::size_t most = std::max({semicolons, tabs, bars});
  check(most <= commas, "{}: the columns are separated by {}; they must be by commas, and numbers have a decimal point",
        source,
        most == semicolons ? "';'"
        : most == tabs     ? "tabs"
                           : "'|'");
}

}  // namespace

CsvTable CsvTable::read(const std::filesystem::path& path) {
  return parse(read_file(path), path.string());
}

CsvTable CsvTable::parse(std::string_view bytes, const std::string& source) {
  CsvTable table;
  table.source_ = source;
  const std::string text = utf8_text(bytes, source);
  check_separator(text, source);
  Reader reader(text, source);
  std::size_t line = 0;
  check(reader.next(table.header_, line), "{}: is empty; the first line must name the columns", source);
  for (std::string& name : table.header_) name = without_blanks(name);
  const std::size_t width = table.header_.size();
  std::vector<std::string> fields;
  while (reader.next(fields, line)) {
    check(fields.size() == width, "{}:{}: has {} fields; the header has {}{}", source, line, fields.size(), width,
          fields.size() > width ? "; a field that holds a comma needs quotes, and a number has a decimal point" : "");
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
  check(found != header_.end(), "{}: has no column '{}'{}; its columns are: {}", source_, name,
        did_you_mean(name, header_), fmt::join(header_, ", "));
  check(std::find(found + 1, header_.end(), name) == header_.end(), "{}: has two columns '{}'", source_, name);
  return static_cast<std::size_t>(found - header_.begin());
}

std::string csv_row(std::span<const std::string> fields) {
  std::string row;
  const bool blank = all_blank(fields);  // would be no row at all without quotes
  for (const std::string& field : fields) {
    const bool first = &field == fields.data();
    if (!first) row += ',';
    if (!(blank && first) && field.find_first_of(",\"\r\n") == std::string::npos) {
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
