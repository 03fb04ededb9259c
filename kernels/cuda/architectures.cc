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
  bool this_alone = false;  // "90a": for no other version

  bool machine_code_for(int gpu_major, int gpu_minor) const {
    return machine && major == gpu_major && (this_alone ? minor == gpu_minor : minor <= gpu_minor);
  }
  bool ptx_for(int gpu_major, int gpu_minor) const {
    const std::pair own(major, minor), gpu(gpu_major, gpu_minor);
    return ptx && (this_alone ? own == gpu : own <= gpu);
  }
};

// "90-real", "75-virtual", "86" for both; without a number, as "all" and "native", nothing.
std::vector<Code> parse(const std::string& built) {
  std::vector<Code> all;
  for (std::size_t at = built.find_first_of("0123456789"); at != std::string::npos;) {
    const std::size_t end = std::min(built.find_first_of(",;", at), built.size());
    const std::string entry = built.substr(at, end - at);
    const int number = std::atoi(entry.c_str());
    const std::size_t behind = entry.find_first_not_of("0123456789");
    all.push_back({number / 10, number % 10, entry.find("-virtual") == std::string::npos,
                   entry.find("-real") == std::string::npos,
                   behind != std::string::npos && std::isalpha(static_cast<unsigned char>(entry[behind])) != 0});
    at = built.find_first_of("0123456789", end);
  }
  return all;
}

}  // namespace

std::string code_note(const std::string& built, int major, int minor) {
  const Code* ptx = nullptr;
  const std::vector<Code> all = parse(built);
  if (all.empty()) {
    return "";
  }
  for (const Code& code : all) {
    if (code.machine_code_for(major, minor)) {
      return "";
    }
    if (code.ptx_for(major, minor) && (!ptx || std::pair(ptx->major, ptx->minor) < std::pair(code.major, code.minor))) {
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
