// Learning-rate schedules: the factor on the base rate at any step, a pure function of where training stands.
#pragma once

#include <cstdint>

#include "engine/io/settings.h"

namespace densetree::nn {

enum class ScheduleKind : std::uint8_t { kConstant, kCosine, kStep, kPlateau };
constexpr Names<ScheduleKind, 4> names(ScheduleKind) {
  return {"schedule",
          {{ScheduleKind::kConstant, "constant"},
           {ScheduleKind::kCosine, "cosine"},
           {ScheduleKind::kStep, "step"},
           {ScheduleKind::kPlateau, "plateau"}}};
}

struct Schedule {
  ScheduleKind kind = ScheduleKind::kConstant;
  double warmup_epochs = 0, final_factor = 0;
  std::int64_t step_epochs = 5;
  double gamma = 0.1;
  std::int64_t patience = 2;

  static void settings(auto& o, auto&& f) {
    f(o.kind, Setting{"schedule", "of the learning rate: constant, cosine, step or plateau"});
    f(o.warmup_epochs,
      Setting{"warmup-epochs", "epochs in which the rate rises from 0, in every schedule", at_least(0)});
    f(o.final_factor, Setting{"final-factor", "cosine: where the rate ends, as a part of it", between(0, 1)});
    f(o.step_epochs, Setting{"step-epochs", "step: epochs between drops", at_least(1)});
    f(o.gamma, Setting{"gamma", "step, plateau: factor of a drop", above(0, 1)});
    f(o.patience, Setting{"patience", "plateau: epochs without a better validation loss before a drop", at_least(0)});
  }

  // At step `step` (from 0) of `total`, `per_epoch` to an epoch, after `drops` reductions on a plateau.
  double factor(std::int64_t step, std::int64_t per_epoch, std::int64_t total, std::int64_t drops) const;
};

}  // namespace densetree::nn
