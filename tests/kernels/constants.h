// Constants that GCC 12.2 gets wrong with AVX-512 (compiler_test.cc), written by code that is compiled for one
// instruction set.
#pragma once

namespace densetree::test {

struct Constants {
  void (*three_of_four)(double* to);
  void (*two_of_four)(double* to);
  void (*six_of_eight)(float* to);
  void (*twelve_of_sixteen)(int* to);
};

}  // namespace densetree::test
