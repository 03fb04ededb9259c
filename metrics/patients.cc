#include "metrics/patients.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/core/philox.h"

namespace densetree::metrics {

Patients number_patients(std::span<const std::int64_t> patients) {
  std::vector<std::int64_t> distinct(patients.begin(), patients.end());
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  Patients result{{}, distinct.size()};
  for (const std::int64_t patient : patients) {
    const auto at = std::lower_bound(distinct.begin(), distinct.end(), patient);
    result.of_image.push_back(static_cast<std::uint32_t>(at - distinct.begin()));
  }
  return result;
}

std::pair<std::vector<std::uint32_t>, std::vector<std::uint32_t>> draw_patients(const Patients& patients, double share,
                                                                                std::uint64_t seed) {
  std::vector<std::uint32_t> order(patients.count);
  std::iota(order.begin(), order.end(), 0u);
  RandomStream random(seed, RandomUse::kSplit);
  for (std::size_t left = order.size(); left > 1; --left) {
    std::swap(order[left - 1], order[random.below(static_cast<std::uint32_t>(left))]);
  }
  const auto drawn = static_cast<std::size_t>(std::llround(share * static_cast<double>(patients.count)));
  std::vector<bool> is_drawn(patients.count);
  for (std::size_t i = 0; i < drawn; ++i) {
    is_drawn[order[i]] = true;
  }
  std::pair<std::vector<std::uint32_t>, std::vector<std::uint32_t>> result;
  for (std::uint32_t image = 0; image < patients.of_image.size(); ++image) {
    (is_drawn[patients.of_image[image]] ? result.first : result.second).push_back(image);
  }
  return result;
}

}  // namespace densetree::metrics
