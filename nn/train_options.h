// What a training is told: every setting of `densetree train`, declared here alone.
#pragma once

#include <string>

#include "data/augment.h"
#include "data/labels.h"
#include "nn/densenet.h"
#include "nn/network_settings.h"
#include "nn/schedule.h"

namespace densetree::nn {

struct TrainOptions {
  Architecture arch = parse_architecture("densenet121");
  LossKind loss = LossKind::kMse;
  Precision precision = Precision::kFloat32;
  MemoryMode memory = MemoryMode::kShared;
  BatchNorm batch_norm = BatchNorm::kAuto;
  std::int64_t batch_size = 128, image_size = 224, epochs = 10;
  double lr = 1e-3, weight_decay = 0, clip_norm = 0;
  Schedule schedule;
  std::int64_t early_stopping = 0;
  bool balanced = false;
  data::AugmentOptions augment;
  int workers = 1;
  std::int64_t checkpoint_steps = 0;
  bool capture = true;
  std::string init;  // weights of another classifier than these labels' are drawn anew

  static void settings(auto& o, auto&& f) {
    network_settings(o, f);
    loss_setting(o, f);
    batch_settings(o, f);
    f(o.epochs, Setting{"epochs", "passes over the training images", between(1, 1e6), kMayChange});
    step_settings(o, f);
    Schedule::settings(o.schedule, f);
    f(o.early_stopping,
      Setting{"early-stopping", "stop after so many epochs without a better validation loss; 0: never", at_least(0)});
    f(o.balanced, Setting{"balanced", "weigh positives by negatives over positives of the training images, 1 to 50"});
    data::AugmentOptions::settings(o.augment, f);
    f(o.workers, Setting{"workers", "threads that load images", between(1, most_threads()), kMayChange});
    f(o.checkpoint_steps,
      Setting{"checkpoint-steps", "save every so many steps too; 0: after epochs only", at_least(0), kMayChange});
    f(o.capture,
      Setting{"capture", "queue a step as one graph where the device can; results are the same", {}, kMayChange});
    f(o.init, Setting{"init", "weights to start from (safetensors, torchvision's names)"});
  }

  // Not settings of their own: what they are drawn or read from is given elsewhere.
  std::uint64_t seed = 1;
  data::LabelSet labels;
  std::string tree;  // the text of a label tree that the labels came from, to be kept in the run
};

}  // namespace densetree::nn
