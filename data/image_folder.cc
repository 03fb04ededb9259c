#include "data/image_folder.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <system_error>

#include "kernels/core/error.h"

namespace densetree::data {
namespace {

namespace fs = std::filesystem;

void add_below(const fs::path& folder, std::set<fs::path>& seen, std::vector<fs::path>& files) {
  std::error_code error;
  const auto ok = [&](const fs::path& at) {
    check(!error, "cannot search the folder {}: {}", at.string(), error.message());
  };
  const fs::path real = fs::canonical(folder, error);
  ok(folder);
  if (!seen.insert(real).second) return;
  std::vector<fs::path> inside;
  fs::directory_iterator entry(folder, error);
  ok(folder);
  for (; entry != fs::directory_iterator(); entry.increment(error), ok(folder)) inside.push_back(entry->path());
  std::sort(inside.begin(), inside.end());  // of two ways to one folder the first by name is taken
  for (const fs::path& path : inside) {
    std::error_code broken;  // a link to nowhere is no file
    const fs::file_status status = fs::status(path, broken);
    if (fs::is_directory(status)) {
      add_below(path, seen, files);
    } else if (fs::is_regular_file(status)) {
      files.push_back(path);
    }
  }
}

}  // namespace

bool is_image_name(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return (extension == ".png" || extension == ".jpg" || extension == ".jpeg") &&
         !path.filename().string().starts_with("._");
}

std::vector<fs::path> files_below(const std::vector<fs::path>& folders) {
  std::set<fs::path> seen;
  std::vector<fs::path> files;
  for (const fs::path& folder : folders) add_below(folder, seen, files);
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace densetree::data
