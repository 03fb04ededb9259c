#include "nn/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/core/error.h"

namespace densetree::nn {

double Schedule::factor(std::int64_t step, std::int64_t per_epoch, std::int64_t total, std::int64_t drops) const {
  const double warmup = warmup_epochs * static_cast<double>(per_epoch);
  const double at = static_cast<double>(step);
  if (at + 1 <= warmup) {
    return (at + 1) / warmup;
  }
  switch (kind) {
    case ScheduleKind::kConstant:
      return 1;
    case ScheduleKind::kCosine: {
      const double length = std::max(1.0, static_cast<double>(total) - warmup);
      const double part = std::clamp((at - warmup) / length, 0.0, 1.0);
      return final_factor + (1 - final_factor) * 0.5 * (1 + std::cos(std::numbers::pi * part));
    }
    case ScheduleKind::kStep:
      return std::pow(gamma, static_cast<double>(step / per_epoch / step_epochs));
    case ScheduleKind::kPlateau:
      return std::pow(gamma, static_cast<double>(drops));
  }
  fail("unknown schedule {}", static_cast<int>(kind));
}

}  // namespace densetree::nn
