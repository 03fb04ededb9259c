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

  // With room for 8 input channels, and that in those beyond the five.
  std::vector<float> with_room(float beyond) const {
    std::vector<float> values;
    for (std::size_t i = 0; i < interleaved_.size(); i += 5) {
      values.insert(values.end(), &interleaved_[i], &interleaved_[i] + 5);
      values.insert(values.end(), 3, beyond);
    }
    return values;
  }

  // Calls convert(from, to), each side followed by a guard of its own, and returns the `count` values that it made.
  template <class Convert>
  std::vector<float> converted(std::vector<float> from, std::size_t count, const Convert& convert) {
    std::vector<float> to(count + 1, kGuard);
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
  const auto interleave = [&](std::int64_t pitch) {
    return converted(plain_, plain_.size() / 5 * pitch, [&](const float* from, float* to) {
      interleave_weights(stream_, shape_, from, DType::kFloat32, pitch, to);
    });
  };
  EXPECT_EQ(interleave(5), interleaved_);
  EXPECT_EQ(interleave(8), with_room(0));
}

TEST_F(EmulatedWeights, AreBroughtBack) {
  const auto deinterleave = [&](const std::vector<float>& interleaved, std::int64_t pitch) {
    return converted(interleaved, plain_.size(), [&](const float* from, float* to) {
      deinterleave_weights(stream_, shape_, DType::kFloat32, pitch, from, to);
    });
  };
  EXPECT_EQ(deinterleave(interleaved_, 5), plain_);
  EXPECT_EQ(deinterleave(with_room(7), 8), plain_);
}

}  // namespace
}  // namespace densetree::cuda
