#include "data/synth/synth.h"

#include <fmt/format.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "data/image.h"
#include "data/synth/anatomy.h"
#include "engine/io/csv.h"
#include "engine/io/file.h"
#include "engine/io/json.h"
#include "kernels/core/error.h"

namespace densetree::data {
namespace {

constexpr const char* kTable = "Data_Entry_2017.csv";

// How densities turn grey, and what else is on a film: a letter, a dark border, grain.
struct Film {
  float low, gain, grain, border;
  bool letter;
};

Film draw_film(RandomStream& random) {
  Film film{};
  film.low = random.uniform(-0.02f, 0.06f);
  film.gain = random.uniform(1.05f, 1.45f);
  film.grain = random.uniform(0.008f, 0.022f);
  film.border = random.uniform() < 0.15f ? random.uniform(0.01f, 0.05f) : 0.0f;
  film.letter = random.uniform() < 0.8f;
  return film;
}

// An L near the patient's left shoulder, in film coordinates.
void paint_letter(const Scene& scene, Plane& grey, RandomStream& random) {
  const Frame film(scene.frame.size(), 1.0f, 0.0f, {});
  const Point at{random.uniform(0.78f, 0.92f), random.uniform(-0.92f, -0.70f)};
  const float height = random.uniform(0.05f, 0.08f), thick = 0.009f;
  paint_stroke(film, grey, at, {at.u, at.v + height}, thick, thick, 0.8f);
  paint_stroke(film, grey, {at.u, at.v + height}, {at.u + 0.6f * height, at.v + height}, thick, thick, 0.8f);
}

// Grain: four bytes of Philox summed are nearly normal. Keyed by pixel, so no order matters.
float grain(const Philox4& drawn, int lane) {
  const std::uint32_t bits = drawn.v[lane];
  const std::uint32_t sum = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24);
  return (static_cast<float>(sum) - 510.0f) * (1.0f / 147.8f);
}

std::vector<std::uint8_t> develop(const Scene& scene, const SynthImage& image, std::uint64_t seed) {
  RandomStream random = synth_stream(seed, image, SynthUse::kFilm);
  const Film film = draw_film(random);
  const auto size = scene.frame.size();
  Plane grey(scene.density.size());
  for (std::size_t i = 0; i < grey.size(); ++i) {
    const float density = scene.density[i] + scene.vessels[i] * (0.2f + 0.8f * scene.lung[i]);
    const float exposed = std::max(density - film.low, 0.0f) * film.gain;
    grey[i] = exposed / std::sqrt(std::sqrt(1.0f + square(exposed * exposed)));  // straight, then a shoulder
  }
  if (film.letter) {
    paint_letter(scene, grey, random);
  }
  std::vector<std::uint8_t> pixels(grey.size());
  const auto border = static_cast<std::int64_t>(film.border * static_cast<float>(size));
  for (std::int64_t y = 0; y < size; ++y) {
    for (std::int64_t x = 0; x < size; x += 4) {
      const Philox4 drawn = philox(seed, static_cast<std::uint32_t>((y * size + x) / 4), image.patient, image.follow_up,
                                   static_cast<std::uint32_t>(RandomUse::kSynth) | 0x100);
      for (std::int64_t lane = 0; lane < std::min<std::int64_t>(4, size - x); ++lane) {
        const std::int64_t i = y * size + x + lane,
                           edge = std::min(std::min(x + lane, y), size - 1 - std::max(x + lane, y));
        const float value = grey[static_cast<std::size_t>(i)] + film.grain * grain(drawn, static_cast<int>(lane));
        pixels[static_cast<std::size_t>(i)] =
            edge < border ? 2 : static_cast<std::uint8_t>(std::lround(255.0f * clamp01(value)));
      }
    }
  }
  return pixels;
}

Frame draw_frame(const SynthImage& image, std::int64_t size, std::uint64_t seed) {
  RandomStream random = synth_stream(seed, image, SynthUse::kFilm, Finding::kHernia);
  const float zoom = random.uniform(0.84f, 0.99f), turn = random.uniform(-0.05f, 0.05f);
  return {size, zoom, turn, {random.uniform(-0.05f, 0.05f), random.uniform(-0.06f, 0.06f)}};
}

void write_table(const std::filesystem::path& path, const std::vector<SynthImage>& images) {
  std::string text =
      "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
      "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n";
  for (const SynthImage& image : images) {
    text +=
        fmt::format("{},{},{},{},{},{},{},2048,2048,0.171,0.171\n", image.name(), findings_text(image.findings),
                    image.follow_up, image.patient, image.age, image.female ? "F" : "M", image.supine ? "AP" : "PA");
  }
  write_file(path, text);
}

// Leaves the settings in out/synth.json, or throws when others stand there.
void claim_folder(const SynthOptions& options) {
  const auto settings_path = options.out / "synth.json";
  const nlohmann::json settings = {{"format", "densetree-synth"},
                                   {"version", 1},
                                   {"count", options.count},
                                   {"size", options.size},
                                   {"seed", options.seed}};
  if (std::filesystem::exists(settings_path)) {
    const auto found = nlohmann::json::parse(read_file(settings_path), nullptr, false);
    check(found == settings,
          "{} already holds a synthetic set made with other settings ({}; asked for {}); choose another folder or "
          "remove that one",
          options.out.string(), found.is_discarded() ? "unreadable synth.json" : found.dump(), settings.dump());
    return;
  }
  check(!std::filesystem::exists(options.out / kTable) && !std::filesystem::exists(options.out / "images"),
        "{} already holds a data set that `densetree synth` did not make; choose another folder", options.out.string());
  make_folder(options.out / "images");
  write_file(settings_path, json_text(settings, 2) + "\n");
}

// Draws the image unless it is there. False where it was there: files are whole or absent.
bool write_one(const SynthOptions& options, const SynthImage& image) {
  const auto path = options.out / "images" / image.name();
  if (std::filesystem::exists(path)) {
    return false;
  }
  const int side = static_cast<int>(options.size);
  write_png(path, GreyImage{side, side, draw_synth(image, options.size, options.seed)}, 3);
  return true;
}

SynthResult write_images(const SynthOptions& options, const std::vector<SynthImage>& images,
                         const std::function<void(std::int64_t)>& progress) {
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;  // guards the two below
  SynthResult result;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      for (std::size_t i = next++; i < images.size(); i = next++) {
        if (options.stop && *options.stop) {
          return;
        }
        const bool drawn = write_one(options, images[i]);
        const std::lock_guard lock(mutex);
        ++result.images, result.drawn += drawn;
        if (progress) {
          progress(result.images);
        }
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = failure ? failure : std::current_exception();
      next = images.size();
    }
  };
  const int threads = options.threads > 0 ? options.threads : static_cast<int>(std::thread::hardware_concurrency());
  {
    std::vector<std::jthread> workers;
    for (int t = 1; t < threads; ++t) {
      workers.emplace_back(work);
    }
    work();
  }
  if (failure) {
    std::rethrow_exception(failure);
  }
  return result;
}

}  // namespace

std::vector<std::uint8_t> draw_synth(const SynthImage& image, std::int64_t size, std::uint64_t seed) {
  check(size >= kMinSide && size <= kMaxImageSide, "image size is {}; it must lie between {} and {}", size, kMinSide,
        kMaxImageSide);
  Scene scene(draw_frame(image, size, seed), make_anatomy(image, seed), synth_stream(seed, image, SynthUse::kNoise));
  paint_chest(scene, synth_stream(seed, image, SynthUse::kVessels));
  for (std::size_t f = 0; f < kFindings.size(); ++f) {
    const auto finding = static_cast<Finding>(f);
    if (image.has(finding)) {
      paint_finding(scene, finding, synth_stream(seed, image, SynthUse::kFinding, finding));
    }
  }
  return develop(scene, image, seed);
}

SynthResult write_synth(const SynthOptions& options, const std::function<void(std::int64_t)>& progress) {
  check_settings(options);
  claim_folder(options);
  const std::vector<SynthImage> images = plan_synth(options.count, options.seed);
  const SynthResult result = write_images(options, images, progress);
  if (result.images == options.count) {
    write_table(options.out / kTable, images);
  }
  return result;
}

}  // namespace densetree::data
