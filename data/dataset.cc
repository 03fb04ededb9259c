#include "data/dataset.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <numeric>

#include "data/hash.h"
#include "data/image.h"
#include "data/npy.h"
#include "data/prepare.h"
#include "kernels/core/error.h"

namespace densetree::data {
namespace {

struct Manifest {
  std::int64_t images = 0, image_size = 0;
  std::array<std::int64_t, 3> sides{};
  std::string images_hash, index_hash;
};

Manifest read_manifest(const std::filesystem::path& folder) {
  const auto path = folder / "manifest.json";
  check(std::filesystem::exists(path),
        "{}: not a prepared data set: there is no manifest.json; run `densetree prepare --out {}`", folder.string(),
        folder.string());
  try {
    const auto json = nlohmann::json::parse(read_file(path));
    check(json.at("format") == std::string(kDataFormat), "{}: format is {}; a prepared data set has \"{}\"",
          path.string(), json.at("format").dump(), kDataFormat);
    check(json.at("version") == kDataVersion,
          "{}: version {} of the data format; this program reads version {}: run `densetree prepare` again",
          path.string(), json.at("version").dump(), kDataVersion);
    Manifest manifest;
    manifest.images = json.at("images").get<std::int64_t>();
    manifest.image_size = json.at("image_size").get<std::int64_t>();
    for (const Side side : kSides) {
      manifest.sides[static_cast<std::size_t>(side)] =
          json.at("splits").at(std::string(name_of(side))).at("images").get<std::int64_t>();
    }
    manifest.images_hash = json.at("images_xxh64").get<std::string>();
    manifest.index_hash = json.at("index_xxh64").get<std::string>();
    check(manifest.images > 0, "{}: holds {} images; at least one is needed", path.string(), manifest.images);
    check(manifest.image_size > 0 && manifest.image_size <= kMaxImageSide,
          "{}: image_size is {}; it must lie between 1 and {}", path.string(), manifest.image_size, kMaxImageSide);
    return manifest;
  } catch (const nlohmann::json::exception& fault) {
    fail("{}: damaged manifest: {}; run `densetree prepare` again", path.string(), fault.what());
  }
}

std::string read_part(const std::filesystem::path& folder, const char* name) {
  check(std::filesystem::exists(folder / name),
        "{}: not a whole data set: {} is missing; run `densetree prepare --out {}`", folder.string(), name,
        folder.string());
  return read_file(folder / name);
}

MappedFile map_images(const std::filesystem::path& folder) {
  check(std::filesystem::exists(folder / "images.npy"),
        "{}: not a whole data set: images.npy is missing; run `densetree prepare --out {}`", folder.string(),
        folder.string());
  return MappedFile(folder / "images.npy");
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

// Where the pixels begin; throws unless the file holds what the manifest says.
std::size_t check_images(std::span<const std::byte> file, const Manifest& manifest, const std::string& path) {
  const NpyHeader header = parse_npy_header(file, path);
  check(header.descr == "|u1", "{}: elements are '{}'; images are stored as '|u1' (uint8)", path, header.descr);
  const std::vector<std::int64_t> expected = {manifest.images, manifest.image_size, manifest.image_size};
  check(header.shape == expected, "{}: shape is {}; the manifest says {}", path, shape_text(header.shape),
        shape_text(expected));
  const auto per_image = static_cast<std::uint64_t>(manifest.image_size * manifest.image_size);
  const auto images = static_cast<std::uint64_t>(manifest.images);
  check(images <= (UINT64_MAX - header.offset) / per_image, "{}: shape {} cannot be", path, shape_text(header.shape));
  const std::uint64_t whole = header.offset + images * per_image;
  check(file.size() == whole, "{}: {} bytes are there, {} should be: {}; run `densetree prepare` again", path,
        file.size(), whole, file.size() < whole ? "the file is cut short" : "something was added to the file");
  return header.offset;
}

}  // namespace

Dataset::Dataset(const std::filesystem::path& folder)
    : folder_(folder), images_((read_manifest(folder), map_images(folder))) {
  const Manifest manifest = read_manifest(folder);
  image_size_ = manifest.image_size;
  images_hash_ = manifest.images_hash, index_hash_ = manifest.index_hash;
  offset_ = check_images(images_.bytes(), manifest, (folder / "images.npy").string());
  const std::string index = (folder / "index.csv").string(), text = read_part(folder, "index.csv");
  rows_ = parse_data_index(text, index);
  check(size() == manifest.images, "{}: {} rows; the manifest says {} images", index, size(), manifest.images);
  std::array<std::int64_t, 3> sides{};
  for (const DataRow& row : rows_) {
    ++sides[static_cast<std::size_t>(row.side)];
  }
  for (const Side side : kSides) {
    const auto i = static_cast<std::size_t>(side);
    check(sides[i] == manifest.sides[i], "{}: {} images in split '{}'; the manifest says {}", index, sides[i],
          name_of(side), manifest.sides[i]);
  }
  const std::string hash = hash_text(xxh64(std::string_view(text)));
  check(hash == manifest.index_hash,
        "{}: was changed after it was written: its hash is {}, the manifest says {}; run `densetree prepare` again",
        index, hash, manifest.index_hash);
}

std::span<const std::uint8_t> Dataset::pixels(std::int64_t index) const {
  if (index < 0 || index >= size()) {  // no check(): its arguments would allocate at every image
    fail("image {} of {}: there are {}", index, folder_.string(), size());
  }
  const auto count = static_cast<std::size_t>(image_size_ * image_size_);
  const auto* first = reinterpret_cast<const std::uint8_t*>(images_.bytes().data() + offset_);
  return {first + static_cast<std::size_t>(index) * count, count};
}

std::uint64_t Dataset::hash_of_pixels(std::int64_t index) const {
  return xxh64(std::as_bytes(pixels(index)));
}

std::vector<DataRow> Dataset::rows_with_pixels(std::span<const std::int64_t> indices) const {
  std::vector<DataRow> rows;
  rows.reserve(indices.size());
  for (const std::int64_t index : indices) {
    rows.push_back(row(index));
    rows.back().pixels = row(index).pixels ? row(index).pixels : hash_of_pixels(index);
  }
  return rows;
}

std::vector<std::int64_t> Dataset::all_rows() const {
  std::vector<std::int64_t> rows(rows_.size());
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

std::vector<std::int64_t> Dataset::rows_of(Side side) const {
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < size(); ++i) {
    if (row(i).side == side) {
      rows.push_back(i);
    }
  }
  return rows;
}

std::vector<std::int64_t> Dataset::rows_of(std::string_view split) const {
  return rows_of(parse_name<Side>(split));
}

void Dataset::verify() const {
  const std::string hash = hash_text(xxh64(images_.bytes()));
  if (hash == images_hash_) {
    return;
  }
  std::string first;
  for (std::int64_t i = 0; i < size() && first.empty(); ++i) {
    if (row(i).pixels && *row(i).pixels != hash_of_pixels(i)) {
      first = fmt::format("; the first image that was changed is {}, at {}", row(i).image, i);
    }
  }
  fail("{}: damaged: its hash is {}, the manifest says {}{}; run `densetree prepare` again",
       (folder_ / "images.npy").string(), hash, images_hash_, first);
}

}  // namespace densetree::data
