#include "bench/step_subject.h"

#include <fstream>

#include "kernels/core/error.h"
#include "kernels/core/philox.h"
#include "kernels/functors/image.h"

namespace densetree::bench {
namespace {

nn::ModelOptions model_options(const StepOptions& o, bool training) {
  return {.arch = nn::parse_architecture(o.arch),
          .labels = o.labels,
          .batch_size = o.batch,
          .image_size = o.size,
          .source_size = o.size * 8 / 7,
          .training = training,
          .inference = !training,
          .memory = parse_name<nn::MemoryMode>(o.memory),
          .batch_norm = parse_name<nn::BatchNorm>(o.batch_norm),
          .precision = parse_name<Precision>(o.precision),
          .positive_weights = {}};
}

}  // namespace

Subject::Subject(Device& device, const StepOptions& options, bool training)
    : training_(training), model_(device, model_options(options, training)) {
  model_.initialize(1);
  const nn::ModelOptions& o = model_.options();
  RandomStream random(1, RandomUse::kSynth);
  pixels_.resize(o.batch_size * o.source_size * o.source_size);
  for (std::uint8_t& pixel : pixels_) {
    pixel = static_cast<std::uint8_t>(random.below(256));
  }
  transforms_.assign(o.batch_size, resize_transform(o.source_size, o.image_size));
  for (std::int64_t i = 0; i < o.batch_size * o.labels; ++i) {
    targets_.push_back(static_cast<float>(random.below(2)));
  }
}

void Subject::run() {
  const int ago = steps_++ > 0 ? 1 : 0;
  model_.set_images(pixels_, transforms_, training_);
  if (training_) {
    model_.set_targets(targets_);
    model_.train_step({});
    last_ = model_.loss(ago);
  } else {
    model_.infer();
    last_ = model_.logits(ago)[0];
  }
}

void warm_up(Device& device, Subject& subject) {
  for (int i = 0; i < 3; ++i) {
    subject.run();
  }
  device.synchronize();
}

std::int64_t process_bytes(std::string_view key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) {
      return std::strtoll(line.c_str() + key.size() + 1, nullptr, 10) * 1024;
    }
  }
  fail("/proc/self/status has no {}", key);
}

}  // namespace densetree::bench
