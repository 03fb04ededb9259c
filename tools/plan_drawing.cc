#include "tools/plan_drawing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "report/html.h"

namespace densetree::tools {
namespace {

constexpr double kWidth = 1200, kHeight = 640;  // of the file
constexpr double kLeft = 80, kTop = 64, kPlotWidth = 1090, kPlotHeight = 500;

struct Kind {
  std::string_view name, text;
};
constexpr std::array kKinds{Kind{"kept", "kept for backward"}, Kind{"passing", "used in forward alone"},
                            Kind{"recomputed", "recomputed in backward"}, Kind{"gradient", "gradients"},
                            Kind{"workspace", "workspace of one operation"}};

std::string_view kind_of(const Planner::Buffer& buffer, int forward_steps) {
  if (buffer.name.starts_with("workspace ")) {
    return "workspace";
  }
  if (buffer.name.ends_with(" (recomputed)")) {
    return "recomputed";
  }
  if (buffer.first >= forward_steps || buffer.name.starts_with("grad")) {
    return "gradient";
  }
  return buffer.last >= forward_steps ? "kept" : "passing";
}

std::string megabytes(std::size_t bytes) {
  return fmt::format("{:.{}f} MB", bytes / 1e6, bytes < 10'000'000 ? 2 : 0);
}

constexpr std::string_view kStyle =
    "text{font:14px system-ui,sans-serif;fill:#1f2328}.frame{fill:none;stroke:#8c959f}.grid{stroke:#8c959f55}"
    ".kept{fill:#1f6feb}.passing{fill:#8c959f}.recomputed{fill:#bf8700}.gradient{fill:#8250df}.workspace{fill:#2da44e}"
    "rect.buffer{stroke:#ffffff66;stroke-width:.5}svg{background:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}svg{background:#0d1117}rect.buffer{stroke:#0d111766}}";

// The least of 1, 2, 5 times a power of ten that divides `bytes` into at most eight parts.
double tick_of(double bytes) {
  for (double power = 1;; power *= 10) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (bytes <= 8 * factor * power) {
        return factor * power;
      }
    }
  }
}

}  // namespace

std::string draw_plan(const Planner& planner, const std::string& title, std::size_t forward_steps) {
  int steps = 1;
  for (const Planner::Buffer& buffer : planner.buffers()) {
    steps = std::max(steps, buffer.last + 1);
  }
  const double bytes = std::max<double>(1, planner.bytes());
  const auto x = [&](double step) { return kLeft + step / steps * kPlotWidth; };
  const auto y = [&](double offset) { return kTop + (1 - offset / bytes) * kPlotHeight; };

  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\">\n<title>{}</title>\n"
      "<style>{}</style>\n<text x=\"{}\" y=\"24\">{}</text>\n",
      kWidth, kHeight, report::html::escape(title), kStyle, kLeft, report::html::escape(title));
  for (double at = 0; at <= bytes; at += tick_of(bytes)) {
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{0}\" x2=\"{1}\" y1=\"{2:.2f}\" y2=\"{2:.2f}\"/>"
        "<text x=\"{3}\" y=\"{4:.2f}\" text-anchor=\"end\">{5}</text>\n",
        kLeft, kLeft + kPlotWidth, y(at), kLeft - 6, y(at) + 5, fmt::format("{:g} MB", at / 1e6));
  }
  for (const Planner::Buffer& b : planner.buffers()) {
    if (b.first < 0 || b.bytes == 0) {
      continue;
    }
    svg += fmt::format(
        "<rect class=\"buffer {}\" x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\">"
        "<title>{}: {}, steps {} to {}</title></rect>\n",
        kind_of(b, static_cast<int>(forward_steps)), x(b.first), y(static_cast<double>(b.offset + b.bytes)),
        x(b.last + 1) - x(b.first), b.bytes / bytes * kPlotHeight, report::html::escape(b.name), megabytes(b.bytes),
        b.first, b.last);
  }
  const double middle = x(static_cast<double>(forward_steps));
  svg += fmt::format(
      "<rect class=\"frame\" x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\"/>"
      "<line class=\"frame\" x1=\"{4:.2f}\" x2=\"{4:.2f}\" y1=\"{5}\" y2=\"{6}\"/>"
      "<text x=\"{7:.2f}\" y=\"{8}\" text-anchor=\"end\">forward</text><text x=\"{9:.2f}\" y=\"{8}\">backward</text>\n",
      kLeft, kTop, kPlotWidth, kPlotHeight, middle, kTop - 20, kTop + kPlotHeight, middle - 8, kTop - 8, middle + 8);
  double at = kLeft;
  for (const Kind& kind : kKinds) {
    svg += fmt::format(
        "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"14\" height=\"14\"/><text x=\"{}\" y=\"{}\">{}</text>\n",
        kind.name, at, kHeight - 44, at + 20, kHeight - 32, kind.text);
    at += 40 + 8.0 * static_cast<double>(kind.text.size());
  }
  svg += fmt::format(
      "<text x=\"{}\" y=\"{}\">{} steps of the schedule from left to right; at most {} are alive at once, "
      "{} are laid out</text>\n</svg>\n",
      kLeft, kHeight - 8, steps, megabytes(planner.lower_bound()), megabytes(planner.bytes()));
  return svg;
}

}  // namespace densetree::tools
