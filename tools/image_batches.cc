#include "tools/image_batches.h"

#include <optional>

#include "data/resize.h"
#include "kernels/core/error.h"
#include "kernels/functors/image.h"

namespace densetree::tools {
namespace {

// The image, or nothing where it cannot be read and `unreadable` took note of that.
std::optional<data::GreyImage> read(const ImageFile& file, const ReadOptions& options,
                                    const std::function<void()>& before_fault) {
  if (!options.unreadable) {
    return data::decode_image(file.path, options.max_pixels);
  }
  try {
    return data::decode_image(file.path, options.max_pixels);
  } catch (const Error& e) {
    before_fault();
    options.unreadable(file, e.what());
    return std::nullopt;
  }
}

}  // namespace

nn::ImageBatch ReadImages::batch() const {
  return {pixels, transforms, [this](std::size_t i) { return files[i]->path.string(); }};
}

void for_each_batch(const nn::Model& model, const std::vector<ImageFile>& files, const ReadOptions& options,
                    const std::function<void(const ReadImages&)>& use) {
  const nn::ModelOptions& o = model.options();
  const auto pixels = static_cast<std::size_t>(o.source_size * o.source_size);
  ReadImages images;
  const auto flush = [&] {
    if (!images.files.empty()) {
      use(images);
      images.files.clear(), images.originals.clear(), images.transforms.clear();
    }
  };
  for (const ImageFile& file : files) {
    std::optional<data::GreyImage> image = read(file, options, flush);
    if (!image) {
      continue;
    }
    images.files.push_back(&file);
    images.transforms.push_back(resize_transform(o.source_size, o.image_size));
    images.pixels.resize(images.files.size() * pixels);
    data::resize_area(*image, static_cast<int>(o.source_size), std::span(images.pixels).last(pixels));
    if (options.keep_originals) {
      images.originals.push_back(std::move(*image));
    }
    if (images.files.size() == static_cast<std::size_t>(o.batch_size)) {
      flush();
    }
  }
  flush();
}

}  // namespace densetree::tools
