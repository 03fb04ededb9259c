#include <gtest/gtest.h>

#include "kernels/core/error.h"
#include "nn/densenet.h"

namespace densetree::nn {
namespace {

TEST(ArchitectureTest, KnowsTheNamedOnes) {
  EXPECT_EQ(parse_architecture("densenet121").features(), 1024);
  EXPECT_EQ(parse_architecture("densenet161").features(), 2208);
  EXPECT_EQ(parse_architecture("densenet169").features(), 1664);
  EXPECT_EQ(parse_architecture("densenet201").features(), 1920);
  const Architecture a = parse_architecture("densenet264");
  EXPECT_EQ(a.name, "densenet264");
  EXPECT_EQ(a.blocks, (std::vector<std::int64_t>{6, 12, 64, 48}));
  EXPECT_EQ(a.features(), 2688);
}

TEST(ArchitectureTest, ReadsNumbersInAnyOrder) {
  const Architecture a = parse_architecture("blocks=3-2,init=9,bottleneck=2,growth=5");
  EXPECT_EQ(a.growth, 5);
  EXPECT_EQ(a.init, 9);
  EXPECT_EQ(a.bottleneck, 2);
  EXPECT_EQ(a.blocks, (std::vector<std::int64_t>{3, 2}));
  EXPECT_EQ(a.features(), (9 + 3 * 5) / 2 + 2 * 5);
}

TEST(ArchitectureTest, RefusesWhatItDoesNotKnowAndSaysWhatItDoes) {
  for (const char* text : {"", "densenet120", "DenseNet121", "growth", "growth=", "growth=8x", "growth=0", "growth=-1",
                           "growth=4097", "growth=8,depth=4", "blocks=2--3", "blocks=", "blocks=2,3",
                           "growth=8,,init=4", "growth=99999999999999999999", "growth= 8"}) {
    try {
      parse_architecture(text);
      ADD_FAILURE() << "'" << text << "' was accepted";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find(text), std::string::npos) << message;
      EXPECT_NE(message.find("growth=G,blocks=A-B-C-D,init=I"), std::string::npos) << message;
    }
  }
}

TEST(BatchNormTest, NamesGoBothWays) {
  for (const char* name : {"auto", "plain", "factored", "fused"}) {
    EXPECT_STREQ(name_of(parse_name<nn::BatchNorm>(name)), name);
  }
  EXPECT_THROW(parse_name<nn::BatchNorm>("deferred"), Error);
}

TEST(MemoryModeTest, NamesGoBothWays) {
  for (const char* name : {"store", "shared", "recompute"}) {
    EXPECT_STREQ(name_of(parse_name<MemoryMode>(name)), name);
  }
  try {
    parse_name<MemoryMode>("half");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "memory mode 'half' is unknown; use store, shared or recompute");
  }
}

}  // namespace
}  // namespace densetree::nn
