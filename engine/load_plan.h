// Which tensor of a file fills which tensor of a network. Weights that load loosely predict at chance, so every tensor
// of the network must be in the file with its shape, and every tensor of the file must be wanted. What differs is
// listed.
//
// A checkpoint holds weights under the network's names, the optimiser's state under "optimizer.…", the trainer's under
// "progress.…", and a CheckpointMeta (checkpoint_meta.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/io/safetensors.h"

namespace densetree {

inline constexpr const char* kOptimizerPrefix = "optimizer.";
inline constexpr const char* kProgressPrefix = "progress.";

struct ExpectedTensor {
  std::string name;   // the network's
  TensorShape shape;  // a float type, or for "….num_batches_tracked" any type
};

// What a network knows of the names of its tensors.
struct TensorNames {
  // The network's name for a tensor that is stored under the name that another program gave it.
  std::string (*canonical)(std::string_view stored);
  std::string classifier;  // prefix of the classifier's tensors
};

enum class LoadPolicy : std::uint8_t {
  kStrict,
  // The classifier may be missing or have another number of labels; then all its tensors are left to be drawn anew.
  kAllowNewClassifier,
};

struct LoadPlan {
  // One for each expected tensor, in that order. Null where none is stored and that is allowed: num_batches_tracked
  // (absent from old files), or the classifier with kAllowNewClassifier.
  std::vector<const TensorInfo*> tensors;
  std::vector<const TensorInfo*> own;  // "optimizer.…" and "progress.…", in the file's order
  bool new_classifier = false;
  // For the log, a line each: tensors that were read under other names, a classifier that starts anew.
  std::vector<std::string> notes;
};

// Which stored tensor fills which expected one. Throws Error whose first line sums up the difference and whose further
// lines list it: missing, unexpected, of another shape or type. The plan points into `file`.
LoadPlan match_tensors(const TensorFile& file, std::span<const ExpectedTensor> expected, const TensorNames& names,
                       LoadPolicy policy = LoadPolicy::kStrict);

// Throws Error naming the file and the first tensor of floats in it that holds an infinity or NaN.
void check_finite(const TensorFile& file);

}  // namespace densetree
