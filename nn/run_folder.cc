#include "nn/run_folder.h"

#include <algorithm>

#include "kernels/core/error.h"

namespace densetree::nn {
namespace {

namespace fs = std::filesystem;

constexpr const char *kLock = ".densetree-lock", *kTree = "tree.toml", *kData = "data.csv", *kConfig = "config.toml",
                     *kImplementations = "implementations.txt", *kMetrics = "metrics.csv",
                     *kLast = "checkpoint-last.safetensors", *kBest = "checkpoint-best.safetensors";

constexpr std::ptrdiff_t kTrained = 3;  // of run_files(): what training made

bool to_resume(Begin begin) {
  return begin == Begin::kResume || begin == Begin::kResumeOtherData;
}

fs::path lock_of(const fs::path& run) {
  return run / kLock;
}

// Whether there is something of a run that training made: then nothing is begun over it.
bool has_begun(const fs::path& run) {
  const std::vector<fs::path> files = run_files(run);
  return std::any_of(files.begin(), files.begin() + kTrained, [](const fs::path& file) { return fs::exists(file); });
}

void check_not_begun(const fs::path& run, Begin begin) {
  check(begin != Begin::kNew || !has_begun(run),
        "{} holds a run already; continue it with --resume, name another folder with --out, or insist with --replace",
        run.string());
}

// The folder, where it may be written to.
const fs::path& checked(const fs::path& run, Begin begin) {
  check(!run.empty(), "the run's folder has no name; give --out");
  if (to_resume(begin)) {
    check(fs::exists(run / kConfig), "{} is not a run to resume: it has no config.toml", run.string());
  }
  const bool is_run = fs::exists(lock_of(run)) || fs::exists(run_files(run).front());
  if (is_run) {
    check_not_begun(run, begin);
  } else if (begin == Begin::kNew) {
    for (const fs::path& file : run_files(run)) {
      check(!fs::exists(file),
            "{}: is there already and of no run; name another folder with --out, or insist with --replace",
            file.string());
    }
  }
  return run;
}

// Whether the folder had to be made.
bool make(const fs::path& run) {
  const bool is_new = !fs::exists(run);
  make_folder(run);
  return is_new;
}

}  // namespace

RunFolder::RunFolder(const fs::path& path, Begin begin)
    : path_(checked(path, begin)),
      is_new_(make(path)),
      folder_(path),
      lock_(folder_, kLock, fmt::format("another training is at work in {}", path.string())),
      resumes_(to_resume(begin) && has_begun(path)) {
  check_not_begun(path, begin);  // by another process, before the lock was ours
  check(!resumes_ || fs::exists(last()), "{} is missing: the run cannot go on; begin a new one, perhaps with --init {}",
        last().string(), best().string());
}

void RunFolder::check_lock() const {
  check(lock_.holds(), "{} was moved away or replaced while it was trained; nothing more is written there",
        path_.string());
}

AtomicFile RunFolder::open(const fs::path& file) const {
  check_lock();
  return AtomicFile(folder_, file.filename().string());
}

void RunFolder::write(const fs::path& path, std::string_view text) const {
  AtomicFile file = open(path);
  file.write(text);
  file.commit();
}

void RunFolder::clear() {
  check_lock();
  for (const fs::path& file : run_files(path_)) {
    folder_.remove(file.filename().string());
  }
}

fs::path RunFolder::config() const {
  return path_ / kConfig;
}
fs::path RunFolder::implementations() const {
  return path_ / kImplementations;
}
fs::path RunFolder::metrics() const {
  return path_ / kMetrics;
}
fs::path RunFolder::last() const {
  return path_ / kLast;
}
fs::path RunFolder::best() const {
  return path_ / kBest;
}

RunFolder::~RunFolder() {
  if (!lock_.holds()) {
    return;  // what lies there by now is another's
  }
  const std::vector<fs::path> files = run_files(path_);
  std::error_code ignored;
  if (std::none_of(files.begin(), files.end(), [&](const fs::path& file) { return fs::exists(file, ignored); })) {
    fs::remove(lock_of(path_), ignored);
    if (is_new_) {
      fs::remove(path_, ignored);
    }
  }
}

fs::path run_tree(const fs::path& run) {
  return run / kTree;
}

fs::path run_data(const fs::path& run) {
  return run / kData;
}

std::vector<fs::path> run_files(const fs::path& run) {
  return {run / kLast, run / kBest, run / kMetrics, run / kImplementations, run / kConfig, run / kData, run / kTree};
}

fs::path trained_weights(const fs::path& run) {
  for (const char* name : {kBest, kLast}) {
    if (fs::exists(run / name)) {
      return run / name;
    }
  }
  fail("{} is not a run: it holds no checkpoint; `densetree train --out {}` makes one", run.string(), run.string());
}

}  // namespace densetree::nn
