#include "tools/image_files.h"

#include <algorithm>
#include <cctype>

#include "kernels/core/error.h"

namespace densetree::tools {

namespace fs = std::filesystem;

std::vector<fs::path> find_images(const std::vector<std::string>& arguments) {
  std::vector<fs::path> found;
  for (const std::string& argument : arguments) {
    check(fs::exists(argument), "{} does not exist", argument);
    if (!fs::is_directory(argument)) {
      found.emplace_back(argument);
      continue;
    }
    std::vector<fs::path> inside;
    for (const auto& entry : fs::recursive_directory_iterator(argument)) {
      std::string extension = entry.path().extension().string();
      std::transform(extension.begin(), extension.end(), extension.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      if (entry.is_regular_file() && (extension == ".png" || extension == ".jpg" || extension == ".jpeg")) {
        inside.push_back(entry.path());
      }
    }
    check(!inside.empty(), "{} holds no .png, .jpg or .jpeg file", argument);
    std::sort(inside.begin(), inside.end());
    found.insert(found.end(), inside.begin(), inside.end());
  }
  return found;
}

}  // namespace densetree::tools
