#include "nn/tensor_names.h"

#include <cctype>

namespace densetree::nn {
namespace {

constexpr const char* kClassifierPrefix = "classifier.";

// Drops "densenet" and digits and a dot at the front, as in "densenet121.features…".
bool drop_arch_prefix(std::string_view& name) {
  constexpr std::string_view kStem = "densenet";
  if (!name.starts_with(kStem)) {
    return false;
  }
  std::size_t end = kStem.size();
  while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end]))) {
    ++end;
  }
  if (end == kStem.size() || end == name.size() || name[end] != '.') {
    return false;
  }
  name.remove_prefix(end + 1);
  return true;
}

bool drop_prefix(std::string_view& name) {
  for (const std::string_view prefix : {"module.", "model.", "state_dict."}) {
    if (name.starts_with(prefix)) {
      name.remove_prefix(prefix.size());
      return true;
    }
  }
  return drop_arch_prefix(name);
}

// "….denselayer3.norm.1.weight" → "….denselayer3.norm1.weight".
std::string join_layer_dots(std::string name) {
  for (const std::string_view layer : {".norm.", ".relu.", ".conv."}) {
    const std::size_t at = name.find(layer);
    const std::size_t digit = at + layer.size();
    const bool dotted = at != std::string::npos && digit + 1 < name.size() &&
                        std::isdigit(static_cast<unsigned char>(name[digit])) && name[digit + 1] == '.';
    if (dotted && name.find("denselayer") < at) {
      name.erase(digit - 1, 1);
    }
  }
  return name;
}

}  // namespace

std::string canonical_name(std::string_view stored) {
  std::string plain(stored);
  constexpr std::string_view kCompiled = "_orig_mod.";
  for (std::size_t at = 0; (at = plain.find(kCompiled)) != std::string::npos;) {
    plain.erase(at, kCompiled.size());
  }
  stored = plain;
  while (drop_prefix(stored)) {
  }
  std::string name = join_layer_dots(std::string(stored));
  constexpr std::string_view kWrapped = "classifier.0.";
  if (name.starts_with(kWrapped)) {
    name.replace(0, kWrapped.size(), kClassifierPrefix);
  }
  return name;
}

TensorNames densenet_names() {
  return {canonical_name, kClassifierPrefix};
}

}  // namespace densetree::nn
