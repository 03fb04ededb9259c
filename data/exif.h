// Which way up a picture is, as cameras and scanners say in EXIF data beside the pixels.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "data/image.h"

namespace densetree::data {

// The orientation that EXIF data (a TIFF header and what follows) gives, 1 to 8; 1, upright, where it gives none, or is
// damaged.
int exif_orientation(std::span<const std::byte> exif);

// Turns and mirrors a picture stored in an orientation so that it is upright. Error naming `source` where there is no
// memory.
GreyImage upright(GreyImage image, int orientation, const std::string& source);

}  // namespace densetree::data
