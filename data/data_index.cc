#include "data/data_index.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <set>
#include <unordered_map>

#include "data/hash.h"
#include "engine/io/csv.h"
#include "engine/io/file.h"
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

// Rows by their pixels.
class Images {
 public:
  explicit Images(std::span<const DataRow> rows) {
    for (const DataRow& row : rows) {
      by_pixels_.emplace(row.pixels.value(), &row);
    }
  }

  // Those with the pixels of `row`. Of images that are the same to the byte, as blank ones are, the one of its name
  // alone, where there is one.
  std::vector<const DataRow*> like(const DataRow& row) const {
    std::vector<const DataRow*> found;
    const auto [begin, end] = by_pixels_.equal_range(row.pixels.value());
    for (auto at = begin; at != end; ++at) {
      if (at->second->image == row.image) {
        return {at->second};
      }
      found.push_back(at->second);
    }
    return found;
  }

 private:
  std::unordered_multimap<std::uint64_t, const DataRow*> by_pixels_;
};

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
                    parse_name<Side>(cells[split], where), std::nullopt});
    if (has_pixels && !cells[pixels].empty()) {
      rows.back().pixels = parse_hash(cells[pixels], where);
    }
  }
  return rows;
}

std::vector<DataRow> read_known_rows(const std::filesystem::path& file) {
  std::vector<DataRow> rows = parse_data_index(read_file(file), file.string());
  for (const DataRow& row : rows) {
    check(row.pixels.has_value(), "{}: image {} has no {}", file.string(), row.image, kPixels);
  }
  return rows;
}

std::vector<DataRow> united(std::span<const DataRow> known, std::span<const DataRow> rows) {
  const Images images(known);
  std::vector<DataRow> result(rows.begin(), rows.end());
  std::set<std::pair<std::string, std::uint64_t>> there;
  for (DataRow& row : result) {
    there.emplace(row.image, row.pixels.value());
    for (const DataRow* same : images.like(row)) {
      row.side = std::min(row.side, same->side);
    }
  }
  std::copy_if(known.begin(), known.end(), std::back_inserter(result), [&](const DataRow& row) {
    return !there.contains({row.image, row.pixels.value()});
  });
  return result;
}

std::string find_conflict(std::span<const DataRow> known, std::span<const DataRow> rows) {
  const Images images(known);
  Count sides, findings;
  for (const DataRow& row : rows) {
    const std::vector<const DataRow*> like = images.like(row);
    const auto closest = std::min_element(like.begin(), like.end(), [&](const DataRow* a, const DataRow* b) {
      return difference(*a, row) < difference(*b, row);
    });
    if (closest != like.end() && difference(**closest, row) != Difference::kNone) {
      (difference(**closest, row) == Difference::kSide ? sides : findings).add(**closest, row);
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
