// Image files named on the command line.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace densetree::tools {

// The files named, and the images (PNG, JPEG) in the folders named, those in order of their names. Throws Error naming
// what does not exist or holds none.
std::vector<std::filesystem::path> find_images(const std::vector<std::string>& arguments);

}  // namespace densetree::tools
