// config.toml of a run: every setting of its training, as `densetree --config` reads them.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "nn/train_options.h"

namespace densetree::nn {

// `data` is the folder of the data set, `tree` the file of the label tree, named where there is one.
std::string run_config(const TrainOptions& options, const std::string& data, const std::filesystem::path& tree);

// Sets the wanted settings that the file has, the seed among them. Throws Error naming file and line: no TOML,
// something that is no setting of a run, a wanted value that cannot be. Returns the settings that may not change and
// that the file lacks, as one of an earlier version does: these keep their value.
std::vector<std::string> read_run_config(TrainOptions& options, const std::filesystem::path& file,
                                         const std::function<bool(const Setting&)>& wanted);

// Throws Error where a setting that a resumed run must share with its beginning differs from the file, or is not the
// default where the file lacks it. Returns what it lacks.
std::vector<std::string> check_same_settings(const TrainOptions& options, const std::filesystem::path& file);

}  // namespace densetree::nn
