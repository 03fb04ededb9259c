// A network small enough to run in milliseconds, and made-up batches for it.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/core/philox.h"
#include "nn/model.h"

namespace densetree::test {

inline constexpr const char* kSmall = "growth=8,blocks=2-3-2,init=12";

// Four images of 32×32 floats, five labels.
inline nn::ModelOptions small_options(nn::MemoryMode memory = nn::MemoryMode::kShared) {
  return {.arch = nn::parse_architecture(kSmall),
          .labels = 5,
          .batch_size = 4,
          .image_size = 32,
          .source_size = 0,
          .memory = memory,
          .positive_weights = {}};
}

inline std::vector<float> random_floats(std::size_t count, std::uint32_t seed, float low = -1, float high = 1) {
  RandomStream random(seed, RandomUse::kSynth);
  std::vector<float> values(count);
  for (float& value : values) {
    value = random.uniform(low, high);
  }
  return values;
}

inline std::vector<float> random_input(const nn::ModelOptions& o, std::uint32_t seed) {
  return random_floats(o.batch_size * kInputChannels * o.image_size * o.image_size, seed);
}

inline std::vector<float> random_targets(const nn::ModelOptions& o, std::uint32_t seed) {
  std::vector<float> targets = random_floats(o.batch_size * o.labels, seed, 0, 1);
  for (float& target : targets) {
    target = target < 0.4f ? 1.0f : 0.0f;
  }
  return targets;
}

// One training step on a batch drawn from the seed.
inline void train_on(nn::Model& model, std::uint32_t seed, const AdamStep& step = {}) {
  model.set_input(random_input(model.options(), seed), true);
  model.set_targets(random_targets(model.options(), seed + 1000));
  model.train_step(step);
}

}  // namespace densetree::test
