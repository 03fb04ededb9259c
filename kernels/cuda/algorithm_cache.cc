#include "kernels/cuda/algorithm_cache.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

#include "kernels/core/error.h"

namespace densetree::cuda {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFirstLine = "densetree algorithms 1\n";

bool is_line(std::string_view text) {
  return !text.empty() && std::none_of(text.begin(), text.end(), [](char c) { return c >= 0 && c < ' '; });
}

// A name that no other thread or process writes to.
fs::path aside(const fs::path& file) {
  const std::size_t thread = std::hash<std::thread::id>{}(std::this_thread::get_id());
  return file.parent_path() / fmt::format(".{}.{}.{:x}", file.filename().string(), ::getpid(), thread);
}

}  // namespace

std::string algorithm_key(const AlgorithmHost& host, const ConvolutionShape& shape, const std::string& pass) {
  return fmt::format("{} {}.{}; {}; {} padding {}; {}; {}", host.gpu, host.major, host.minor, host.library, shape,
                     shape.padding, pass, name_of(shape.precision));
}

AlgorithmCache::AlgorithmCache(fs::path file) : file_(std::move(file)), choices_(read()) {}

fs::path AlgorithmCache::file_for(const char* densetree_cache, const char* xdg_cache_home, const char* home) {
  const auto is_set = [](const char* variable) { return variable != nullptr && *variable != '\0'; };
  fs::path folder;
  if (densetree_cache != nullptr) {
    folder = densetree_cache;
  } else if (is_set(xdg_cache_home)) {
    folder = fs::path(xdg_cache_home) / "densetree";
  } else if (is_set(home)) {
    folder = fs::path(home) / ".cache" / "densetree";
  }
  return folder.empty() ? fs::path() : folder / "algorithms.txt";
}

std::optional<std::string> AlgorithmCache::find(const std::string& key) const {
  const auto found = choices_.find(key);
  return found == choices_.end() ? std::nullopt : std::optional(found->second);
}

void AlgorithmCache::store(const std::string& key, const std::string& algorithm) {
  check(is_line(key) && is_line(algorithm), "algorithm cache: '{}' or '{}' is empty or has control characters", key,
        algorithm);
  choices_[key] = algorithm;
  choices_.merge(read());  // keeps ours where both have a choice
  write();
}

// Every line must be sound; else the file is damaged or somebody else's.
AlgorithmCache::Choices AlgorithmCache::read() const {
  std::ostringstream content;
  content << std::ifstream(file_, std::ios::binary).rdbuf();
  const std::string text = content.str();
  if (!text.starts_with(kFirstLine)) {
    return {};
  }
  Choices choices;
  for (std::size_t begin = kFirstLine.size(), end = 0; begin < text.size(); begin = end + 1) {
    end = text.find('\n', begin);
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    const std::size_t tab = line.find('\t');
    if (end == std::string::npos || tab == std::string::npos || !is_line(line.substr(0, tab)) ||
        !is_line(line.substr(tab + 1))) {
      return {};
    }
    choices[std::string(line.substr(0, tab))] = line.substr(tab + 1);
  }
  return choices;
}

void AlgorithmCache::write() const noexcept {
  if (file_.empty()) {
    return;
  }
  std::error_code ignored;
  try {
    const fs::path next = aside(file_);
    fs::create_directories(file_.parent_path(), ignored);
    std::ofstream stream(next, std::ios::binary | std::ios::trunc);
    stream << kFirstLine;
    for (const auto& [key, algorithm] : choices_) {
      stream << key << '\t' << algorithm << '\n';
    }
    stream.close();
    if (stream) {
      fs::rename(next, file_, ignored);
    }
    fs::remove(next, ignored);  // still there only where it could not be renamed
  } catch (const std::exception&) {
    return;  // out of memory, or a path that is none: nothing is remembered
  }
}

std::size_t choose_algorithm(AlgorithmCache& cache, const std::string& key, std::span<const std::string> algorithms,
                             const std::function<double(std::size_t)>& seconds) {
  check(!algorithms.empty(), "{}: there is no algorithm to choose", key);
  if (algorithms.size() == 1) {
    return 0;
  }
  const auto known = std::find(algorithms.begin(), algorithms.end(), cache.find(key).value_or(""));
  if (known != algorithms.end()) {
    return static_cast<std::size_t>(known - algorithms.begin());
  }
  std::size_t best = 0;
  double least = seconds(0);
  for (std::size_t i = 1; i < algorithms.size(); ++i) {
    const double taken = seconds(i);
    if (taken < least) {
      best = i, least = taken;
    }
  }
  cache.store(key, algorithms[best]);
  return best;
}

}  // namespace densetree::cuda
