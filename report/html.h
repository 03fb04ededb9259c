// Markup of a report page: text made safe, numbers as a person reads them, tables. Everything here is well-formed XML
// too. Text that is undefined is an en dash, never 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metrics/evaluation.h"
#include "metrics/ratio.h"

namespace densetree::report::html {

inline constexpr std::string_view kUndefined = "–";

// For text and for attribute values. Control characters, which no page may hold, become U+FFFD.
std::string escape(std::string_view text);
// A label or node as it is spoken, with the exact name in the title.
std::string name(const std::string& exact);

std::string count(std::int64_t value);                                      // 1,254
std::string images(std::int64_t value);                                     // "1 image", "1,254 images"
std::string number(std::optional<double> value, int decimals = 3);          // NaN is undefined as well
std::string percent(std::optional<double> share);                           // 43.2 %, 0.07 %, 0 %, > 99.9 %
std::string threshold(double value);                                        // 3 digits; never (+inf), always (-inf)
std::string estimate(const metrics::Estimate& estimate, int decimals = 3);  // 0.812 [0.801, 0.823]
using metrics::ratio;

// A table in a box of its own, which scrolls where the page is narrow.
class Table {
 public:
  struct Cell {
    Cell(std::string markup, std::string extra = {}) : html(std::move(markup)), attributes(std::move(extra)) {}
    std::string html, attributes;  // attributes: markup, opened by a space
  };
  // Captions and columns are markup; the first column holds the heads of the rows. kind: classes of the table.
  Table(std::string caption, std::vector<std::string> columns, std::string kind = {});
  void row(const Cell& head, const std::vector<Cell>& cells);
  void group(const std::string& title);  // a head over the rows that follow
  std::string html() const;

 private:
  std::string caption_, kind_, rows_;
  std::vector<std::string> columns_;
};

std::string paragraph(std::string_view markup);

}  // namespace densetree::report::html
