#include "tools/image_files.h"

#include <algorithm>
#include <map>

#include "data/image.h"
#include "data/image_folder.h"
#include "kernels/core/error.h"

namespace densetree::tools {

namespace fs = std::filesystem;

namespace {

// The deepest folder that all of the files lie in.
fs::path common_folder(const std::vector<fs::path>& files) {
  fs::path common;
  for (const fs::path& file : files) {
    const fs::path folder = fs::absolute(file).lexically_normal().parent_path();
    if (common.empty()) {
      common = folder;
    }
    const auto [end, other] = std::mismatch(common.begin(), common.end(), folder.begin(), folder.end());
    fs::path shared;
    for (auto part = common.begin(); part != end; ++part) {
      shared /= *part;
    }
    common = shared;
  }
  return common;
}

}  // namespace

std::vector<ImageFile> find_images(const std::vector<std::string>& arguments) {
  std::vector<fs::path> named;
  for (const std::string& argument : arguments) {
    check(fs::exists(argument), "{} does not exist", argument);
    if (!fs::is_directory(argument)) {
      named.emplace_back(argument);
    }
  }
  const fs::path common = common_folder(named);
  std::vector<ImageFile> found;
  for (const std::string& argument : arguments) {
    if (!fs::is_directory(argument)) {
      found.push_back({argument, fs::absolute(argument).lexically_normal().lexically_relative(common)});
      continue;
    }
    const std::size_t before = found.size();
    for (const fs::path& file : data::files_below({argument})) {
      if (data::is_image_name(file)) {
        found.push_back({file, file.lexically_relative(argument)});
      }
    }
    check(found.size() > before, "{} holds no .png, .jpg or .jpeg file", argument);
  }
  return found;
}

void check_names_differ(const std::vector<ImageFile>& images) {
  std::map<fs::path, const ImageFile*> taken;
  for (const ImageFile& image : images) {
    const auto [first, is_new] = taken.try_emplace(fs::path(image.name).replace_extension(), &image);
    check(is_new, "{} and {} would be written about under one name, {}; name folders or files so that these differ",
          first->second->path.string(), image.path.string(), first->first.string());
  }
}

}  // namespace densetree::tools
