// DenseNet (Huang et al., CVPR 2017) with torchvision's topology and tensor names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/io/settings.h"
#include "nn/builder.h"

namespace densetree::nn {

struct Architecture {
  std::string name;  // as given: "densenet121", "growth=8,blocks=2-3-4-2,init=16"
  std::int64_t growth = 32;
  std::vector<std::int64_t> blocks{6, 12, 24, 16};
  std::int64_t init = 64;
  std::int64_t bottleneck = 4;  // bottleneck channels = bottleneck · growth

  // Channels at the end: of the embedding.
  std::int64_t features() const;
  // Side of the last feature map, of images of that side.
  std::int64_t last_side(std::int64_t image_size) const;

  // As a setting (engine/io/settings.h).
  friend std::string setting_text(const Architecture& a) { return a.name; }
  friend void set_from_text(Architecture& a, const std::string& text, const Setting& setting, const std::string& shown);
};

// densenet121, densenet161, densenet169, densenet201, densenet264, or "growth=G,blocks=A-B-…,init=I[,bottleneck=F]".
// Throws Error for anything else, or numbers out of range.
Architecture parse_architecture(const std::string& text);

struct Outputs {
  Tensor features;   // the last feature map (N, features, H, W), after norm and ReLU
  Tensor embedding;  // (N, features, 1, 1): its mean over pixels
  Tensor logits;     // (N, labels, 1, 1)
};

// Adds the network to the builder's tape. images: (N, 3, S, S). S must leave at least one pixel after the five
// halvings: 32 or more.
Outputs densenet(Builder& b, const Architecture& a, const Tensor& images, std::int64_t labels);

}  // namespace densetree::nn
