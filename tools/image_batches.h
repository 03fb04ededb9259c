// Image files through a trained network, a batch at a time.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "data/image.h"
#include "engine/io/settings.h"
#include "nn/scoring.h"
#include "tools/image_files.h"

namespace densetree::tools {

// How many images go through a trained network at once.
struct InferenceSettings {
  std::int64_t batch_size = 16;

  static void settings(auto& o, auto&& f) {
    f(o.batch_size, Setting{"batch-size", "images at once", between(1, nn::kLargestBatch)});
  }
  // No more than there are.
  std::int64_t batch_of(std::size_t images) const { return std::min(batch_size, static_cast<std::int64_t>(images)); }
};

// Up to a batch of images that were read and brought to the network's stored size.
struct ReadImages {
  std::vector<const ImageFile*> files;
  std::vector<data::GreyImage> originals;  // as they were read, where they are kept; else empty
  std::vector<std::uint8_t> pixels;        // (count, S, S), S the network's stored size
  std::vector<ImageTransform> transforms;  // (count)

  nn::ImageBatch batch() const;
};

struct ReadOptions {
  std::int64_t max_pixels = data::kDefaultMaxPixels;
  bool keep_originals = false;
  // Called for a file that cannot be read, after all before it have been used; where it is empty, that is an Error.
  std::function<void(const ImageFile&, const std::string& fault)> unreadable = {};
};

// Reads the files in order and calls use() for each batch; the last may be smaller.
void for_each_batch(const nn::Model& model, const std::vector<ImageFile>& files, const ReadOptions& options,
                    const std::function<void(const ReadImages&)>& use);

}  // namespace densetree::tools
