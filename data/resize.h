// Area-averaging resize: each output pixel is the mean of the part of the source it covers.
#pragma once

#include <cstdint>
#include <span>

#include "data/image.h"

namespace densetree::data {

// To size×size. A picture that is not square is centred on a black square of its longer side first (an odd remainder
// goes to the right or the bottom), so that anatomy keeps its proportions. Exact for any ratio, up or down: the
// weights are integers (overlaps in units of 1/size source pixels) and the mean is rounded to nearest, halves up.
// Throws Error for an empty image or a size outside 1 … kMaxImageSide.
GreyImage resize_area(const GreyImage& image, int size);

// The same into size·size bytes of the caller.
void resize_area(const GreyImage& image, int size, std::span<std::uint8_t> out);

}  // namespace densetree::data
