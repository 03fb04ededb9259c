// Synthetic chest radiographs with findings, in the layout of NIH ChestX-ray14, so that everything can be tried on a
// machine without data. They are drawn, not learned: a chest of varying build seen on a film of varying exposure, and
// for each of NIH's 14 findings a sign where a radiologist would look for it. They teach nothing about patients.
//
// An image depends only on the seed, its place in the series and its size, whatever the number of threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/image.h"
#include "data/labels.h"

namespace densetree::data {

enum class Finding : std::uint8_t {  // in the order of kFindings
  kAtelectasis,
  kCardiomegaly,
  kEffusion,
  kInfiltration,
  kMass,
  kNodule,
  kPneumonia,
  kPneumothorax,
  kConsolidation,
  kEdema,
  kEmphysema,
  kFibrosis,
  kPleuralThickening,
  kHernia,
};

// One image of one patient, before it is drawn.
struct SynthImage {
  std::uint32_t patient = 0, follow_up = 0;
  int age = 0;                          // years
  bool female = false, supine = false;  // supine: taken from the front (AP)
  FindingSet findings = 0;

  bool has(Finding finding) const { return findings >> static_cast<int>(finding) & 1; }
  std::string name() const;  // "00000012_003.png"
};

// The first `count` images of the series of a seed, in the order of patients.
std::vector<SynthImage> plan_synth(std::int64_t count, std::uint64_t seed);

// Grey pixels, size×size, row by row. size >= 32.
std::vector<std::uint8_t> draw_synth(const SynthImage& image, std::int64_t size, std::uint64_t seed);

inline constexpr int kMinSide = 32;  // smaller than that there is no chest to see

struct SynthOptions {
  std::filesystem::path out;
  std::int64_t count = 0, size = 1024;
  std::uint64_t seed = 1;
  int threads = 0;                          // 0: all cores
  const std::atomic<bool>* stop = nullptr;  // when it turns true, the images being drawn are saved and that is it

  static void settings(auto& o, auto&& f) {
    f(o.count, Setting{"count", "how many images", between(1, 1e7)});
    f(o.size, Setting{"size", "side of the images in pixels", between(kMinSide, kMaxImageSide)});
  }
};

struct SynthResult {
  std::int64_t images = 0;  // that are there now; less than options.count when stopped
  std::int64_t drawn = 0;   // by this call
};

// Writes out/images/*.png and out/Data_Entry_2017.csv; out/synth.json keeps the settings. A run that was interrupted
// goes on where it stopped. Throws Error when out holds something else, or images of other settings. `progress`
// (may be empty) is called with the number of images that are there, from one thread at a time. A stopped run leaves no
// table.
SynthResult write_synth(const SynthOptions& options, const std::function<void(std::int64_t)>& progress = {});

}  // namespace densetree::data
