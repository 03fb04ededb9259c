// Folders of images, searched alike by every subcommand.
#pragma once

#include <filesystem>
#include <vector>

namespace densetree::data {

// Whether the name says PNG or JPEG. Files "._x.png", which macOS leaves beside x.png, are none.
bool is_image_name(const std::filesystem::path& path);

// The files in some folders and all folders below them, sorted. Links are followed, and each folder is searched once,
// even where links lead in circles or one of the folders lies in another. Throws Error naming a folder that cannot be
// searched.
std::vector<std::filesystem::path> files_below(const std::vector<std::filesystem::path>& folders);

}  // namespace densetree::data
