// What a checkpoint holds, and loading one strictly.
//
// Weights that load loosely predict at chance, so every tensor of the network must be found in the file, with its
// shape, and every tensor of the file must be wanted. What differs is listed. Names that other programs gave the same
// tensors are understood (canonical_name); nothing else is guessed.
//
// A checkpoint is a safetensors file: weights under torchvision's names, the optimiser's state under "optimizer.…",
// the trainer's under "progress.…", and in its metadata a CheckpointMeta.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/io/safetensors.h"
#include "kernels/device.h"

namespace densetree {

// ---- Tensors -------------------------------------------------------------------------------------
inline constexpr const char* kOptimizerPrefix = "optimizer.";
inline constexpr const char* kProgressPrefix = "progress.";

struct ExpectedTensor {
  std::string name;   // torchvision's
  TensorShape shape;  // a float type, or for "….num_batches_tracked" any type
};

enum class LoadPolicy : std::uint8_t {
  kStrict,
  // "classifier.…" may be missing or have another number of labels; then both its tensors are left to be drawn anew.
  kAllowNewClassifier,
};

struct LoadPlan {
  // One for each expected tensor, in that order. Null where none is stored and that is allowed: num_batches_tracked
  // (absent from old files), or the classifier with kAllowNewClassifier.
  std::vector<const TensorInfo*> tensors;
  std::vector<const TensorInfo*> own;  // "optimizer.…" and "progress.…", in the file's order
  bool new_classifier = false;
  std::vector<std::string>
      notes;  // what was not as written: renamed tensors, a new classifier; one line each, for the log
};

// torchvision's name for a tensor stored under another program's: without the prefixes "module.", "model.",
// "state_dict.", "densenet121." (any depth), without torch.compile's "_orig_mod.", without dots inside layer names
// ("norm.1" → "norm1", as torchvision wrote before 0.3), and "classifier.0." → "classifier." (CheXNet's
// re-implementations wrap it).
std::string canonical_name(std::string_view stored);

// Which stored tensor fills which expected one. Throws Error whose first line sums up the difference and whose further
// lines list it: missing, unexpected, of another shape or type. The plan points into `file`.
LoadPlan match_tensors(const TensorFile& file, std::span<const ExpectedTensor> expected,
                       LoadPolicy policy = LoadPolicy::kStrict);

// Throws Error naming the file and the first tensor of floats in it that holds an infinity or NaN.
void check_finite(const TensorFile& file);

// ---- Metadata ------------------------------------------------------------------------------------
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
