// A calibration as a JSON file, and back. Numbers come back as the same bits.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/io/file.h"
#include "engine/io/json.h"
#include "kernels/core/error.h"
#include "tree/calibration.h"

namespace densetree::tree {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "densetree calibration";
constexpr int kVersion = 1;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// ---- Writing
Json settings_json(const CalibrationSettings& settings) {
  Json json;
  CalibrationSettings::settings(settings, [&]<class T>(const T& value, const Setting& setting) {
    if constexpr (Named<T>) {
      json[setting.name] = name_of(value);
    } else {
      json[setting.name] = value;
    }
  });
  json["node_priors"] = Json(settings.node_priors);
  return json;
}

template <class T>
Json slice(const std::vector<T>& values, std::size_t begin, std::size_t count) {
  const auto from = values.begin() + static_cast<std::ptrdiff_t>(begin);
  return Json(std::vector<T>(from, from + static_cast<std::ptrdiff_t>(count)));
}

Json node_json(const Histograms& h, std::size_t v) {
  const auto bins = static_cast<std::size_t>(h.bins);
  Json json;
  if (h.binning == Binning::kQuantile) {
    const auto begin = h.edges.begin() + static_cast<std::ptrdiff_t>(v * (bins - 1));
    const auto end = std::find(begin, begin + static_cast<std::ptrdiff_t>(bins - 1), kInfinity);
    json["edges"] = std::vector<double>(begin, end);
  }
  const std::size_t in_use = h.binning == Binning::kQuantile ? json["edges"].size() + 1 : bins;
  json["positives"] = slice(h.counts, v * 2 * bins, in_use);
  json["negatives"] = slice(h.counts, (v * 2 + 1) * bins, in_use);
  json["posterior"] = slice(h.posteriors, v * bins, in_use);
  return json;
}

// A threshold that always reports has no number in JSON.
Json threshold_json(const std::optional<double>& threshold) {
  return !threshold ? Json(nullptr) : *threshold == -kInfinity ? Json("always") : Json(*threshold);
}

Json choice_json(const ThresholdChoice& choice, const LabelTree& tree) {
  Json json = {{"request", to_text(choice.request)}, {"guarantee", guarantee_text(choice)}, {"images", choice.images}};
  for (std::size_t v = 0; v < choice.nodes.size(); ++v) {
    const NodeThreshold& node = choice.nodes[v];
    json["nodes"][tree.nodes()[v].name] = {{"threshold", threshold_json(node.threshold)},
                                           {"images", node.images},
                                           {"reported", node.reported},
                                           {"wrong", node.wrong},
                                           {"p_value", node.p_value}};
  }
  return json;
}

template <class T>
constexpr const char* kKind = std::same_as<T, bool>    ? "true or false"
                              : std::integral<T>       ? "a whole number"
                              : std::floating_point<T> ? "a number"
                                                       : "a text";

// ---- Reading: every entry is asked for by name, and an Error says what is missing or of the wrong kind.
class Reader {
 public:
  Reader(const Json& json, std::string where) : json_(&json), where_(std::move(where)) {
    check(json.is_object(), "{} must be an object", where_);
  }

  bool has(const char* name) const { return json_->contains(name) && !(*json_)[name].is_null(); }
  const Json& at(const std::string& name) const {
    check(json_->contains(name), "{} lacks '{}'", where_, name);
    return (*json_)[name];
  }
  Reader object(const std::string& name) const { return {at(name), fmt::format("{}: '{}'", where_, name)}; }

  template <class T>
  T get(const std::string& name, const char* kind = kKind<T>) const {
    try {
      const T value = at(name).get<T>();
      check(Json(value) == at(name), "{}: '{}' must be {}", where_, name, kind);  // get() also converts
      return value;
    } catch (const Json::exception&) {
      fail("{}: '{}' must be {}", where_, name, kind);
    }
  }
  template <class E>
  E named(const char* name) const {
    return parse_name<E>(get<std::string>(name), where_);
  }
  void only(const std::vector<const char*>& names) const {
    for (const auto& [name, value] : json_->items()) {
      check(std::any_of(names.begin(), names.end(), [&key = name](const char* known) { return key == known; }),
            "{} has the unknown entry '{}'", where_, name);
    }
  }
  const std::string& where() const { return where_; }

