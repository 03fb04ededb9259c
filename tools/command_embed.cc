#include <array>
#include <iostream>
#include <nlohmann/json.hpp>

#include "data/npy.h"
#include "engine/io/csv.h"
#include "engine/io/file.h"
#include "engine/io/json.h"
#include "nn/trained_model.h"
#include "tools/commands.h"
#include "tools/image_batches.h"
#include "tools/outputs.h"
#include "tools/progress.h"
#include "tools/setting_options.h"

namespace densetree::tools {
namespace {

namespace fs = std::filesystem;

struct Flags {
  std::string run, data, split, out;
  std::vector<std::string> images;
  InferenceSettings inference;
  std::int64_t max_pixels = data::kDefaultMaxPixels;
  bool verify = false, replace = false;
};

fs::path names_of(const fs::path& features) {
  return fs::path(features).replace_extension(".csv");
}

// Features have the names of their images beside them, as many.
bool is_output(const fs::path& file) {
  const fs::path features = fs::path(file).replace_extension(".npy");
  const data::NpyHeader header = data::parse_npy_header(MappedFile(features).bytes(), features.string());
  const CsvTable names = CsvTable::read(names_of(features));
  return header.descr == "<f4" && header.shape.size() == 2 &&
         names.header() == std::vector<std::string>{"Image Index"} &&
         header.shape[0] == static_cast<std::int64_t>(names.rows());
}

void check_outputs(const Common& common, const Flags& flags, const std::vector<ImageFile>& images) {
  check(fs::path(flags.out).extension() == ".npy", "--out is {}; the features are written as NumPy's, so name it F.npy",
        flags.out);
  Outputs outputs(common, flags.replace);
  outputs.read_run(flags.run);
  outputs.read_data(flags.data);
  for (const ImageFile& image : images) {
    outputs.read(image.path);
  }
  outputs.write(flags.out, is_output);
  outputs.write(names_of(flags.out), is_output);
}

// F.npy, written row by row, and F.csv, whose rows name the images. Nothing is there before both are whole.
class EmbeddingFile {
 public:
  EmbeddingFile(const fs::path& path, const std::vector<std::string>& names, std::int64_t features)
      : file_(path), names_path_(names_of(path)) {
    file_.write(data::npy_header("<f4", std::array{names.size(), static_cast<std::size_t>(features)}));
    table_ = "Image Index\n";
    for (const std::string& name : names) {
      table_ += csv_row(std::array{name});
    }
  }
  void add(std::span<const float> values) { file_.write(values.data(), values.size_bytes()); }
  void commit() {
    write_file(names_path_, table_);
    file_.commit();
  }
  const fs::path& names_path() const { return names_path_; }

 private:
  AtomicFile file_;
  fs::path names_path_;
  std::string table_;
};

struct Done {
  std::size_t images;
  std::int64_t features;
  fs::path names;
};

Done embed_data(Device& device, const Flags& flags) {
  const data::Dataset dataset(flags.data);
  const std::vector<std::int64_t> rows = flags.split.empty() ? dataset.all_rows() : dataset.rows_of(flags.split);
  check(!rows.empty(), "{} has no images in the split '{}'", flags.data, flags.split);
  if (flags.verify) {
    dataset.verify();
  }
  const nn::TrainedModel trained(device, flags.run, flags.inference.batch_of(rows.size()));
  trained.check_source(dataset);
  std::vector<std::string> names;
  for (const std::int64_t row : rows) {
    names.push_back(dataset.row(row).image);
  }
  const std::int64_t features = trained.model->options().arch.features();
  EmbeddingFile file(flags.out, names, features);
  ProgressBar bar("embedding");
  std::size_t done = 0;
  bar.update(done, rows.size());
  nn::embed(*trained.model, dataset, rows, [&](std::span<const float> values) {
    file.add(values);
    bar.update(done += values.size() / features, rows.size());
  });
  file.commit();
  return {rows.size(), features, file.names_path()};
}

Done embed_images(Device& device, const Flags& flags, const std::vector<ImageFile>& images) {
  std::vector<std::string> names;
  for (const ImageFile& image : images) {
    names.push_back(image.path.string());
  }
  const nn::TrainedModel trained(device, flags.run, flags.inference.batch_of(images.size()));
  nn::Model& model = *trained.model;
  const std::int64_t features = model.options().arch.features();
  EmbeddingFile file(flags.out, names, features);
  ProgressBar bar("embedding");
  std::size_t done = 0;
  bar.update(done, images.size());
  for_each_batch(model, images, {.max_pixels = flags.max_pixels}, [&](const ReadImages& read) {
    file.add(nn::infer_embeddings(model, read.batch()));
    bar.update(done += read.files.size(), images.size());
  });
  file.commit();
  return {images.size(), features, file.names_path()};
}

void run(const Common& common, const Flags& flags) {
  check(flags.data.empty() != flags.images.empty(), "give either --data or images");
  check(flags.split.empty() || !flags.data.empty(), "--split is for --data");
  check(!flags.verify || !flags.data.empty(), "--verify is for --data");
  const std::vector<ImageFile> images = find_images(flags.images);
  check_outputs(common, flags, images);
  const auto device = common.open_device();
  const Done done = flags.data.empty() ? embed_images(*device, flags, images) : embed_data(*device, flags);
  if (common.json) {
    std::cout << json_text({{"features", flags.out},
                            {"names", done.names.string()},
                            {"images", done.images},
                            {"features_per_image", done.features}})
              << '\n';
  } else {
    std::cout << fmt::format("{}: {} images × {} features; their names are in {}\n", flags.out, done.images,
                             done.features, done.names.string());
  }
}

}  // namespace

void add_embed(CLI::App& app, const Common& common) {
  auto flags = std::make_shared<Flags>();
  auto* command = app.add_subcommand("embed", "the features that the classifier sees, for other programs");
  command->add_option("--run", flags->run, "a trained run")->required();
  command->add_option("--data", flags->data, "a prepared data set, all of it");
  command->add_option("--split", flags->split, "of the data set, this part only")
      ->check(CLI::IsMember(densetree::names_of<data::Side>()));
  command->add_option("--out", flags->out, "F.npy: float32 (images, features); F.csv gets their names")->required();
  add_settings(*command, flags->inference);
  command->add_flag("--verify", flags->verify, "read the whole data set first and compare it with its hashes");
  add_setting(*command, flags->max_pixels, data::kMaxPixelsSetting);
  command->add_option("images", flags->images, "images (PNG, JPEG) or folders of them")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_replace_flag(*command, flags->replace);
  command->callback([&common, flags] { run(common, *flags); });
}

}  // namespace densetree::tools
