// Learning-rate schedules: the factor on the base rate at any step, a pure function of where training stands.
#pragma once

#include <cstdint>

#include "kernels/core/names.h"

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
  double warmup_epochs = 0;      // the rate rises linearly from 0 over these, in every kind
  double final_factor = 0;       // cosine: where it ends
  std::int64_t step_epochs = 5;  // step: every so many epochs the rate is multiplied by `gamma`
  double gamma = 0.1;            // step and plateau
  std::int64_t patience = 2;     // plateau: epochs without a better validation loss before the rate is multiplied

  // Throws Error naming the value that is out of range.
  void validate() const;
  // At step `step` (from 0) of `total`, `per_epoch` to an epoch, after `drops` reductions on a plateau.
  double factor(std::int64_t step, std::int64_t per_epoch, std::int64_t total, std::int64_t drops) const;
};

}  // namespace densetree::nn
