#include "data/hash.h"

#include <gtest/gtest.h>

namespace densetree::data {
namespace {

// From the reference implementation.
TEST(Hash, AgreesWithXxhsum) {
  EXPECT_EQ(hash_text(xxh64("")), "ef46db3751d8e999");
  EXPECT_EQ(hash_text(xxh64("a")), "d24ec4f1a98c6e5b");
  EXPECT_EQ(hash_text(xxh64("abc")), "44bc2cf5ad770999");
  EXPECT_EQ(hash_text(xxh64("Nobody inspects the spammish repetition")), "fbcea83c8a378bf1");
}

TEST(Hash, SeesEveryByte) {
  std::string text(100, 'x');
  const std::uint64_t before = xxh64(text);
  for (char& c : text) {
    c = 'y';
    EXPECT_NE(xxh64(text), before);
    c = 'x';
  }
  EXPECT_NE(xxh64(text.substr(1)), before);
}

}  // namespace
}  // namespace densetree::data
