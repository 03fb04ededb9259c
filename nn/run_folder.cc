#include "nn/run_folder.h"

#include <algorithm>

#include "kernels/core/error.h"

namespace densetree::nn {
namespace {

namespace fs = std::filesystem;

bool to_resume(Begin begin) {
  return begin == Begin::kResume || begin == Begin::kResumeOtherData;
}

fs::path lock_of(const fs::path& run) {
  return run / ".densetree-lock";
}

bool has_begun(const fs::path& run) {
  return fs::exists(run_files(run).front());
}

// The folder, made where it may be written to.
fs::path made(const fs::path& run, Begin begin) {
  if (to_resume(begin)) {
    check(fs::exists(run / "config.toml"), "{} is not a run to resume: it has no config.toml", run.string());
  }
  if (begin == Begin::kNew) {
    check(!has_begun(run),
          "{} holds a run already; continue it with --resume, name another folder with --out, or insist with --replace",
          run.string());
    for (const fs::path& file : run_files(run)) {
      check(!fs::exists(file) || fs::exists(lock_of(run)),
            "{}: is there already and of no run; name another folder with --out, or insist with --replace",
            file.string());
    }
  }
  make_folder(run);
  return run;
}

}  // namespace

RunFolder::RunFolder(fs::path path, Begin begin)
    : path_(made(path, begin)),
      lock_(lock_of(path), fmt::format("another training is at work in {}", path.string())),
      resumes_(to_resume(begin) && has_begun(path)) {}

void RunFolder::clear() {
  for (const fs::path& file : run_files(path_)) {
    fs::remove(file);
  }
}

RunFolder::~RunFolder() {
  const std::vector<fs::path> files = run_files(path_);
  std::error_code ignored;
  if (std::none_of(files.begin(), files.end(), [&](const fs::path& file) { return fs::exists(file, ignored); })) {
    fs::remove(lock_of(path_), ignored);
    fs::remove(path_, ignored);  // where it is empty
  }
}

fs::path run_tree(const fs::path& run) {
  return run / "tree.toml";
}

fs::path run_data(const fs::path& run) {
  return run / "data.csv";
}

// The one that makes a run a run comes first.
std::vector<fs::path> run_files(const fs::path& run) {
  std::vector<fs::path> files;
  for (const char* name : {"checkpoint-last.safetensors", "checkpoint-best.safetensors", "metrics.csv",
                           "implementations.txt", "config.toml"}) {
    files.push_back(run / name);
  }
  files.push_back(run_data(run));
  files.push_back(run_tree(run));
  return files;
}

fs::path trained_weights(const fs::path& run) {
  for (const char* name : {"checkpoint-best.safetensors", "checkpoint-last.safetensors"}) {
    if (fs::exists(run / name)) {
      return run / name;
    }
  }
  fail("{} is not a run: it holds no checkpoint; `densetree train --out {}` makes one", run.string(), run.string());
}

}  // namespace densetree::nn
