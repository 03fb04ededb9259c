// What the decoders of PNG and JPEG share.
#pragma once

#include <cstdint>
#include <string>

#include "data/image.h"

namespace densetree::data {

// Throws Error where a file declares no pixel, or more than are read. Called before memory is taken for them.
void check_declared_size(std::uint32_t width, std::uint32_t height, std::int64_t max_pixels, const std::string& source);

// An image with room for its pixels; Error with the bytes asked for where there is no memory.
GreyImage blank_image(int width, int height, const std::string& source);

}  // namespace densetree::data
