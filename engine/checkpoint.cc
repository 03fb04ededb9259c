#include "engine/checkpoint.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "kernels/core/error.h"

namespace densetree {

namespace {

using nlohmann::json;

constexpr std::string_view kClassifierPrefix = "classifier.";
constexpr std::string_view kCounterSuffix = ".num_batches_tracked";

// ---- Names ---------------------------------------------------------------------------------------

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

bool is_counter(std::string_view name) {
  return name.ends_with(kCounterSuffix);
}
bool is_classifier(std::string_view name) {
  return name.starts_with(kClassifierPrefix);
}
bool is_own(std::string_view name) {
  return name.starts_with(kOptimizerPrefix) || name.starts_with(kProgressPrefix);
}

bool is_float(TensorType type) {
  return type == TensorType::kFloat64 || type == TensorType::kFloat32 || type == TensorType::kFloat16 ||
         type == TensorType::kBFloat16;
}

// ---- Matching ------------------------------------------------------------------------------------

struct Difference {
  std::vector<std::string> missing, unexpected, different;
  bool none() const { return missing.empty() && unexpected.empty() && different.empty(); }
};

constexpr std::size_t kListed = 10;

std::string listed(const char* title, const std::vector<std::string>& lines) {
  if (lines.empty()) {
    return "";
  }
  std::string text = fmt::format("\n  {} ({}):", title, lines.size());
  for (std::size_t i = 0; i < std::min(lines.size(), kListed); ++i) {
    text += "\n    " + lines[i];
  }
  if (lines.size() > kListed) {
    text += fmt::format("\n    … and {} more", lines.size() - kListed);
  }
  return text;
}

[[noreturn]] void fail_with(const Difference& difference, const TensorFile& file, std::size_t expected) {
  const auto arch = file.metadata().find(metadata_key::kArch);
  const std::string of = arch == file.metadata().end() ? "" : fmt::format(" (its metadata says {})", arch->second);
  std::string text = fmt::format(
      "{}: its weights{} do not fit this network: of {} tensors {} are missing and {} have another shape or type, and "
      "{} of the file are not wanted",
      file.source(), of, expected, difference.missing.size(), difference.different.size(),
      difference.unexpected.size());
  text += listed("missing", difference.missing);
  text += listed("different", difference.different);
  text += listed("unexpected", difference.unexpected);
  throw Error(text);
}

// Stored tensors under the names the network knows them by.
using Stored = std::unordered_map<std::string, const TensorInfo*>;

Stored collect(const TensorFile& file, const std::set<std::string_view>& wanted, LoadPlan& plan) {
  Stored stored;
  std::size_t renamed = 0;
  std::string example;
  for (const TensorInfo& tensor : file.tensors()) {
    if (is_own(tensor.name)) {
      plan.own.push_back(&tensor);
      continue;
    }
    const std::string name = wanted.contains(tensor.name) ? tensor.name : canonical_name(tensor.name);
    const auto [at, fresh] = stored.emplace(name, &tensor);
    check(fresh, "{}: tensors '{}' and '{}' both stand for '{}'", file.source(), at->second->name, tensor.name, name);
    if (name != tensor.name && renamed++ == 0) {
      example = fmt::format("'{}' as '{}'", tensor.name, name);
    }
  }
  if (renamed > 0) {
    plan.notes.push_back(fmt::format("{} of {} tensors were read under other names, such as {}", renamed,
                                     file.tensors().size() - plan.own.size(), example));
  }
  return stored;
}

// Empty when the tensor fits, else a line for the difference.
std::string misfit(const ExpectedTensor& expected, const TensorInfo& stored) {
  if (is_counter(expected.name)) {  // whole, or as a float where all of a file was converted
    return stored.elements() == 1 ? ""
                                  : fmt::format("{}: stored {} {}, wanted one number", expected.name,
                                                name_of(stored.type), describe(stored.shape));
  }
  const bool fits = is_float(stored.type) && stored.shape == expected.shape;
  return fits ? ""
              : fmt::format("{}: stored {} {}, wanted float {}", expected.name, name_of(stored.type),
                            describe(stored.shape), describe(expected.shape));
}

// Whether a classifier tensor differs from the expected one in nothing but the number of labels, or is absent.
bool is_other_label_count(const ExpectedTensor& expected, const TensorInfo* stored) {
  if (stored == nullptr) {
    return true;
  }
  TensorShape shape = stored->shape;
  if (shape.empty() || shape.size() != expected.shape.size() || !is_float(stored->type)) {
    return false;
  }
  shape[0] = expected.shape[0];
  return shape == expected.shape;
}

const TensorInfo* lookup(const Stored& stored, const std::string& name) {
  const auto found = stored.find(name);
  return found == stored.end() ? nullptr : found->second;
}

bool wants_new_classifier(std::span<const ExpectedTensor> expected, const Stored& stored) {
  bool misfits = false;
  for (const ExpectedTensor& e : expected) {
    if (is_classifier(e.name)) {
      const TensorInfo* tensor = lookup(stored, e.name);
      if (!is_other_label_count(e, tensor)) {
        return false;
      }
      misfits = misfits || tensor == nullptr || tensor->shape != e.shape;
    }
  }
  return misfits;
}

std::string new_classifier_note(std::span<const ExpectedTensor> expected, const Stored& stored) {
  for (const ExpectedTensor& e : expected) {
    const TensorInfo* tensor = is_classifier(e.name) ? lookup(stored, e.name) : nullptr;
    if (tensor != nullptr) {
      return fmt::format("the stored classifier has {} outputs and this network {}: the classifier starts anew",
                         tensor->shape[0], e.shape[0]);
    }
  }
  return "the file holds no classifier: the classifier starts anew";
}

// ---- Metadata ------------------------------------------------------------------------------------

constexpr std::int64_t kMaxImageSize = 65536;

void check_meta(const CheckpointMeta& meta, const std::string& source) {
  check(!meta.arch.empty(), "{}: the architecture is empty; it should be a name such as densenet121", source);
  check(!meta.labels.empty(), "{}: has no labels; a network needs at least one", source);
  std::set<std::string_view> seen;
  for (const std::string& label : meta.labels) {
    check(!label.empty(), "{}: one of its labels is empty", source);
    check(seen.insert(label).second, "{}: label '{}' is there twice", source, label);
  }
  const Preprocessing& p = meta.preprocessing;
  for (const std::int64_t size : {p.source_size, p.image_size}) {
    check(size >= 1 && size <= kMaxImageSize, "{}: an image size of {} pixels; it must be 1 to {}", source, size,
          kMaxImageSize);
  }
  check(std::isfinite(p.pixel_min) && std::isfinite(p.pixel_max) && p.pixel_min < p.pixel_max,
        "{}: pixel range {} to {}; the first must be below the second", source, p.pixel_min, p.pixel_max);
  for (int c = 0; c < kInputChannels; ++c) {
    check(std::isfinite(p.normalization.mean[c]), "{}: the mean of channel {} is not finite", source, c);
    check(std::isfinite(p.normalization.std[c]) && p.normalization.std[c] > 0,
          "{}: the standard deviation of channel {} is {}; it must be above 0", source, c, p.normalization.std[c]);
  }
  check(meta.step >= 0 && meta.epoch >= 0, "{}: step {} and epoch {} must not be negative", source, meta.step,
        meta.epoch);
}

const std::string& value_of(const TensorFile& file, const char* key) {
  const auto found = file.metadata().find(key);
  check(found != file.metadata().end(), "{}: its metadata lacks '{}', so it is no whole densetree checkpoint",
        file.source(), key);
  return found->second;
}

std::int64_t whole_number(const TensorFile& file, const char* key) {
  const std::string& text = value_of(file, key);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check(error == std::errc() && end == text.data() + text.size() && value >= 0,
        "{}: metadata '{}' is '{}'; it should be a whole number from 0", file.source(), key, text);
  return value;
}

json json_value(const TensorFile& file, const char* key) {
  try {
    return json::parse(value_of(file, key));
  } catch (const json::exception& error) {
    fail("{}: metadata '{}' is not valid JSON: {}", file.source(), key, error.what());
  }
}

std::vector<std::string> parse_labels(const TensorFile& file) {
  const json list = json_value(file, metadata_key::kLabels);
  check(list.is_array(), "{}: metadata '{}' should be a list of names", file.source(), metadata_key::kLabels);
  std::vector<std::string> labels;
  for (const json& label : list) {
    check(label.is_string(), "{}: metadata '{}' should hold names only", file.source(), metadata_key::kLabels);
    labels.push_back(label.get<std::string>());
  }
  return labels;
}

// Reads entries of the preprocessing object, each exactly once.
class EntryReader {
 public:
  EntryReader(json object, std::string source) : object_(std::move(object)), source_(std::move(source)) {
    check(object_.is_object(), "{}: metadata '{}' should be an object", source_, metadata_key::kPreprocessing);
  }
  std::int64_t size(const char* name) {
    const json value = take(name);
    const bool ok = value.is_number_unsigned() && value.get<std::uint64_t>() <= std::uint64_t{kMaxImageSize};
    check(ok, "{}: preprocessing '{}' should be a size of 1 to {} pixels", source_, name, kMaxImageSize);
    return value.get<std::int64_t>();
  }
  std::vector<double> numbers(const char* name, std::size_t count) {
    const json value = take(name);
    check(value.is_array() && value.size() == count, "{}: preprocessing '{}' should be {} numbers", source_, name,
          count);
    std::vector<double> values;
    for (const json& number : value) {
      check(number.is_number(), "{}: preprocessing '{}' should be {} numbers", source_, name, count);
      values.push_back(number.get<double>());
    }
    return values;
  }
  void finish() const {
    check(object_.empty(), "{}: preprocessing holds '{}', which this version does not know", source_,
          object_.empty() ? "" : object_.begin().key());
  }

