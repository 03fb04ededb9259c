// What a checkpoint says about itself, in the metadata of its safetensors file: which network it holds, the labels, how
// pixels become input, and how far training has got.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/io/safetensors.h"
#include "kernels/core/image_transform.h"

namespace densetree {

inline constexpr int kCheckpointVersion = 1;

// Keys of the metadata that belong to a CheckpointMeta.
namespace metadata_key {
inline constexpr const char* kVersion = "densetree.version";              // "1"
inline constexpr const char* kArch = "densetree.arch";                    // "densenet121"
inline constexpr const char* kLabels = "densetree.labels";                // JSON: ["Atelectasis", …]
inline constexpr const char* kPreprocessing = "densetree.preprocessing";  // JSON object
inline constexpr const char* kStep = "densetree.step";                    // optimiser steps taken
inline constexpr const char* kEpoch = "densetree.epoch";                  // epochs completed
}  // namespace metadata_key

// How pixels become input, stored with the weights because a network fed another range predicts nonsense.
struct Preprocessing {
  std::int64_t source_size = 256;         // square grey images are brought to this size first
  std::int64_t image_size = 224;          // then sampled to the network's input
  double pixel_min = 0, pixel_max = 255;  // source pixels, which become 0 … 1 before normalisation
  InputNormalization normalization;
};

struct CheckpointMeta {
  std::string arch;
  std::vector<std::string> labels;  // one per output, in order
  Preprocessing preprocessing;
  std::int64_t step = 0, epoch = 0;
  std::map<std::string, std::string> extra;  // every other key, untouched

  // Throws Error naming what is wrong: no label, one twice, a size, range or deviation that makes no sense.
  std::map<std::string, std::string> to_metadata() const;
  // Strict: a missing key, a wrong type, an unknown preprocessing entry or a newer version is an Error naming `file`.
  static CheckpointMeta from(const TensorFile& file);
};

// Whether a file carries a CheckpointMeta, or is plain weights from elsewhere.
bool has_checkpoint_meta(const TensorFile& file);

}  // namespace densetree
