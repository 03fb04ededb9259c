// Times algorithms that serve the same operation, where the user wants it (DENSETREE_AUTOTUNE=1), and takes the
// fastest. Otherwise the vendor library's first proposal is taken, which is the same in every run. All candidates keep
// the rules of their library's file; but sums of different order differ in their last bits, so runs give the same bits
// only with the same choices. They are remembered on disk (algorithm_cache.h) and read from there only when tuning is
// on.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "kernels/cuda/algorithm_cache.h"
#include "kernels/cuda/stream.h"

namespace densetree::cuda {

// Whether DENSETREE_AUTOTUNE asks for it: "1" does, unset, "" and "0" do not. Throws Error for anything else. Null
// stands for a variable that is not set.
bool wants_tuning(const char* densetree_autotune);

class Tuner {
 public:
  explicit Tuner(const Stream& stream);

  // How many algorithms to ask a library for.
  std::size_t limit() const { return on_ ? kCandidates : 1; }

  // The index of the algorithm to take. run(index, buffers) queues it on the stream; the buffers are scratch of these
  // sizes, filled with small numbers of either float type. Waits for the GPU where it has to time. Throws Error where
  // the GPU has no memory for the scratch.
  using Run = std::function<void(std::size_t index, std::span<void* const> buffers)>;
  std::size_t choose(const std::string& library, const ConvolutionShape& shape, const std::string& pass,
                     std::span<const std::string> algorithms, std::span<const std::size_t> buffer_bytes,
                     const Run& run);

 private:
  static constexpr std::size_t kCandidates = 4;

  Stream stream_;
  bool on_;
  AlgorithmHost host_;
  AlgorithmCache cache_;
};

}  // namespace densetree::cuda
