// That the compiler, with the flags of this build, keeps constants as written.
//
// GCC 12.2 with AVX-512 turns the 32 bytes of {1, 1, 1, 0} into {1, 1, 1, 1}: a constant whose 64-bit words are equal
// up to the last ones, and those zero, is taken for a broadcast when it is moved as one piece. The flags
// -mmove-max=128 -mstore-max=128 avoid such moves.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace densetree {
namespace {

template <class T>
[[gnu::noinline]] std::vector<T> copied(const T* values, std::size_t count) {
  return {values, values + count};
}

template <class T>
[[gnu::noinline]] void expect_zeros_from(const std::vector<T>& values, std::size_t first) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(values[i] == 0, i >= first) << "element " << i << " is " << values[i];
  }
}

[[gnu::noinline]] void fill(double* p) {
  const double values[4] = {3, 3, 3, 0};
  std::memcpy(p, values, sizeof values);
}
[[gnu::noinline]] void fill(float* p) {
  const float values[8] = {2, 2, 2, 2, 2, 2, 0, 0};
  std::memcpy(p, values, sizeof values);
}
[[gnu::noinline]] void fill(int* p) {
  const int values[16] = {7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7};
  std::memcpy(p, values, sizeof values);
}

TEST(Compiler, KeepsTheZerosAtTheEndOfVectors) {
  expect_zeros_from(std::vector<double>{1, 1, 1, 0}, 3);
  expect_zeros_from(std::vector<double>{3, 3, 0, 0}, 2);
  expect_zeros_from(std::vector<float>{5, 5, 5, 5, 5, 5, 0, 0}, 6);
}

TEST(Compiler, KeepsTheZerosAtTheEndOfArrays) {
  double d[4];
  float f[8];
  int i[16];
  fill(d), fill(f), fill(i);
  expect_zeros_from(copied(d, 4), 3);
  expect_zeros_from(copied(f, 8), 6);
  expect_zeros_from(copied(i, 16), 12);
}

}  // namespace
}  // namespace densetree
