// Numbers of twice a double's precision: the exact sum of two doubles (Dekker, Knuth). Some 100 bits of a result are
// right, so rounding it once to a double gives the same bits for all ways to compute the same number, and never turns
// an order around. For files compiled without contraction, and numbers far from overflow.
#pragma once

#include <cmath>

#include "kernels/core/host_device.h"

namespace densetree {

struct Twofold {
  double high = 0, low = 0;  // high: the whole rounded to a double
};

// Exact. quick_sum needs |a| >= |b| or a = 0.
DT_HD inline Twofold quick_sum(double a, double b) {
  const double sum = a + b;
  return {sum, b - (sum - a)};
}
DT_HD inline Twofold exact_sum(double a, double b) {
  const double sum = a + b, of_b = sum - a;
  return {sum, (a - (sum - of_b)) + (b - of_b)};
}
DT_HD inline Twofold exact_product(double a, double b) {
  const double product = a * b;
  return {product, fma(a, b, -product)};
}

DT_HD inline Twofold operator+(Twofold a, Twofold b) {
  const Twofold high = exact_sum(a.high, b.high), low = exact_sum(a.low, b.low);
  const Twofold sum = quick_sum(high.high, high.low + low.high);
  return quick_sum(sum.high, sum.low + low.low);
}
DT_HD inline Twofold operator*(Twofold a, Twofold b) {
  const Twofold product = exact_product(a.high, b.high);
  return quick_sum(product.high, product.low + (a.high * b.low + a.low * b.high));
}
DT_HD inline Twofold operator/(Twofold a, Twofold b) {
  Twofold quotient;
  for (int digit = 0; digit < 3; ++digit) {  // as by hand, in digits of a double
    const double next = a.high / b.high;
    quotient = quotient + Twofold{next, 0};
    a = a + b * Twofold{-next, 0};
  }
  return quotient;
}

}  // namespace densetree
