#include "nn/run_config.h"

#include <map>

#include "engine/io/nearest_name.h"
#include "engine/io/toml.h"
#include "kernels/core/error.h"

namespace densetree::nn {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSection = "train";  // the seed stands above it, as for all commands

// Values of the file that are looked up by name.
class ConfigFile {
 public:
  explicit ConfigFile(const fs::path& file) : source_(file.string()), root_(read_toml(file)) {
    for (const auto& [key, value] : root_) {
      if (key.str() == kSection && value.is_table()) {
        add(*value.as_table());
      } else if (key.str() == kSeedSetting.name) {
        values_[kSeedSetting.name] = &value;
      } else {
        fail("{}: '{}' is no setting of a run", place_of(value, source_), key.str());
      }
    }
    check(values_.contains(kSeedSetting.name), "{}: it has no seed", source_);
    for (const char* named_elsewhere : {"data", "tree"}) {
      values_.erase(named_elsewhere);
    }
  }

  // Sets the value where the file has the setting, which is then done with.
  template <class T>
  void take(T& value, const Setting& setting, bool set) {
    known_.emplace_back(setting.name);
    const auto found = values_.find(setting.name);
    if (found == values_.end()) {
      if (!setting.may_change) {
        missing_.emplace_back(setting.name);
      }
      return;
    }
    const toml::node& node = *found->second;
    if (set) {
      set_from_text(value, text_of(node, source_, setting.name), setting,
                    fmt::format("{}: {}", place_of(node, source_), setting.name));
    }
    values_.erase(found);
  }

  void check_all_taken() const {
    for (const auto& [name, value] : values_) {
      fail("{}: '{}' is no setting of a run{}", place_of(*value, source_), name, did_you_mean(name, known_));
    }
  }
  // Settings that may not change and that the file does not have.
  const std::vector<std::string>& missing() const { return missing_; }

 private:
  void add(const toml::table& section) {
    for (const auto& [key, value] : section) {
      values_[std::string(key.str())] = &value;
    }
  }

  std::string source_;
  toml::table root_;
  std::map<std::string, const toml::node*> values_;
  std::vector<std::string> known_, missing_;
};

std::map<std::string, std::string> fixed_settings(const TrainOptions& options) {
  std::map<std::string, std::string> fixed{{kSeedSetting.name, setting_text(options.seed)}};
  TrainOptions::settings(options, [&](const auto& value, const Setting& setting) {
    if (!setting.may_change) {
      fixed[setting.name] = setting_text(value);
    }
  });
  return fixed;
}

}  // namespace

std::string run_config(const TrainOptions& options, const std::string& data, const fs::path& tree) {
  std::string text = fmt::format("# Settings of this run; `densetree --config` reads them.\n{} = {}\n[{}]\n",
                                 kSeedSetting.name, options.seed, kSection);
  const auto add = [&](const char* name, const std::string& value) { text += fmt::format("{} = {}\n", name, value); };
  add("data", toml_string(data));
  if (!options.tree.empty()) {
    add("tree", toml_string(tree.string()));
  }
  TrainOptions::settings(options, [&]<class T>(const T& value, const Setting& setting) {
    const std::string written = setting_text(value);
    add(setting.name, std::is_arithmetic_v<T> ? written : toml_string(written));
  });
  std::string labels;
  for (const std::string& name : options.labels.names()) {
    labels += (labels.empty() ? "" : ", ") + toml_string(name);
  }
  return text + fmt::format("# labels = [{}]\n", labels);
}

std::vector<std::string> read_run_config(TrainOptions& options, const fs::path& file,
                                         const std::function<bool(const Setting&)>& wanted) {
  ConfigFile config(file);
  const auto take = [&](auto& value, const Setting& setting) { config.take(value, setting, wanted(setting)); };
  take(options.seed, kSeedSetting);
  TrainOptions::settings(options, take);
  config.check_all_taken();
  return config.missing();
}

std::vector<std::string> check_same_settings(const TrainOptions& options, const fs::path& file) {
  TrainOptions begun;
  const std::vector<std::string> missing =
      read_run_config(begun, file, [](const Setting& setting) { return !setting.may_change; });
  const auto was = fixed_settings(begun), is = fixed_settings(options);
  for (const auto& [name, value] : is) {
    check(was.at(name) == value,
          "{}: the run was begun with {} = {}, not {}; resume it with the same settings or begin a new run",
          file.string(), name, was.at(name), value);
  }
  return missing;
}

}  // namespace densetree::nn
