#include "tree/binomial.h"

#include <cmath>
#include <numbers>

#include "kernels/core/error.h"

namespace densetree::tree {

namespace {

// An expected count to twice the precision of a double: an error in its last bit would be multiplied by the distance
// from the mean, some 10,000 in the far tail of a large set.
struct Mean {
  double high, low;
};

// log n! − log(√(2πn)·(n/e)ⁿ), n >= 1: the error of Stirling's formula.
double stirling_error(double n) {
  if (n < 16) {
    double factorial = 1;  // exact: 15! is below 2⁵³
    for (int i = 2; i <= static_cast<int>(n); ++i) {
      factorial *= i;
    }
    return std::log(factorial) - 0.5 * std::log(2 * std::numbers::pi * n) - n * std::log(n) + n;
  }
  const double nn = n * n;
  return (1.0 / 12 - (1.0 / 360 - (1.0 / 1260 - (1.0 / 1680 - 1.0 / 1188 / nn) / nn) / nn) / nn) / n;
}

// x·log(x/mean) + mean − x, without the cancellation that the formula has where x is near the mean. x > 0.
double deviance(double x, Mean mean) {
  const double m = mean.high, v = (x - m) / (x + m);
  const double correction = (1 - x / m) * mean.low;
  if (std::abs(v) > 0.5) {
    return x * std::log(x / m) + m - x + correction;
  }
  // log(x/mean) = 2·artanh(v); the first term of its series is taken together with mean − x.
  double sum = (x - m) * v, power = 2 * x * v;
  for (int odd = 3; odd < 60; odd += 2) {
    power *= v * v;
    sum += power / odd;
  }
  return sum + correction;
}

// P(Bin(n, p) = k), by the saddle-point form of C. Loader, "Fast and Accurate Computation of Binomial Probabilities"
// (2000): unlike log-gamma functions it does not lose digits as n grows. 0 <= k <= n, 0 < p < 1.
double binomial_point(std::int64_t k, std::int64_t n, double p) {
  const auto count = static_cast<double>(n), hits = static_cast<double>(k), misses = static_cast<double>(n - k);
  if (k == 0) {
    return std::exp(count * std::log1p(-p));
  }
  if (k == n) {
    return std::exp(count * std::log(p));
  }
  const double hit_mean = count * p, miss_mean = count - hit_mean;
  const double hit_low = std::fma(count, p, -hit_mean), miss_low = (count - miss_mean) - hit_mean - hit_low;
  const double exponent = stirling_error(count) - stirling_error(hits) - stirling_error(misses) -
                          deviance(hits, {hit_mean, hit_low}) - deviance(misses, {miss_mean, miss_low});
  return std::sqrt(count / (2 * std::numbers::pi * hits * misses)) * std::exp(exponent);
}

// P(Bin(n, p) <= k) for k below the mean: from k down every term is smaller than the last. 0 < p <= 1.
double lower_tail(std::int64_t k, std::int64_t n, double p) {
  if (p == 1) {
    return 0;
  }
  constexpr double kNegligible = 1e-20;
  const double odds = (1 - p) / p;
  double term = 1, sum = 1;
  for (std::int64_t j = k; j > 0 && term > kNegligible * sum; --j) {
    term *= odds * static_cast<double>(j) / static_cast<double>(n - j + 1);
    sum += term;
  }
  return binomial_point(k, n, p) * sum;
}

}  // namespace

double binomial_cdf(std::int64_t k, std::int64_t n, double p) {
  check(n >= 0 && p >= 0 && p <= 1, "binomial distribution with n {} and p {}; n is at least 0 and p from 0 to 1", n,
        p);
  if (k < 0) {
    return 0;
  }
  if (k >= n || p == 0) {
    return 1;
  }
  if (static_cast<double>(k) < static_cast<double>(n) * p) {
    return lower_tail(k, n, p);
  }
  return 1 - lower_tail(n - k - 1, n, 1 - p);
}

}  // namespace densetree::tree
