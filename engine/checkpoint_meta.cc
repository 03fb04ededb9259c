#include "engine/checkpoint_meta.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/core/error.h"

namespace densetree {

namespace {

using nlohmann::json;

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
