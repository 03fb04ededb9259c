// The folder of a training run: what lies in it, who may write there, and how far its beginning has got.
//
// RUN/.densetree-lock               held by the training that writes here; it marks the folder as a run's
// RUN/tree.toml                     the label tree that the labels came from, where one was given
// RUN/data.csv                      the index of the images it was trained on (data_index.h)
// RUN/config.toml                   every setting of the training
// RUN/implementations.txt           what computes the convolutions
// RUN/checkpoint-last.safetensors   weights, Adam's state and progress
// RUN/checkpoint-best.safetensors   weights of the epoch with the lowest validation loss
// RUN/metrics.csv                   one row per epoch
//
// They are written in this order. A run has begun when its first checkpoint is there: what a beginning left that was
// cut off before is written anew.
#pragma once

#include <filesystem>
#include <vector>

#include "engine/io/file.h"

namespace densetree::nn {

enum class Begin : std::uint8_t {
  kNew,              // the folder must hold no run that has begun, nor other files of these names
  kReplace,          // whatever is there goes
  kResume,           // a run must be there, of these settings and data
  kResumeOtherData,  // of these settings
};

// Of a run that may be another's: its label tree and the index of what it was trained on, where they are there.
std::filesystem::path run_tree(const std::filesystem::path& run);
std::filesystem::path run_data(const std::filesystem::path& run);

class RunFolder {
 public:
  // Makes the folder and takes its lock, which the system gives back however the process ends. Throws Error where
  // another training has it, and as Begin says.
  RunFolder(const std::filesystem::path& path, Begin begin);
  ~RunFolder();  // a folder into which nothing was written is not left behind
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  // A file of the run, to be written. Whatever happens, it is made in the folder that is locked. Throws Error where
  // that has another name by now: it was moved away, say.
  AtomicFile open(const std::filesystem::path& file) const;
  void write(const std::filesystem::path& file, std::string_view text) const;
  // Removes all of a run but the lock: what is there is replaced from here on. Throws Error as open() does.
  void clear();

  const std::filesystem::path& path() const { return path_; }
  bool resumes() const { return resumes_; }  // there is a checkpoint to go on from
  std::filesystem::path tree() const { return run_tree(path_); }
  std::filesystem::path data() const { return run_data(path_); }
  std::filesystem::path config() const;
  std::filesystem::path implementations() const;
  std::filesystem::path metrics() const;
  std::filesystem::path last() const;
  std::filesystem::path best() const;

 private:
  void check_lock() const;

  std::filesystem::path path_;
  bool is_new_ = false;  // the folder was made here
  Folder folder_;
  FileLock lock_;
  bool resumes_ = false;
};

// All of them but for the lock, what training made first: checkpoints and metrics.
std::vector<std::filesystem::path> run_files(const std::filesystem::path& run);

// The weights that a run offers for use: the best epoch's, or the last state where no epoch is complete.
std::filesystem::path trained_weights(const std::filesystem::path& run);

}  // namespace densetree::nn
