// From folders of X-ray files and a label table to one packed data folder that training maps into memory.
//
// DATA/images.npy     uint8 (N, S, S), NumPy's format 1.0, rows sorted by image name
// DATA/index.csv      Image Index,Patient ID,Finding Labels,split,pixels_xxh64: row i describes image i
// DATA/rejected.csv   Image Index,reason: what is not in there, and why; sorted by name
// DATA/manifest.json  written last: where it is, the folder is whole
//   {"format": "densetree-data", "version": 1, "images": N, "image_size": S, "rejected": R,
//    "splits": {"train": {"images": n, "patients": p}, "val": {…}, "test": {…}},
//    "images_xxh64": "16 hex digits", "index_xxh64": "…",        of the whole files
//    "sources": {"images": […], "labels": "…"}, "settings": {…}, "fingerprint": "…"}
//
// Work in progress lies in DATA/.partial and is continued by the next call with the same settings, table and files. A
// finished data set of others, or files of these names that are of no data set, are replaced only when told to.
// The result is the same bytes whatever the number of threads and however often the work was interrupted.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/image.h"
#include "data/split.h"

namespace densetree::data {

inline constexpr std::string_view kDataFormat = "densetree-data";
inline constexpr int kDataVersion = 1;

// The files above.
std::vector<std::filesystem::path> data_files(const std::filesystem::path& data);

struct PrepareOptions {
  std::vector<std::filesystem::path> images;  // folders, searched with all folders below
  std::filesystem::path labels;               // NIH's table, plain or .gz
  std::filesystem::path out;
  int size = 256;
  int jobs = 0;  // threads; 0: one per core
  std::int64_t max_pixels = kDefaultMaxPixels;
  bool replace = false;  // whatever lies in `out`
  bool strict = false;   // any rejection is an Error, and any name of a split list that the table does not have
  SplitOptions split;
  const std::atomic<bool>* stop = nullptr;  // when it turns true, the work is saved and prepare returns

  static void settings(auto& o, auto&& f) {
    f(o.size, Setting{"size", "side of the stored images", between(1, kMaxImageSide)});
    f(o.max_pixels, kMaxPixelsSetting);
    SplitOptions::settings(o.split, f);
  }
};

struct PrepareProgress {
  std::size_t done = 0, total = 0;  // images, those of an earlier call included
  std::size_t rejected = 0;         // of the done ones
  std::string note;                 // not empty: something to tell the user, once
};

struct SideCount {
  std::size_t images = 0, patients = 0;
};

struct PrepareResult {
  enum class Outcome { kDone, kAlreadyDone, kStopped } outcome = Outcome::kDone;
  std::size_t images = 0, rejected = 0, decoded = 0;  // decoded: files read by this call
  std::array<SideCount, 3> sides;                     // train, val, test
};
constexpr Names<PrepareResult::Outcome, 3> names(PrepareResult::Outcome) {
  return {"outcome",
          {{PrepareResult::Outcome::kDone, "done"},
           {PrepareResult::Outcome::kAlreadyDone, "already-done"},
           {PrepareResult::Outcome::kStopped, "stopped"}}};
}

// Throws Error naming file and fault. `progress` is called from the calling thread, some times a second.
PrepareResult prepare(const PrepareOptions& options, const std::function<void(const PrepareProgress&)>& progress = {});

}  // namespace densetree::data
