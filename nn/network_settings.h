// The settings of a network and its steps that several commands have (engine/io/settings.h).
#pragma once

#include "data/image.h"
#include "engine/io/settings.h"

namespace densetree::nn {

inline constexpr std::int64_t kLargestBatch = 65536;

// Which network, and how it is computed.
void network_settings(auto& o, auto&& f) {
  f(o.arch, Setting{"arch", "densenet121, 161, 169, 201, 264 or growth=G,blocks=A-B-C-D,init=I"});
  f(o.precision,
    Setting{"precision",
            "fp32, tf32 (needs a GPU) or bf16 (a GPU, or AVX-512); weights, statistics and sums stay fp32"});
  f(o.memory, Setting{"memory", "what is kept for backward: store, shared or recompute", {}, kMayChange});
  f(o.batch_norm,
    Setting{"batch-norm",
            "plain, factored (statistics and backward once per feature) or fused (and on the way into convolutions; an "
            "error where the device cannot); auto: the fastest that each layer has"});
}

// What goes through it at once.
void batch_settings(auto& o, auto&& f) {
  f(o.batch_size, Setting{"batch-size", "images in a step", between(1, kLargestBatch)});
  f(o.image_size, Setting{"image-size", "side of the network's input", between(1, data::kMaxImageSide)});
}

void loss_setting(auto& o, auto&& f) {
  f(o.loss, Setting{"loss", "mse (of the sigmoid) or bce (with logits)"});
}

void learning_rate_setting(auto& o, auto&& f) {
  f(o.lr, Setting{"lr", "Adam's learning rate", above(0, 1)});
}

// Of a step of Adam.
void step_settings(auto& o, auto&& f) {
  learning_rate_setting(o, f);
  f(o.weight_decay, Setting{"weight-decay", "decoupled, as in AdamW", at_least(0)});
  f(o.clip_norm, Setting{"clip-norm", "largest norm of a gradient; 0: any", at_least(0)});
}

}  // namespace densetree::nn
