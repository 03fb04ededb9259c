// Heat maps over X-rays: the coarse map of what a network saw, in colour over the picture it was shown.
//
// The network is shown the square that resize_area() makes: the picture's longer side, the picture centred. The map
// covers that square, so over a picture that is not square its middle part is laid.
//
// Colour is the map's, light and dark stay the anatomy's. X-rays have no colour of their own: any is read as heat. The
// ramp is inferno (van der Walt and Smith, 2015) between 0.2 and 0.8: its lightness rises evenly, so that it is ordered
// for colour-blind readers and in print too. The ends are left out because black over a lung looks like air and pale
// yellow is lost on bright tissue. What is blended in grows with the value, to 60 %: at least two fifths of the
// picture's contrast stay everywhere.
//
// Each map is scaled to its own maximum. The picture says where the evidence for a finding lies, not how much there is.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "data/image.h"

namespace densetree::data {

struct HeatMap {
  int width = 0, height = 0;
  std::vector<float> values;  // (height, width), rows from the top
};

// The map under each pixel of a width×height picture: bilinear between the centres of its cells, beyond the outermost
// centres their value. (height, width). Throws Error for an empty map, values that are not finite, an empty picture.
std::vector<float> stretch(const HeatMap& map, int width, int height);

// The ramp at a value from 0 to 1: R, G, B.
std::array<double, 3> heat_colour(double value);

// The picture with the map over it: where the map is 0 or below, grey as it was; elsewhere the colour of its share of
// the map's maximum. Throws Error as stretch does, and where the image's sides and pixels do not go together.
RgbImage overlay(const GreyImage& image, const HeatMap& map);

}  // namespace densetree::data
