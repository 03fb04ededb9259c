// A prepared data set made by hand, for tests of what reads one.
#pragma once

#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "data/hash.h"
#include "data/prepare.h"
#include "tests/data/files.h"

namespace densetree::data {

// Pixel p of image i.
inline std::uint8_t tiny_pixel(std::int64_t i, std::int64_t p) {
  return static_cast<std::uint8_t>(7 * i + 3 * p + 1);
}

inline std::string npy_header(const std::string& shape, const std::string& descr = "|u1",
                              const std::string& fortran = "False") {
  std::string dictionary = fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': {}, }}", descr, fortran, shape);
  dictionary.resize((dictionary.size() + 11) / 64 * 64 + 64 - 11, ' ');
  dictionary += '\n';
  const auto length = static_cast<unsigned>(dictionary.size());
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(length & 255) + static_cast<char>(length >> 8) +
         dictionary;
}

inline std::string tiny_images(std::int64_t images, std::int64_t size) {
  std::string file = npy_header(fmt::format("({}, {}, {})", images, size, size));
  for (std::int64_t i = 0; i < images; ++i) {
    for (std::int64_t p = 0; p < size * size; ++p) {
      file += static_cast<char>(tiny_pixel(i, p));
    }
  }
  return file;
}

// Two images a patient; of five patients three train, one validates, one tests; image i has finding i mod 14.
inline std::string tiny_index(std::int64_t images) {
  std::string text = "Image Index,Patient ID,Finding Labels,split\n";
  for (std::int64_t i = 0; i < images; ++i) {
    const std::int64_t patient = i / 2, fifth = patient % 5;
    text += fmt::format("{:08}_{:03}.png,{},{},{}\n", patient, i % 2, patient, findings_text(FindingSet{1} << (i % 14)),
                        fifth < 3    ? "train"
                        : fifth == 3 ? "val"
                                     : "test");
  }
  return text;
}

inline nlohmann::json tiny_manifest(const std::string& images_file, const std::string& index_file, std::int64_t images,
                                    std::int64_t size) {
  nlohmann::json splits;
  for (const Side side : kSides) {
    const std::string name(name_of(side)), ending = "," + name + "\n";
    std::int64_t count = 0;
    for (std::size_t at = index_file.find(ending); at != std::string::npos; at = index_file.find(ending, at + 1)) {
      ++count;
    }
    splits[name] = {{"images", count}, {"patients", count / 2}};
  }
  return {{"format", std::string(kDataFormat)},
          {"version", kDataVersion},
          {"images", images},
          {"image_size", size},
          {"splits", splits},
          {"images_xxh64", hash_text(xxh64(std::string_view(images_file)))},
          {"index_xxh64", hash_text(xxh64(std::string_view(index_file)))}};
}

inline void write_tiny_dataset(const std::filesystem::path& folder, std::int64_t images, std::int64_t size) {
  const std::string pixels = tiny_images(images, size), index = tiny_index(images);
  write_file(folder / "images.npy", pixels);
  write_file(folder / "index.csv", index);
  write_file(folder / "manifest.json", tiny_manifest(pixels, index, images, size).dump());
}

}  // namespace densetree::data
