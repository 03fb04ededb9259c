// The names of DenseNet's tensors: torchvision's, and what other programs made of them.
#pragma once

#include <string>
#include <string_view>

#include "engine/load_plan.h"

namespace densetree::nn {

// torchvision's name for a tensor stored under another program's: without the prefixes "module.", "model.",
// "state_dict.", "densenet121." (any depth), without torch.compile's "_orig_mod.", without dots inside layer names
// ("norm.1" → "norm1", as torchvision wrote before 0.3), and "classifier.0." → "classifier." (CheXNet's
// re-implementations wrap it). Nothing else is guessed.
std::string canonical_name(std::string_view stored);

TensorNames densenet_names();

}  // namespace densetree::nn
