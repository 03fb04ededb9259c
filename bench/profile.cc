#include "bench/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace densetree::bench {

void Profiler::measure(const std::string& kind, double bytes, double flops, const std::function<void()>& body) {
  const std::size_t begin = stopwatch_->mark();
  body();
  Cost& cost = profile_[kind];
  spans_.push_back({&cost, begin, stopwatch_->mark()});
  cost.bytes += bytes;
  cost.flops += flops;
  ++cost.calls;
}

void Profiler::read_spans() {
  for (const Span& span : spans_) {
    span.cost->seconds += stopwatch_->seconds_between(span.begin, span.end);
  }
  spans_.clear();
  if (ranges_.empty()) {
    stopwatch_->clear();
  }
}

const Profile& Profiler::profile() {
  read_spans();
  return profile_;
}

double Profiler::recomputing_seconds() {
  read_spans();
  return recomputing_.seconds;
}

void Profiler::reset() {
  read_spans();
  profile_.clear();
  recomputing_ = {};
}

void Profiler::begin_range(std::string_view name) {
  const bool timed = name.ends_with(" recompute");
  ranges_.push_back(timed ? std::optional(stopwatch_->mark()) : std::nullopt);
}

void Profiler::end_range() {
  if (const auto begin = ranges_.back()) {
    spans_.push_back({&recomputing_, *begin, stopwatch_->mark()});
  }
  ranges_.pop_back();
}

double seconds_of(const Profile& profile) {
  double seconds = 0;
  for (const auto& [kind, cost] : profile) {
    seconds += cost.seconds;
  }
  return seconds;
}

double convolution_seconds_of(const Profile& profile) {
  double seconds = 0;
  for (const auto& [kind, cost] : profile) {
    seconds += cost.flops > 0 ? cost.seconds : 0;
  }
  return seconds;
}

std::string profile_table(const Profile& profile, double total, int steps) {
  std::vector<std::pair<std::string, Cost>> rows(profile.begin(), profile.end());
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  const auto row = [&](const std::string& kind, const Cost& cost) {
    return fmt::format("{:40} {:6} {:10.2f} {:7.1f}% {:10.1f} {:8.2f}\n", kind, cost.calls / steps,
                       1e3 * cost.seconds / steps, 100 * cost.seconds / total, 1e-9 * cost.flops / cost.seconds,
                       1e-9 * cost.bytes / cost.seconds);
  };
  std::string table =
      fmt::format("{:40} {:>6} {:>10} {:>8} {:>10} {:>8}\n", "operation", "calls", "ms", "share", "GFLOP/s", "GB/s");
  for (const auto& [kind, cost] : rows) {
    table += row(kind, cost);
  }
  const double rest = total - seconds_of(profile);
  return table + fmt::format("{:40} {:6} {:10.2f} {:7.1f}%\n{:40} {:6} {:10.2f}\n", "between operations", "",
                             1e3 * rest / steps, 100 * rest / total, "total", "", 1e3 * total / steps);
}

}  // namespace densetree::bench