 private:
  json take(const char* name) {
    const auto found = object_.find(name);
    check(found != object_.end(), "{}: preprocessing lacks '{}'", source_, name);
    json value = *found;
    object_.erase(found);
    return value;
  }

  json object_;
  std::string source_;
};

Preprocessing parse_preprocessing(const TensorFile& file) {
  EntryReader reader(json_value(file, metadata_key::kPreprocessing), file.source());
  Preprocessing p;
  p.source_size = reader.size("source_size");
  p.image_size = reader.size("image_size");
  const std::vector<double> range = reader.numbers("pixel_range", 2);
  p.pixel_min = range[0], p.pixel_max = range[1];
  const std::vector<double> mean = reader.numbers("mean", kInputChannels), std = reader.numbers("std", kInputChannels);
  for (int c = 0; c < kInputChannels; ++c) {
    p.normalization.mean[c] = static_cast<float>(mean[c]);
    p.normalization.std[c] = static_cast<float>(std[c]);
  }
  reader.finish();
  return p;
}

json preprocessing_json(const Preprocessing& p) {
  return {{"source_size", p.source_size},
          {"image_size", p.image_size},
          {"pixel_range", {p.pixel_min, p.pixel_max}},
          {"mean", p.normalization.mean},
          {"std", p.normalization.std}};
}

std::string dump(const json& value, const char* what) {
  try {
    return value.dump();
  } catch (const json::exception&) {
    fail("checkpoint: the {} are not valid UTF-8", what);
  }
}

bool is_meta_key(std::string_view key) {
  for (const char* known : {metadata_key::kVersion, metadata_key::kArch, metadata_key::kLabels,
                            metadata_key::kPreprocessing, metadata_key::kStep, metadata_key::kEpoch}) {
    if (key == known) {
      return true;
    }
  }
  return false;
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

LoadPlan match_tensors(const TensorFile& file, std::span<const ExpectedTensor> expected, LoadPolicy policy) {
  std::set<std::string_view> wanted;
  for (const ExpectedTensor& e : expected) {
    wanted.insert(e.name);
  }
  LoadPlan plan;
  const Stored stored = collect(file, wanted, plan);
  plan.new_classifier = policy == LoadPolicy::kAllowNewClassifier && wants_new_classifier(expected, stored);
  if (plan.new_classifier) {
    plan.notes.push_back(new_classifier_note(expected, stored));
  }
  Difference difference;
  for (const ExpectedTensor& e : expected) {
    const TensorInfo* tensor = lookup(stored, e.name);
    if (plan.new_classifier && is_classifier(e.name)) {
      tensor = nullptr;
    } else if (tensor == nullptr && !is_counter(e.name)) {
      difference.missing.push_back(fmt::format("{} {}", e.name, describe(e.shape)));
    } else if (tensor != nullptr) {
      const std::string line = misfit(e, *tensor);
      if (!line.empty()) {
        difference.different.push_back(line);
      }
    }
    plan.tensors.push_back(tensor);
  }
  for (const TensorInfo& tensor : file.tensors()) {
    const std::string name = wanted.contains(tensor.name) ? tensor.name : canonical_name(tensor.name);
    if (!is_own(tensor.name) && !wanted.contains(name) && !is_counter(name)) {
      difference.unexpected.push_back(fmt::format("{} {}", tensor.name, describe(tensor.shape)));
    }
  }
  if (!difference.none()) {
    fail_with(difference, file, expected.size());
  }
  return plan;
}

void check_finite(const TensorFile& file) {
  for (const TensorInfo& tensor : file.tensors()) {
    if (!is_float(tensor.type) || tensor.name.starts_with(kProgressPrefix)) {  // the best loss of none is infinite
      continue;
    }
    for (const double value : tensor.to_float64()) {
      check(std::isfinite(value), "{}: '{}' holds {}; weights, statistics and an optimiser's state must be finite",
            file.source(), tensor.name, value);
    }
  }
}

bool has_checkpoint_meta(const TensorFile& file) {
  return file.metadata().contains(metadata_key::kVersion);
}

std::map<std::string, std::string> CheckpointMeta::to_metadata() const {
  check_meta(*this, "checkpoint");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : extra) {
    check(!is_meta_key(key), "checkpoint: the extra metadata '{}' is a key of the checkpoint's own", key);
    metadata[key] = value;
  }
  metadata[metadata_key::kVersion] = std::to_string(kCheckpointVersion);
  metadata[metadata_key::kArch] = arch;
  metadata[metadata_key::kLabels] = dump(json(labels), "labels");
  metadata[metadata_key::kPreprocessing] = dump(preprocessing_json(preprocessing), "preprocessing settings");
  metadata[metadata_key::kStep] = std::to_string(step);
  metadata[metadata_key::kEpoch] = std::to_string(epoch);
  return metadata;
}

CheckpointMeta CheckpointMeta::from(const TensorFile& file) {
  check(has_checkpoint_meta(file), "{}: has no densetree metadata: plain weights, not a checkpoint of this program",
        file.source());
  const std::int64_t version = whole_number(file, metadata_key::kVersion);
  check(version <= kCheckpointVersion,
        "{}: checkpoint version {} was written by a newer densetree; this one reads up to {}", file.source(), version,
        kCheckpointVersion);
  check(version >= 1, "{}: checkpoint version {} does not exist; the first is 1", file.source(), version);
  CheckpointMeta meta;
  meta.arch = value_of(file, metadata_key::kArch);
  meta.labels = parse_labels(file);
  meta.preprocessing = parse_preprocessing(file);
  meta.step = whole_number(file, metadata_key::kStep);
  meta.epoch = whole_number(file, metadata_key::kEpoch);
  for (const auto& [key, value] : file.metadata()) {
    if (!is_meta_key(key)) {
      meta.extra[key] = value;
    }
  }
  check_meta(meta, file.source());
  return meta;
}

}  // namespace densetree
