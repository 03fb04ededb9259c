// Where time goes, by kind of operation.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/device.h"

namespace densetree::bench {

struct Cost {
  double seconds = 0, bytes = 0, flops = 0;
  std::int64_t calls = 0;
};
using Profile = std::map<std::string, Cost>;

// Adds up what stretches of a device's queue take, by the device's own clock. Timing does not wait.
class Profiler {
 public:
  explicit Profiler(std::unique_ptr<Stopwatch> stopwatch) : stopwatch_(std::move(stopwatch)) {}

  // Of everything measured since reset(); waits for it.
  const Profile& profile();
  double recomputing_seconds();
  void reset();
  // Runs the body and notes where in the queue it began and ended.
  void measure(const std::string& kind, double bytes, double flops, const std::function<void()>& body);
  // Ranges whose name ends with " recompute" are timed as one kind of their own.
  void begin_range(std::string_view name);
  void end_range();

 private:
  // Between two marks of the stopwatch.
  struct Span {
    Cost* cost;
    std::size_t begin, end;
  };
  void read_spans();

  std::unique_ptr<Stopwatch> stopwatch_;
  Profile profile_;
  Cost recomputing_;
  std::vector<Span> spans_;                         // whose times are not read yet
  std::vector<std::optional<std::size_t>> ranges_;  // the marks where they began, where they are timed
};

// A table: kind, calls, ms, share of `total` seconds, GFLOP/s, GB/s, slowest first; what is left of the total last.
std::string profile_table(const Profile& profile, double total, int steps);
// Seconds of all kinds together, and of those that multiply: convolutions, and batch norm and convolution in one.
double seconds_of(const Profile& profile);
double convolution_seconds_of(const Profile& profile);

}  // namespace densetree::bench
