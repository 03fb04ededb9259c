// Image files named on the command line.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace densetree::tools {

struct ImageFile {
  std::filesystem::path path;
  // For what is written about the image: its place below the folder that was named; for files that were named, below
  // the deepest folder that all of them lie in.
  std::filesystem::path name;
};

// The files named, and the images (PNG, JPEG) below the folders named, those in order of their names. Throws Error
// naming what does not exist or holds none.
std::vector<ImageFile> find_images(const std::vector<std::string>& arguments);

// Throws Error where what is written about two images, named after them without their endings, would have one name.
void check_names_differ(const std::vector<ImageFile>& images);

}  // namespace densetree::tools
