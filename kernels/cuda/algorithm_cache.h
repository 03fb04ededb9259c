// Which algorithm was fastest, remembered between runs in a small text file: a first line that says what the file is,
// then one line for each choice, the key, a tab, and the name of the algorithm.
//
// The file is a convenience and never an error: one that cannot be read or that somebody else wrote counts as empty and
// is replaced with the next choice, and where nothing can be written nothing is remembered. Several processes may use
// it at once; each writes a new file and renames it into place.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "kernels/device.h"

namespace densetree::cuda {

// The GPU and library that a choice holds for: "NVIDIA H200", 9, 0, "cuDNN 91900".
struct AlgorithmHost {
  std::string gpu;
  int major = 0, minor = 0;  // compute capability
  std::string library;
};
std::string algorithm_key(const AlgorithmHost& host, const ConvolutionShape& shape, const std::string& pass);

class AlgorithmCache {
 public:
  explicit AlgorithmCache(std::filesystem::path file);  // empty: nothing is read or written

  // DENSETREE_CACHE, a folder, else densetree in XDG_CACHE_HOME, else in HOME's .cache, and there algorithms.txt.
  // Empty where DENSETREE_CACHE is set to nothing, or no variable is set. Null stands for a variable that is not set.
  static std::filesystem::path file_for(const char* densetree_cache, const char* xdg_cache_home, const char* home);

  std::optional<std::string> find(const std::string& key) const;
  // Neither holds a control character. Keeps what others have stored meanwhile.
  void store(const std::string& key, const std::string& algorithm);

 private:
  using Choices = std::map<std::string, std::string>;
  Choices read() const;
  void write() const noexcept;

  std::filesystem::path file_;
  Choices choices_;
};

// Which of `algorithms`, by their names, to take: the only one, the one the cache holds, else the one for which
// `seconds(index)` is least, which the cache then holds.
std::size_t choose_algorithm(AlgorithmCache& cache, const std::string& key, std::span<const std::string> algorithms,
                             const std::function<double(std::size_t)>& seconds);

}  // namespace densetree::cuda
