// The distribution function of the binomial distribution, accurate far into its lower tail: thresholds are ordered by
// p-values that reach 1e-200 on a large set.
#pragma once

#include <cstdint>

namespace densetree::tree {

// P(Bin(n, p) <= k), to 1e-12 relative where it is above 1e-250. n >= 0, 0 <= p <= 1.
double binomial_cdf(std::int64_t k, std::int64_t n, double p);

}  // namespace densetree::tree
