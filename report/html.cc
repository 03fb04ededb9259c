#include "report/html.h"

#include <fmt/format.h>

#include <cmath>

#include "kernels/core/error.h"
#include "tree/answer.h"

namespace densetree::report::html {

std::string escape(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\'':
        safe += "&#39;";
        break;
      default: {
        const bool control = static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n';
        safe += control || c == '\x7f' ? "\uFFFD" : std::string(1, c);
      }
    }
  }
  return safe;
}

std::string name(const std::string& exact) {
  return fmt::format("<span class=\"name\" title=\"{}\">{}</span>", escape(exact), escape(tree::spoken(exact)));
}

std::string count(std::int64_t value) {
  std::string digits = fmt::format("{}", value);
  const std::size_t first = value < 0 ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

std::string images(std::int64_t value) {
  return count(value) + (value == 1 ? " image" : " images");
}

std::string number(std::optional<double> value, int decimals) {
  return value && !std::isnan(*value) ? fmt::format("{:.{}f}", *value, decimals) : std::string(kUndefined);
}

std::string percent(std::optional<double> share) {
  if (!share || std::isnan(*share)) {
    return std::string(kUndefined);
  }
  const double value = 100 * *share;
  if (value == 0 || value == 100) {
    return fmt::format("{}\u00A0%", value);
  }
  if (value < 0.005 || value >= 99.95) {  // not quite nothing or everything, and must not look like it
    return value < 1 ? "&lt;\u00A00.01\u00A0%" : "&gt;\u00A099.9\u00A0%";
  }
  return fmt::format("{:.{}f}\u00A0%", value, value < 0.995 ? 2 : 1);
}

std::string threshold(double value) {
  if (std::isnan(value)) {
    return std::string(kUndefined);
  }
  return std::isinf(value) ? (value > 0 ? "never" : "always") : fmt::format("{:.3g}", value);
}

std::string estimate(const metrics::Estimate& estimate, int decimals) {
  std::string text = number(estimate.value, decimals);
  if (estimate.value && estimate.interval) {
    text += fmt::format(" <span class=\"interval\">[{}, {}]</span>", number(estimate.interval->low, decimals),
                        number(estimate.interval->high, decimals));
  }
  return text;
}

Table::Table(std::string caption, std::vector<std::string> columns, std::string kind)
    : caption_(std::move(caption)), kind_(std::move(kind)), columns_(std::move(columns)) {}

void Table::row(const Cell& head, const std::vector<Cell>& cells) {
  check(cells.size() + 1 == columns_.size(), "a table of {} columns was given a row of {}", columns_.size(),
        cells.size() + 1);
  rows_ += fmt::format("<tr><th scope=\"row\"{}>{}</th>", head.attributes, head.html);
  for (const Cell& cell : cells) {
    rows_ += fmt::format("<td{}>{}</td>", cell.attributes, cell.html);
  }
  rows_ += "</tr>\n";
}

void Table::group(const std::string& title) {
  rows_ +=
      fmt::format("<tr class=\"group\"><th scope=\"colgroup\" colspan=\"{}\">{}</th></tr>\n", columns_.size(), title);
}

std::string Table::html() const {
  std::string head;
  for (const std::string& column : columns_) {
    head += fmt::format("<th scope=\"col\"><span>{}</span></th>", column);
  }
  return fmt::format(
      "<div class=\"scroll\" tabindex=\"0\"><table class=\"{}\">\n<caption>{}</caption>\n"
      "<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody></table></div>\n",
      kind_, caption_, head, rows_);
}

std::string paragraph(std::string_view markup) {
  return fmt::format("<p>{}</p>\n", markup);
}

}  // namespace densetree::report::html
