#include "nn/run_folder.h"

#include "kernels/core/error.h"

namespace densetree::nn {
namespace {

namespace fs = std::filesystem;

bool to_resume(Begin begin) {
  return begin == Begin::kResume || begin == Begin::kResumeOtherData;
}

}  // namespace

// The folder, made where it may be written to.
fs::path RunFolder::prepared(fs::path path, Begin begin) {
  RunFolder run(std::move(path));
  check(!to_resume(begin) || fs::exists(run.config()), "{} is not a run to resume: it has no config.toml",
        run.path().string());
  if (begin == Begin::kNew) {
    check(!fs::exists(run.last()),
          "{} holds a run already; continue it with --resume, name another folder with --out, or insist with --replace",
          run.path().string());
    for (const fs::path& file : run_files(run.path())) {
      check(!fs::exists(file) || fs::exists(run.lock_file()),
            "{}: is there already and of no run; name another folder with --out, or insist with --replace",
            file.string());
    }
  }
  make_folder(run.path());
  return run.path_;
}

RunFolder::RunFolder(fs::path path, Begin begin)
    : path_(prepared(std::move(path), begin)),
      lock_(std::in_place, lock_file(), fmt::format("another training is at work in {}", path_.string())) {
  resumes_ = to_resume(begin) && fs::exists(last());
  if (!to_resume(begin)) {
    for (const fs::path& file : run_files(path_)) {
      fs::remove(file);
    }
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
