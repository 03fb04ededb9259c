// Patients, of whom a set may hold several images: whatever is drawn or split is drawn and split by patient.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace densetree::metrics {

// Patient numbers as 0 … count − 1, in rising order of the number.
struct Patients {
  std::vector<std::uint32_t> of_image;
  std::size_t count = 0;
};
Patients number_patients(std::span<const std::int64_t> patients);

// Images of ⌊share·patients⌉ patients drawn with the seed, and the images of the others; both ascending.
std::pair<std::vector<std::uint32_t>, std::vector<std::uint32_t>> draw_patients(const Patients& patients, double share,
                                                                                std::uint64_t seed);

}  // namespace densetree::metrics
