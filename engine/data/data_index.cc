#include "engine/data/data_index.h"

#include <array>
#include <charconv>
#include <map>
#include <unordered_map>

#include "engine/data/hash.h"
#include "engine/io/csv.h"
#include "kernels/core/error.h"

namespace densetree::data {
namespace {

constexpr std::string_view kPixels = "pixels_xxh64";

std::uint64_t parse_hash(const std::string& text, const std::string& where) {
  std::uint64_t hash = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), hash, 16);
  check(fault == std::errc() && end == text.data() + text.size(), "{}: {} '{}' is no hash of 16 hexadecimal digits",
        where, kPixels, text);
  return hash;
}

// What differs between a row and what is known of its image.
enum class Difference { kNone, kFindings, kSide };

Difference difference(const DataRow& known, const DataRow& row) {
  return known.side != row.side           ? Difference::kSide
         : known.findings != row.findings ? Difference::kFindings
                                          : Difference::kNone;
}

struct Count {
  std::size_t images = 0;
  const DataRow *known = nullptr, *row = nullptr;  // of the first

  void add(const DataRow& one, const DataRow& other) {
    if (images++ == 0) {
      known = &one, row = &other;
    }
  }
};

}  // namespace

std::string data_index_csv(std::span<const DataRow> rows) {
  std::string text = fmt::format("Image Index,Patient ID,Finding Labels,split,{}\n", kPixels);
  for (const DataRow& row : rows) {
    text += csv_row(std::array{row.image, std::to_string(row.patient), findings_text(row.findings),
                               std::string(name_of(row.side)), row.pixels ? hash_text(*row.pixels) : ""});
  }
  return text;
}

std::vector<DataRow> parse_data_index(std::string_view text, const std::string& source) {
  const CsvTable table = CsvTable::parse(text, source);
  const std::size_t image = table.column("Image Index"), patient = table.column("Patient ID"),
                    findings = table.column("Finding Labels"), split = table.column("split");
  const bool has_pixels = table.has_column(kPixels);
  const std::size_t pixels = has_pixels ? table.column(kPixels) : 0;
  std::vector<DataRow> rows;
  rows.reserve(table.rows());
  for (std::size_t i = 0; i < table.rows(); ++i) {
    const std::vector<std::string>& cells = table.row(i);
    const std::string where = fmt::format("{}:{}", source, table.line(i));
    rows.push_back({cells[image], parse_patient(cells[patient], where), parse_findings(cells[findings], where),
                    parse_side(cells[split], where), std::nullopt});
    if (has_pixels && !cells[pixels].empty()) {
      rows.back().pixels = parse_hash(cells[pixels], where);
    }
  }
  return rows;
}

std::vector<DataRow> united(std::span<const DataRow> known, std::span<const DataRow> rows) {
  std::map<std::pair<std::string, std::optional<std::uint64_t>>, DataRow> all;
  for (const DataRow& row : known) {
    all[{row.image, row.pixels}] = row;
  }
  for (const DataRow& row : rows) {
    const auto [at, is_new] = all.try_emplace({row.image, row.pixels}, row);
    if (!is_new) {
      const Side before = at->second.side;
      at->second = row;
      at->second.side = before == Side::kTest || row.side == Side::kTrain ? row.side : before;
    }
  }
  std::vector<DataRow> result;
  for (auto& [key, row] : all) {
    result.push_back(std::move(row));
  }
  return result;
}

std::string find_conflict(std::span<const DataRow> known, std::span<const DataRow> rows) {
  std::unordered_multimap<std::uint64_t, const DataRow*> by_pixels;
  for (const DataRow& row : known) {
    by_pixels.emplace(row.pixels.value(), &row);
  }
  Count sides, findings;
  for (const DataRow& row : rows) {
    // Images that look alike to the byte, as blank ones do, are told apart by their names where they can be.
    const DataRow* same = nullptr;
    const auto [begin, end] = by_pixels.equal_range(row.pixels.value());
    for (auto at = begin; at != end; ++at) {
      const bool better = same == nullptr || at->second->image == row.image ||
                          (same->image != row.image && difference(*at->second, row) < difference(*same, row));
      same = better ? at->second : same;
    }
    if (same != nullptr && difference(*same, row) != Difference::kNone) {
      (difference(*same, row) == Difference::kSide ? sides : findings).add(*same, row);
    }
  }
  if (sides.images > 0) {
    return fmt::format(
        "{} of these {} images stood elsewhere in the split that it was trained on; the first, {}, in "
        "'{}', not '{}'",
        sides.images, rows.size(), sides.row->image, name_of(sides.known->side), name_of(sides.row->side));
  }
  if (findings.images > 0) {
    return fmt::format(
        "{} of these {} images had other labels when it was trained on them; the first, {}, '{}', not "
        "'{}'",
        findings.images, rows.size(), findings.row->image, findings_text(findings.known->findings),
        findings_text(findings.row->findings));
  }
  return "";
}

}  // namespace densetree::data
