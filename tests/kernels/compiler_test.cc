// That the compiler, with the flags of each instruction set, keeps constants as written.
//
// GCC 12.2 with AVX-512 turns the 32 bytes of {1, 1, 1, 0} into {1, 1, 1, 1}: a constant whose 64-bit words are equal
// up to the last ones, and those zero, is taken for a broadcast when it is moved as one piece. The flags
// -mmove-max=128 -mstore-max=128 avoid such moves.
#include <gtest/gtest.h>

#include "kernels/cpu/instruction_sets.h"
#include "tests/kernels/constants.h"

#define SET(name) extern "C" const densetree::test::Constants constants_##name;
DENSETREE_SETS
#undef SET

namespace densetree::test {
namespace {

template <std::size_t kCount, class T>
void expect_zeros_from(std::size_t first, void (*write)(T*), const char* set) {
  T values[kCount];
  write(values);
  for (std::size_t i = 0; i < kCount; ++i) {
    EXPECT_EQ(values[i] == 0, i >= first) << set << ": element " << i << " is " << values[i];
  }
}

TEST(Compiler, KeepsTheZerosAtTheEndOfConstants) {
#define SET(name) &constants_##name,
  const Constants* compiled[] = {DENSETREE_SETS};
#undef SET
  const auto sets = cpu::instruction_sets();
  ASSERT_EQ(sets.size(), std::size(compiled));
  for (std::size_t k = 0; k < sets.size(); ++k) {
    if (sets[k].supported) {
      expect_zeros_from<4>(3, compiled[k]->three_of_four, sets[k].name);
      expect_zeros_from<4>(2, compiled[k]->two_of_four, sets[k].name);
      expect_zeros_from<8>(6, compiled[k]->six_of_eight, sets[k].name);
      expect_zeros_from<16>(12, compiled[k]->twelve_of_sixteen, sets[k].name);
    }
  }
}

}  // namespace
}  // namespace densetree::test
