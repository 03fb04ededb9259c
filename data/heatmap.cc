#include "data/heatmap.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/error.h"

namespace densetree::data {
namespace {

constexpr double kStrongest = 0.6;  // share of colour at the map's maximum

constexpr std::array<std::array<double, 3>, 7> kRamp{
    {{66, 10, 104}, {106, 23, 110}, {147, 38, 103}, {188, 55, 84}, {221, 81, 58}, {243, 120, 25}, {252, 165, 10}}};

// Between which two cells a pixel's centre lies along one axis, and how far from the first.
struct Place {
  std::size_t low = 0, high = 0;
  double part = 0;
};

// For each of `length` pixels centred on a side of `side` that `cells` cells cover.
std::vector<Place> places(int length, int side, int cells) {
  const int offset = (side - length) / 2;
  const double last = cells - 1;
  std::vector<Place> all(static_cast<std::size_t>(length));
  for (int i = 0; i < length; ++i) {
    const double at = std::clamp((offset + i + 0.5) * cells / side - 0.5, 0.0, last);
    const double low = std::floor(at);
    all[static_cast<std::size_t>(i)] = {static_cast<std::size_t>(low),
                                        static_cast<std::size_t>(std::min(low + 1, last)), at - low};
  }
  return all;
}

void check_map(const HeatMap& map) {
  check(map.width > 0 && map.height > 0 &&
            map.values.size() == static_cast<std::size_t>(map.width) * static_cast<std::size_t>(map.height),
        "a heat map of {}x{} cells holds {} values", map.width, map.height, map.values.size());
  for (const float value : map.values) check(std::isfinite(value), "a heat map holds {}; it must be finite", value);
}

double mix(double from, double to, double part) {
  return from + part * (to - from);
}

}  // namespace

std::vector<float> stretch(const HeatMap& map, int width, int height) {
  check_map(map);
  check(width > 0 && height > 0, "cannot lay a heat map over an image of {}x{} pixels", width, height);
  const int side = std::max(width, height);
  const std::vector<Place> across = places(width, side, map.width);
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(width) * static_cast<std::size_t>(height));
  for (const Place& y : places(height, side, map.height)) {
    const float* upper = map.values.data() + y.low * static_cast<std::size_t>(map.width);
    const float* lower = map.values.data() + y.high * static_cast<std::size_t>(map.width);
    for (const Place& x : across) {
      out.push_back(static_cast<float>(
          mix(mix(upper[x.low], upper[x.high], x.part), mix(lower[x.low], lower[x.high], x.part), y.part)));
    }
  }
  return out;
}

std::array<double, 3> heat_colour(double value) {
  const double at = std::clamp(value, 0.0, 1.0) * (kRamp.size() - 1);
  const std::size_t low = std::min(static_cast<std::size_t>(at), kRamp.size() - 2);
  std::array<double, 3> colour{};
  for (std::size_t c = 0; c < 3; ++c) colour[c] = mix(kRamp[low][c], kRamp[low + 1][c], at - static_cast<double>(low));
  return colour;
}

RgbImage overlay(const GreyImage& image, const HeatMap& map) {
  const std::vector<float> heat = stretch(map, image.width, image.height);
  check(image.pixels.size() == heat.size(), "an image of {}x{} pixels holds {}", image.width, image.height,
        image.pixels.size());
  const double most = *std::max_element(map.values.begin(), map.values.end());
  RgbImage out{image.width, image.height, {}};
  out.pixels.reserve(3 * heat.size());
  for (std::size_t i = 0; i < heat.size(); ++i) {
    const double value = heat[i] > 0 ? heat[i] / most : 0;
    for (const double colour : heat_colour(value)) {
      out.pixels.push_back(static_cast<std::uint8_t>(std::lround(mix(image.pixels[i], colour, kStrongest * value))));
    }
  }
  return out;
}

}  // namespace densetree::data
