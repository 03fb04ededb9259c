#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/data/image.h"
#include "engine/data/resize.h"
#include "kernels/core/error.h"
#include "kernels/functors/image.h"
#include "tools/commands.h"
#include "tools/trained_model.h"

namespace densetree::tools {
namespace {

namespace fs = std::filesystem;

struct Flags {
  std::string run;
  std::vector<std::string> images;
};

// The files named, and the images in the folders named, in order of their names.
std::vector<fs::path> find_images(const std::vector<std::string>& arguments) {
  std::vector<fs::path> found;
  for (const std::string& argument : arguments) {
    check(fs::exists(argument), "{} does not exist", argument);
    if (!fs::is_directory(argument)) {
      found.emplace_back(argument);
      continue;
    }
    std::vector<fs::path> inside;
    for (const auto& entry : fs::recursive_directory_iterator(argument)) {
      std::string extension = entry.path().extension().string();
      std::transform(extension.begin(), extension.end(), extension.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      if (entry.is_regular_file() && (extension == ".png" || extension == ".jpg" || extension == ".jpeg")) {
        inside.push_back(entry.path());
      }
    }
    check(!inside.empty(), "{} holds no .png, .jpg or .jpeg file", argument);
    std::sort(inside.begin(), inside.end());
    found.insert(found.end(), inside.begin(), inside.end());
  }
  return found;
}

void print(const Common& common, const fs::path& image, const std::vector<std::string>& labels, const float* p) {
  if (common.json) {
    nlohmann::ordered_json findings;
    for (std::size_t label = 0; label < labels.size(); ++label) {
      findings[labels[label]] = p[label];
    }
    std::cout << nlohmann::ordered_json{{"image", image.string()}, {"probabilities", findings}}.dump() << '\n';
    return;
  }
  std::vector<std::size_t> order(labels.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });
  std::cout << image.string() << '\n';
  for (const std::size_t label : order) {
    std::cout << fmt::format("  {:20} {:.3f}\n", labels[label], p[label]);
  }
}

void print_fault(const Common& common, const fs::path& image, const std::string& fault) {
  if (common.json) {
    std::cout << nlohmann::ordered_json{{"image", image.string()}, {"error", fault}}.dump() << '\n';
  } else {
    std::cerr << "predict: " << fault << '\n';
  }
}

void run(const Common& common, const Flags& flags) {
  const std::vector<fs::path> images = find_images(flags.images);
  const auto device = common.open_device();
  TrainedModel trained(*device, flags.run, std::min<std::int64_t>(16, static_cast<std::int64_t>(images.size())));
  const auto& o = trained.model->options();
  const std::size_t pixels = o.source_size * o.source_size;
  std::vector<std::uint8_t> batch;
  std::vector<fs::path> names;
  std::size_t unreadable = 0;
  const auto flush = [&] {
    if (names.empty()) {
      return;
    }
    const std::vector<ImageTransform> transforms(names.size(), resize_transform(o.source_size, o.image_size));
    trained.model->set_images(batch, transforms, false);
    trained.model->infer();
    const std::vector<float> p = trained.model->probabilities();
    for (std::size_t i = 0; i < names.size(); ++i) {
      print(common, names[i], trained.labels.names(), p.data() + i * trained.labels.size());
    }
    batch.clear();
    names.clear();
  };
  for (const fs::path& image : images) {
    try {
      const data::GreyImage grey = data::decode_image(image);
      batch.resize((names.size() + 1) * pixels);
      data::resize_area(grey, static_cast<int>(o.source_size), std::span(batch).last(pixels));
      names.push_back(image);
    } catch (const Error& e) {
      flush();  // keeps the output in order
      batch.resize(names.size() * pixels);
      print_fault(common, image, e.what());
      ++unreadable;
    }
    if (names.size() == static_cast<std::size_t>(o.batch_size)) {
      flush();
    }
  }
  flush();
  check(unreadable == 0, "{} of {} images could not be read; the others were answered", unreadable, images.size());
}

}  // namespace

void add_predict(CLI::App& app, const Common& common) {
  auto flags = std::make_shared<Flags>();
  auto* command = app.add_subcommand("predict", "probabilities of findings, image by image");
  command->add_option("--run", flags->run, "a trained run")->required();
  command->add_option("images", flags->images, "images (PNG, JPEG) or folders of them")->required();
  command->callback([&common, flags] { run(common, *flags); });
}

}  // namespace densetree::tools
