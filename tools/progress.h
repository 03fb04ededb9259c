// Progress on standard error: a bar with rate and time left on a terminal, a plain line now and then elsewhere.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

namespace densetree::tools {

class ProgressBar {
 public:
  explicit ProgressBar(std::string what, std::string unit = "images")
      : what_(std::move(what)), unit_(std::move(unit)) {}
  ~ProgressBar() { finish(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // done of total; `more` is shown behind. The first call starts the clock: what was done before is not counted in the
  // rate. Cheap enough to call at every image.
  void update(std::size_t done, std::size_t total, const std::string& more = "") {
    const Clock::time_point now = Clock::now();
    if (!started_) {
      started_ = true, start_ = now, first_ = done;
    } else if (done < total && now - shown_ < (terminal_ ? kRedrawEvery : kLineEvery)) {
      return;
    }
    shown_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double rate = seconds > 0 ? static_cast<double>(done - first_) / seconds : 0;
    std::string line = fmt::format("{} {}/{}", what_, done, total);
    if (terminal_) {
      const std::size_t filled = total > 0 ? kWidth * done / total : kWidth;
      line += fmt::format(" [{}{}]", std::string(filled, '='), std::string(kWidth - filled, ' '));
    }
    if (rate > 0) line += fmt::format(" {:.1f} {}/s", rate, unit_);
    if (rate > 0 && done < total) line += fmt::format(", {} left", clock(static_cast<double>(total - done) / rate));
    if (!more.empty()) line += ", " + more;
    if (line == last_) return;
    last_ = line;
    std::fprintf(stderr, terminal_ ? "\r%s\033[K" : "%s\n", line.c_str());
    std::fflush(stderr);
    open_ = terminal_;
  }

  // A line of its own.
  void note(const std::string& text) {
    finish();
    std::fprintf(stderr, "%s: %s\n", what_.c_str(), text.c_str());
  }

  // Leaves the bar as it stands.
  void finish() {
    if (open_) std::fputc('\n', stderr);
    open_ = false;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kRedrawEvery{100}, kLineEvery{10000};
  static constexpr std::size_t kWidth = 24;

  static std::string clock(double seconds) {
    const long whole = static_cast<long>(std::min(seconds, 359999.0));
    return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
                         : fmt::format("{}:{:02}", whole / 60, whole % 60);
  }

  std::string what_, unit_, last_;
  bool terminal_ = ::isatty(STDERR_FILENO) != 0, started_ = false, open_ = false;
  std::size_t first_ = 0;
  Clock::time_point start_, shown_;
};

}  // namespace densetree::tools
