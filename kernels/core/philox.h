// Philox4x32-10, the counter-based random number generator of Salmon et al., SC 2011.
//
// A draw is a pure function of a 64-bit key (the seed) and a 128-bit counter, so whoever knows seed,
// epoch and image knows the number, whatever thread or device asks, and in whatever order.
#pragma once

#include <cstdint>

#include "kernels/core/host_device.h"

namespace densetree {

struct Philox4 {
  std::uint32_t v[4];
};

// The ten rounds for one counter (c0, c1, c2, c3), least significant word first.
DT_HD inline Philox4 philox(std::uint64_t key, std::uint32_t c0, std::uint32_t c1, std::uint32_t c2, std::uint32_t c3) {
  std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * c0, p1 = std::uint64_t{0xCD9E8D57} * c2;
    const std::uint32_t n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const std::uint32_t n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1), c3 = static_cast<std::uint32_t>(p0), c0 = n0, c2 = n2;
    k0 += 0x9E3779B9, k1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

// In [0, 1), from the top 24 bits.
DT_HD inline float uniform_from_bits(std::uint32_t bits) {
  return static_cast<float>(bits >> 8) * (1.0f / 16777216.0f);
}

// What a stream of random numbers is for: streams of different purposes never meet.
enum class RandomUse : std::uint32_t { kInit = 1, kShuffle, kAugment, kSplit, kBootstrap, kSynth, kThreshold };

// Numbers drawn in order from the stream (seed, use, a, b): for instance (seed, kAugment, epoch, image).
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, RandomUse use, std::uint32_t a = 0, std::uint32_t b = 0)
      : seed_(seed), use_(static_cast<std::uint32_t>(use)), a_(a), b_(b) {}

  std::uint32_t bits();
  float uniform() { return uniform_from_bits(bits()); }  // [0, 1)
  float uniform(float low, float high) { return low + (high - low) * uniform(); }
  double normal();  // Box-Muller, mean 0, variance 1
  // Uniform over 0 … bound-1 without bias (Lemire's method). bound >= 1.
  std::uint32_t below(std::uint32_t bound);

 private:
  std::uint64_t seed_;
  std::uint32_t use_, a_, b_, block_ = 0;
  Philox4 drawn_{};
  int left_ = 0;
};

}  // namespace densetree
