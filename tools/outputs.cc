#include "tools/outputs.h"

#include <sys/stat.h>

#include "data/prepare.h"
#include "kernels/core/error.h"
#include "nn/run_folder.h"

namespace densetree::tools {

namespace fs = std::filesystem;

void add_replace_flag(CLI::App& command, bool& replace) {
  command.add_flag("--replace", replace, "files that are there already, whatever they hold");
}

Outputs::Outputs(const Common& common, bool replace) : replace_(replace) {
  read(common.config_file());
}

void Outputs::read(const fs::path& file) {
  struct stat status {};
  if (!file.empty() && ::stat(file.c_str(), &status) == 0) {
    inputs_.emplace(std::pair(status.st_dev, status.st_ino), file);
  }
}

void Outputs::read_run(const fs::path& run) {
  if (!run.empty()) {
    for (const fs::path& file : nn::run_files(run)) {
      read(file);
    }
  }
}

void Outputs::read_data(const fs::path& data) {
  if (!data.empty()) {
    for (const fs::path& file : data::data_files(data)) {
      read(file);
    }
  }
}

void Outputs::write(const fs::path& file, const std::function<bool(const fs::path&)>& made_here) const {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) {
    return;
  }
  check(S_ISREG(status.st_mode), "cannot write {}: something that is no regular file has that name", file.string());
  const auto input = inputs_.find({status.st_dev, status.st_ino});
  if (input != inputs_.end()) {
    fail("{} would be written over {}, which this command reads; name another", file.string(), input->second.string());
  }
  bool ours = replace_;
  try {
    ours = ours || made_here(file);
  } catch (const Error&) {  // it cannot be read as what it would have to be
  }
  check(ours, "{}: is there already and is not what this command writes; name another, or insist with --replace",
        file.string());
}

}  // namespace densetree::tools
