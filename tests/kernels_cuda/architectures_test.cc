// What a GPU is told that it gets from a build.
#include "kernels/cuda/architectures.h"

#include <gtest/gtest.h>

namespace densetree::cuda {
namespace {

constexpr const char* kDefault = "80-real, 90-real, 75-virtual";

TEST(Architectures, MachineCodeServesLaterMinorVersions) {
  for (const auto& [major, minor] : {std::pair{8, 0}, {8, 6}, {8, 9}, {9, 0}}) {
    EXPECT_EQ(code_note(kDefault, major, minor), "") << major << '.' << minor;
  }
  EXPECT_EQ(code_note("86", 8, 6), "");
  EXPECT_NE(code_note("86-real", 8, 0), "");
}

TEST(Architectures, PtxServesLaterOnesAndIsSaid) {
  EXPECT_EQ(
      code_note(kDefault, 7, 5),
      "no machine code for 7.5 in this build (80-real, 90-real, 75-virtual): its driver compiles PTX for 7.5 at the "
      "first start, which -DDENSETREE_CUDA_ARCHITECTURES=75-real saves");
  EXPECT_NE(code_note(kDefault, 12, 0).find("PTX for 7.5"), std::string::npos);
  EXPECT_NE(code_note("75-virtual;90", 10, 0).find("PTX for 9.0"), std::string::npos);  // the latest of them
  EXPECT_NE(code_note("75-real;80-real;90-virtual", 12, 0).find("-DDENSETREE_CUDA_ARCHITECTURES=120-real"),
            std::string::npos);
}

TEST(Architectures, ALetterMeansThatVersionAlone) {
  EXPECT_EQ(code_note("90a-real;100a", 9, 0), "");
  EXPECT_NE(code_note("100a-real", 10, 3).find("has no code"), std::string::npos);
  EXPECT_NE(code_note("100a-virtual", 12, 0).find("has no code"), std::string::npos);
}

TEST(Architectures, NamesWithoutAVersionSayNothing) {
  for (const char* built : {"native", "all", "all-major", ""}) {
    EXPECT_EQ(code_note(built, 8, 6), "") << built;
  }
}

TEST(Architectures, WhereThereIsNothingItSaysWhatToConfigure) {
  EXPECT_EQ(code_note("90-real", 8, 0),
            "this build has no code for compute capability 8.0 (90-real); configure with "
            "-DDENSETREE_CUDA_ARCHITECTURES=80-real");
  EXPECT_NE(code_note("90-virtual", 8, 6).find("has no code"), std::string::npos);
}

TEST(Architectures, TuringHasFp32Alone) {
  EXPECT_EQ(precision_note(8, 0), "");
  EXPECT_EQ(precision_note(9, 0), "");
  EXPECT_NE(precision_note(7, 5).find("fp32 alone: tf32 and bf16 need compute capability 8.0"), std::string::npos);
}

}  // namespace
}  // namespace densetree::cuda
