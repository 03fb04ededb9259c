#include "tree/binomial.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/core/error.h"

namespace densetree::tree {
namespace {

struct Known {
  std::int64_t k, n;
  double p, cdf;
};

void expect_relative(double got, double want, const Known& at) {
  EXPECT_LE(std::abs(got - want), 1e-12 * want)
      << got << " is not " << want << " at k " << at.k << ", n " << at.n << ", p " << at.p;
}

// The sum of the exact terms in decimal numbers of 60 digits, p being the double itself.
TEST(BinomialCdf, EqualsExactSums) {
  constexpr Known kKnown[] = {{0, 1, 0.3, 6.99999999999999956e-01},
                              {3, 10, 0.5, 1.71875000000000000e-01},
                              {9, 10, 0.9, 6.51321559899999958e-01},
                              {15, 16, 0.2, 9.99999999993446353e-01},
                              {6, 59, 0.19999999999999996, 3.50517844486088470e-02},
                              {12, 100, 0.2, 2.53287532213969518e-02},
                              {180, 1000, 0.2, 6.01900497593959444e-02},
                              {1, 1000, 0.0001, 9.95325232148259853e-01},
                              {0, 2000, 0.2, 1.51347058230419512e-194},
                              {3000, 10000, 0.4, 3.75707816503097477e-96},
                              {46000, 50000, 0.95, 6.12465517050758117e-178},
                              {47000, 50000, 0.95, 1.21410652701219331e-23},
                              {16000, 100000, 0.2, 6.58714247125471011e-232},
                              {19700, 100000, 0.2, 8.85980795210038023e-03},
                              {20000, 100000, 0.2, 5.01892337327837890e-01},
                              {20300, 100000, 0.2, 9.91154392709053811e-01},
                              {187000, 1000000, 0.2, 7.60958106702096794e-236},
                              {199500, 1000000, 0.2, 1.05852631259740940e-01},
                              {201000, 1000000, 0.2, 9.93789270839573802e-01},
                              {2, 1000000000, 1e-08, 2.76939562471171683e-03}};
  for (const Known& known : kKnown) {
    expect_relative(binomial_cdf(known.k, known.n, known.p), known.cdf, known);
  }
}

// One trial after the other: P(k hits) = P(k hits before)·(1−p) + P(k−1 hits before)·p.
TEST(BinomialCdf, EqualsTrialByTrialSums) {
  for (const double p : {0.001, 0.05, 0.2, 1.0 / 3, 0.5, 0.77, 0.999}) {
    std::vector<long double> hits = {1};
    for (std::int64_t n = 0; n <= 150; ++n) {
      long double sum = 0;
      for (std::int64_t k = 0; k <= n; ++k) {
        sum += hits[static_cast<std::size_t>(k)];
        if (sum > 1e-250L) {
          expect_relative(binomial_cdf(k, n, p), static_cast<double>(sum), {k, n, p, 0});
        }
      }
      hits.push_back(0);
      for (std::size_t k = hits.size() - 1; k > 0; --k) {
        hits[k] = hits[k] * (1 - static_cast<long double>(p)) + hits[k - 1] * p;
      }
      hits[0] *= 1 - static_cast<long double>(p);
    }
  }
}

TEST(BinomialCdf, IsExactAtItsEdges) {
  EXPECT_EQ(binomial_cdf(-1, 5, 0.2), 0);
  EXPECT_EQ(binomial_cdf(5, 5, 0.2), 1);
  EXPECT_EQ(binomial_cdf(9, 5, 0.2), 1);
  EXPECT_EQ(binomial_cdf(0, 0, 0.2), 1);
  EXPECT_EQ(binomial_cdf(0, 5, 0), 1);
  EXPECT_EQ(binomial_cdf(4, 5, 1), 0);
  EXPECT_EQ(binomial_cdf(5, 5, 1), 1);
  EXPECT_EQ(binomial_cdf(1000, 1'000'000, 0.5), 0);  // 1e-298,000
  EXPECT_EQ(binomial_cdf(3, 1000, 1e-20), 1);
}

TEST(BinomialCdf, RefusesWhatIsNoDistribution) {
  EXPECT_THROW(binomial_cdf(0, -1, 0.5), Error);
  EXPECT_THROW(binomial_cdf(0, 3, -0.1), Error);
  EXPECT_THROW(binomial_cdf(0, 3, 1.1), Error);
  EXPECT_THROW(binomial_cdf(0, 3, std::numeric_limits<double>::quiet_NaN()), Error);
}

}  // namespace
}  // namespace densetree::tree
