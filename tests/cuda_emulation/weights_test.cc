// Weights between the two orders, alone: within a convolution, what is read beyond them and written beyond the other
// would be the same bits as lie there.
#include "kernels/cuda/weights.h"

#include <gtest/gtest.h>

#include <numeric>

namespace densetree::cuda {
namespace {

constexpr float kGuard = -1;

class EmulatedWeights : public testing::Test {
 protected:
  EmulatedWeights() : plain_(shape_.weights()), interleaved_(plain_.size()) {
    std::iota(plain_.begin(), plain_.end(), 0.0f);
    for (std::size_t i = 0; i < plain_.size(); ++i) {  // (O, I, kH, kW) to (O, kH, kW, I)
      const std::size_t column = i % 3, row = i / 3 % 3, in = i / 9 % 5, out = i / 45;
      interleaved_[((out * 3 + row) * 3 + column) * 5 + in] = plain_[i];
    }
    cudaStreamCreateWithFlags(&stream_.handle, cudaStreamNonBlocking);
  }
  ~EmulatedWeights() override { cudaStreamDestroy(stream_.handle); }

  // Calls convert(from, to), each side followed by a guard of its own, and returns what it made.
  template <class Convert>
  std::vector<float> converted(std::vector<float> from, const Convert& convert) {
    std::vector<float> to(from.size() + 1, kGuard);
    from.push_back(-2);
    convert(from.data(), to.data());
    EXPECT_EQ(cudaStreamSynchronize(stream_.handle), cudaSuccess);
    EXPECT_EQ(to.back(), kGuard);
    to.pop_back();
    return to;
  }

  const ConvolutionShape shape_{.input = {1, 5, 9, 9}, .out_channels = 7, .kernel = 3, .stride = 1, .padding = 1};
  std::vector<float> plain_, interleaved_;
  Stream stream_;
};

TEST_F(EmulatedWeights, AreInterleaved) {
  EXPECT_EQ(converted(plain_, [&](const float* from,
                                  float* to) { interleave_weights(stream_, shape_, from, DType::kFloat32, to); }),
            interleaved_);
}

TEST_F(EmulatedWeights, AreBroughtBack) {
  EXPECT_EQ(
      converted(interleaved_, [&](const float* from,
                                  float* to) { deinterleave_weights(stream_, shape_, DType::kFloat32, from, to); }),
      plain_);
}

}  // namespace
}  // namespace densetree::cuda
