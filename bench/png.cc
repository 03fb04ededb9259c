// Preparing X-rays on one core: our decoding, decoding with the resize, and libpng alone, which is the limit.
#include <benchmark/benchmark.h>
#include <png.h>

#include <cstring>

#include "bench/harness.h"
#include "data/image.h"
#include "data/resize.h"
#include "data/synth/synth.h"
#include "engine/io/file.h"
#include "kernels/core/error.h"

namespace densetree::bench {
namespace {

using Files = std::vector<std::string>;

Files synthetic_files(int count) {
  Files files;
  for (const data::SynthImage& image : data::plan_synth(count, 1)) {
    files.push_back(data::encode_png(data::GreyImage{1024, 1024, data::draw_synth(image, 1024, 1)}));
  }
  return files;
}

// The 8-bit grey PNGs of a folder: libpng alone is measured without conversions.
Files files_of(const std::filesystem::path& folder, std::size_t limit) {
  constexpr std::size_t kDepthAt = 24, kColourAt = 25;
  Files files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (files.size() < limit && entry.path().extension() == ".png") {
      std::string file = read_file(entry.path());
      if (file.size() > kColourAt && file[kDepthAt] == 8 && file[kColourAt] == PNG_COLOR_TYPE_GRAY) {
        files.push_back(std::move(file));
      }
    }
  }
  check(!files.empty(), "{} holds no 8-bit grey PNG", folder.string());
  return files;
}

struct Source {
  const char* data;
  std::size_t left;
};

void take(png_structp png, png_bytep to, std::size_t bytes) {
  auto* source = static_cast<Source*>(png_get_io_ptr(png));
  if (bytes > source->left) {
    png_error(png, "cut short");
  }
  std::memcpy(to, source->data, bytes);
  source->data += bytes;
  source->left -= bytes;
}

// Row after row into `pixels`, as every program with libpng does it. Its errors end the program, as is its default.
void decode_with_libpng(const std::string& file, std::vector<png_byte>& pixels) {
  Source source{file.data(), file.size()};
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_read_fn(png, &source, take);
  png_read_info(png, info);
  const std::size_t row_bytes = png_get_rowbytes(png, info), rows = png_get_image_height(png, info);
  pixels.resize(row_bytes * rows);
  for (std::size_t row = 0; row < rows; ++row) {
    png_read_row(png, pixels.data() + row * row_bytes, nullptr);
  }
  png_read_end(png, nullptr);
  png_destroy_read_struct(&png, &info, nullptr);
}

std::span<const std::byte> bytes_of(const std::string& file) {
  return std::as_bytes(std::span(file));
}

// One iteration is one pass over all files.
void add(const char* name, const Files& files, const std::function<void(const std::string&)>& body) {
  benchmark::RegisterBenchmark(name, [&files, body](benchmark::State& state) {
    for (auto _ : state) {
      for (const std::string& file : files) {
        body(file);
      }
    }
    state.counters["images"] =
        benchmark::Counter(static_cast<double>(files.size()), benchmark::Counter::kIsIterationInvariantRate);
  })->Unit(benchmark::kMillisecond);
}

void run(const std::string& folder, int count, int size) {
  const Files files = folder.empty() ? synthetic_files(count) : files_of(folder, count);
  std::vector<png_byte> pixels;
  std::vector<std::uint8_t> packed(static_cast<std::size_t>(size) * size);
  add("libpng_alone", files, [&](const std::string& file) { decode_with_libpng(file, pixels); });
  add("decode", files, [](const std::string& file) {
    benchmark::DoNotOptimize(data::decode_png(bytes_of(file), "bench").pixels.data());
  });
  add("decode_resize_pack", files, [&](const std::string& file) {
    data::resize_area(data::decode_png(bytes_of(file), "bench"), size, packed);
    benchmark::DoNotOptimize(packed.data());
  });
  run_registered(make_device("cpu", 1)->info());
}

}  // namespace
}  // namespace densetree::bench

int main(int argc, char** argv) {
  CLI::App app("Times decoding and packing of 1024x1024 PNGs on one core.", "bench_png");
  std::string folder;
  int count = 8, size = 256;
  app.add_option("--images", folder, "a folder of PNGs; default: synthetic X-rays");
  app.add_option("--count", count, "files")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--size", size, "side of the packed images")->check(CLI::PositiveNumber)->capture_default_str();
  return densetree::bench::run_program(app, argc, argv, [&] { densetree::bench::run(folder, count, size); });
}
