#include "kernels/cuda/architectures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <vector>

namespace densetree::cuda {
namespace {

struct Code {
  int major = 0, minor = 0;
  bool machine = false, ptx = false;
};

// "90-real", "75-virtual", or "86" for both; letters after the number ("90a") fit that GPU alone and count as machine
// code.
std::vector<Code> parse(const std::string& built) {
  std::vector<Code> all;
  for (std::size_t at = built.find_first_of("0123456789"); at != std::string::npos;) {
    const std::size_t end = std::min(built.find_first_of(",;", at), built.size());
    const std::string entry = built.substr(at, end - at);
    const int number = std::atoi(entry.c_str());
    all.push_back({number / 10, number % 10, entry.find("-virtual") == std::string::npos,
                   entry.find("-real") == std::string::npos});
    at = built.find_first_of("0123456789", end);
  }
  return all;
}

}  // namespace

std::string code_note(const std::string& built, int major, int minor) {
  const Code* ptx = nullptr;
  const std::vector<Code> all = parse(built);
  for (const Code& code : all) {
    if (code.machine && code.major == major && code.minor <= minor) {
      return "";
    }
    const bool runs = code.ptx && std::pair(code.major, code.minor) <= std::pair(major, minor);
    if (runs && (!ptx || std::pair(ptx->major, ptx->minor) < std::pair(code.major, code.minor))) {
      ptx = &code;
    }
  }
  return ptx ? fmt::format(
                   "no machine code for {}.{} in this build ({}): its driver compiles PTX for {}.{} at the first "
                   "start, which -DDENSETREE_CUDA_ARCHITECTURES={}{}-real saves",
                   major, minor, built, ptx->major, ptx->minor, major, minor)
             : fmt::format(
                   "this build has no code for compute capability {}.{} ({}); configure with "
                   "-DDENSETREE_CUDA_ARCHITECTURES={}{}-real",
                   major, minor, built, major, minor);
}

std::string precision_note(int major, int minor) {
  return major >= 8
             ? ""
             : fmt::format("fp32 alone: tf32 and bf16 need compute capability 8.0 or later, not {}.{}", major, minor);
}

}  // namespace densetree::cuda