 private:
  const Json* json_;
  std::string where_;
};

CalibrationSettings read_settings(const Reader& json) {
  CalibrationSettings settings;
  std::vector<const char*> known{"node_priors"};
  CalibrationSettings::settings(settings, [&](const auto&, const Setting& s) { known.push_back(s.name); });
  json.only(known);
  CalibrationSettings::settings(settings, [&]<class T>(T& value, const Setting& setting) {
    if constexpr (Named<T>) {
      value = json.named<T>(setting.name);
    } else {
      value = json.get<T>(setting.name);
      check_within(static_cast<double>(value), setting.limits, fmt::format("{}: {}", json.where(), setting.name));
    }
  });
  settings.node_priors = json.get<std::map<std::string, double>>("node_priors", "numbers by node");
  return settings;
}

std::vector<std::uint32_t> read_counts(const Reader& json, const char* name, std::size_t bins) {
  const auto counts = json.get<std::vector<std::uint32_t>>(name, "a list of counts");
  check(counts.size() == bins, "{}: '{}' holds {} counts for {} bins", json.where(), name, counts.size(), bins);
  return counts;
}

// Puts the lists of one node where they belong.
void read_node(const Reader& json, std::size_t v, Histograms& h) {
  const auto bins = static_cast<std::size_t>(h.bins);
  std::size_t in_use = bins;
  if (h.binning == Binning::kQuantile) {
    const auto edges = json.get<std::vector<double>>("edges", "a list of numbers");
    const bool ascending = std::is_sorted(edges.begin(), edges.end(), std::less_equal<>());
    check(ascending && edges.size() < bins && (edges.empty() || (edges.front() >= 0 && edges.back() <= 1)),
          "{}: 'edges' must rise from 0 to 1, fewer than the {} bins", json.where(), bins);
    std::copy(edges.begin(), edges.end(), h.edges.begin() + static_cast<std::ptrdiff_t>(v * (bins - 1)));
    in_use = edges.size() + 1;
  }
  const std::vector<std::uint32_t> positives = read_counts(json, "positives", in_use),
                                   negatives = read_counts(json, "negatives", in_use);
  std::copy(positives.begin(), positives.end(), h.counts.begin() + static_cast<std::ptrdiff_t>(v * 2 * bins));
  std::copy(negatives.begin(), negatives.end(), h.counts.begin() + static_cast<std::ptrdiff_t>((v * 2 + 1) * bins));
  const auto posterior = json.get<std::vector<double>>("posterior", "a list of numbers");
  const bool probable = std::all_of(posterior.begin(), posterior.end(), [](double p) { return p >= 0 && p <= 1; });
  check(posterior.size() == in_use && probable, "{}: 'posterior' must be {} numbers from 0 to 1", json.where(), in_use);
  for (std::size_t b = 0; b < bins; ++b) {
    h.posteriors[v * bins + b] = posterior[std::min(b, in_use - 1)];  // as posterior_of_node() leaves them
  }
}

ThresholdChoice read_choice(const Reader& json, const LabelTree& tree) {
  json.only({"request", "guarantee", "images", "nodes"});
  ThresholdChoice choice;
  choice.request = parse_threshold_request(json.get<std::string>("request"));
  choice.images = json.get<std::int64_t>("images");
  const Reader nodes = json.object("nodes");
  for (const Node& node : tree.nodes()) {
    const Reader entry = nodes.object(node.name);
    entry.only({"threshold", "images", "reported", "wrong", "p_value"});
    NodeThreshold threshold;
    if (entry.has("threshold")) {
      const bool always = entry.at("threshold") == "always";
      threshold.threshold = always ? -kInfinity : entry.get<double>("threshold", "a number, \"always\" or null");
    }
    threshold.images = entry.get<std::int64_t>("images");
    threshold.reported = entry.get<std::int64_t>("reported");
    threshold.wrong = entry.get<std::int64_t>("wrong");
    threshold.p_value = entry.get<double>("p_value");
    choice.nodes.push_back(threshold);
  }
  return choice;
}

Json parse(const std::string& text, const std::string& source) {
  try {
    return Json::parse(text);
  } catch (const Json::exception& e) {
    fail("{}: is no JSON: {}", source, e.what());
  }
}

}  // namespace

std::string calibration_json(const Calibration& calibration) {
  Json root;
  root["format"] = kFormat;
  root["version"] = kVersion;
  root["tree"] = calibration.tree.to_toml();
  root["settings"] = settings_json(calibration.settings);
  root["fitted_on"] = {
      {"source", calibration.source}, {"images", calibration.images}, {"patients", calibration.patients}};
  for (std::size_t v = 0; v < calibration.tree.nodes().size(); ++v) {
    root["nodes"][calibration.tree.nodes()[v].name] = node_json(calibration.histograms, v);
  }
  root["thresholds"] = calibration.choice ? choice_json(*calibration.choice, calibration.tree) : Json(nullptr);
  return json_text(root, 1) + "\n";
}

Calibration read_calibration(const std::filesystem::path& path) {
  const std::string source = path.string();
  const Json root = parse(read_file(path), source);
  const Reader json(root, source);
  check(root.contains("format") && root["format"] == kFormat, "{}: is no calibration; `densetree calibrate` makes one",
        source);
  check(json.at("version") == kVersion, "{}: is of version {}; this program reads version {}", source,
        json.at("version").dump(), kVersion);
  json.only({"format", "version", "tree", "settings", "fitted_on", "nodes", "thresholds"});
  Calibration calibration;
  calibration.tree = LabelTree::parse(json.get<std::string>("tree"), source + ", its tree");
  calibration.settings = read_settings(json.object("settings"));
  const Reader fitted_on = json.object("fitted_on");
  calibration.source = fitted_on.get<std::string>("source");
  calibration.images = fitted_on.get<std::int64_t>("images");
  calibration.patients = fitted_on.get<std::int64_t>("patients");
  const auto nodes = static_cast<std::size_t>(calibration.tree.size());
  const auto bins = static_cast<std::size_t>(calibration.settings.bins);
  Histograms& h = calibration.histograms;
  h = {calibration.settings.binning,
       calibration.settings.bins,
       {},
       std::vector<std::uint32_t>(nodes * 2 * bins),
       std::vector<double>(nodes * bins)};
  h.edges.assign(h.binning == Binning::kQuantile ? nodes * (bins - 1) : 0, kInfinity);
  for (std::size_t v = 0; v < nodes; ++v) {
    read_node(json.object("nodes").object(calibration.tree.nodes()[v].name), v, h);
  }
  if (json.has("thresholds")) {
    calibration.choice = read_choice(json.object("thresholds"), calibration.tree);
  }
  return calibration;
}

}  // namespace densetree::tree
