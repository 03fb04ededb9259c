// Plain code, because what is compiled here for one instruction set must not be linked for others.
#include "tests/kernels/constants.h"

namespace densetree::test {
namespace {

[[gnu::noinline]] void three_of_four(double* to) {
  const double values[4] = {1, 1, 1, 0};
  __builtin_memcpy(to, values, sizeof values);
}
[[gnu::noinline]] void two_of_four(double* to) {
  const double values[4] = {3, 3, 0, 0};
  __builtin_memcpy(to, values, sizeof values);
}
[[gnu::noinline]] void six_of_eight(float* to) {
  const float values[8] = {2, 2, 2, 2, 2, 2, 0, 0};
  __builtin_memcpy(to, values, sizeof values);
}
[[gnu::noinline]] void twelve_of_sixteen(int* to) {
  const int values[16] = {7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7};
  __builtin_memcpy(to, values, sizeof values);
}

}  // namespace
}  // namespace densetree::test

extern "C" const densetree::test::Constants DENSETREE_CONSTANTS;
const densetree::test::Constants DENSETREE_CONSTANTS = {densetree::test::three_of_four, densetree::test::two_of_four,
                                                        densetree::test::six_of_eight,
                                                        densetree::test::twelve_of_sixteen};
