#include "report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/core/error.h"
#include "report/html.h"

namespace densetree::report::svg {

namespace {

using html::escape;

// The frame of a chart inside its 160 × 158 units. Text is 9 and 8 units high.
constexpr double kLeft = 27, kRight = 154, kTop = 15, kBottom = 130;
constexpr double kTolerance = 0.15;
constexpr std::size_t kMaxPoints = 160;

double distance(Point p, Point a, Point b) {
  const double dx = b.x - a.x, dy = b.y - a.y, length = dx * dx + dy * dy;
  const double along = length > 0 ? std::clamp(((p.x - a.x) * dx + (p.y - a.y) * dy) / length, 0.0, 1.0) : 0.0;
  return std::hypot(p.x - a.x - along * dx, p.y - a.y - along * dy);
}

std::vector<Point> thin_once(const std::vector<Point>& points, double tolerance) {
  std::vector<bool> keep(points.size());
  keep.front() = keep.back() = true;
  std::vector<std::pair<std::size_t, std::size_t>> spans = {{0, points.size() - 1}};
  while (!spans.empty()) {
    const auto [first, last] = spans.back();
    spans.pop_back();
    std::size_t farthest = first;
    double most = tolerance;
    for (std::size_t i = first + 1; i < last; ++i) {
      if (const double d = distance(points[i], points[first], points[last]); d > most) {
        most = d, farthest = i;
      }
    }
    if (farthest != first) {
      keep[farthest] = true;
      spans.emplace_back(first, farthest);
      spans.emplace_back(farthest, last);
    }
  }
  std::vector<Point> kept;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (keep[i]) {
      kept.push_back(points[i]);
    }
  }
  return kept;
}

std::string text(double x, double y, std::string_view kind, std::string_view anchor, std::string_view words) {
  return fmt::format("<text x=\"{}\" y=\"{}\" class=\"{}\" text-anchor=\"{}\">{}</text>", x, y, kind, anchor,
                     escape(words));
}

}  // namespace

std::vector<Point> thin(const std::vector<Point>& points, double tolerance, std::size_t limit) {
  check(tolerance > 0 && limit >= 2, "a line thinned to {} points within {}; it needs 2 and more than 0", limit,
        tolerance);
  if (points.size() <= 2) {
    return points;
  }
  std::vector<Point> kept = thin_once(points, tolerance);
  while (kept.size() > limit) {
    tolerance *= 2;
    kept = thin_once(kept, tolerance);
  }
  return kept;
}

double axis_end(double value) {
  for (const double end : {0.01, 0.02, 0.05, 0.1, 0.2, 0.5}) {
    if (value <= end) {
      return end;
    }
  }
  return 1;
}

Chart::Chart(std::string title, Axis x, Axis y) : title_(std::move(title)), x_(std::move(x)), y_(std::move(y)) {}

Point Chart::place(Point at) const {
  return {kLeft + (kRight - kLeft) * std::clamp(at.x / x_.end, 0.0, 1.0),
          kBottom - (kBottom - kTop) * std::clamp(at.y / y_.end, 0.0, 1.0)};
}

void Chart::line(std::vector<Point> points, std::string_view kind) {
  for (Point& point : points) {
    point = place(point);
  }
  std::string places;
  for (const Point& point : thin(points, kTolerance, kMaxPoints)) {
    places += fmt::format("{}{:.1f},{:.1f}", places.empty() ? "" : " ", point.x, point.y);
  }
  marks_ += fmt::format("<polyline class=\"{}\" points=\"{}\"/>", kind, places);
}

void Chart::dot(Point at, double radius, std::string_view title) {
  const Point where = place(at);
  marks_ += fmt::format("<circle class=\"dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\"><title>{}</title></circle>",
                        where.x, where.y, radius, escape(title));
}

void Chart::note(std::string_view words) {
  marks_ += text((kLeft + kRight) / 2, (kTop + kBottom) / 2, "note", "middle", words);
}

std::string Chart::svg() const {
  std::string axes = fmt::format("<rect class=\"frame\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>", kLeft, kTop,
                                 kRight - kLeft, kBottom - kTop);
  for (const double tick : {0.0, 0.5, 1.0}) {
    const Point at = place({tick * x_.end, tick * y_.end});
    if (tick == 0.5) {
      axes += fmt::format("<path class=\"grid\" d=\"M{0} {1}V{2}M{3} {4}H{5}\"/>", at.x, kTop, kBottom, kLeft, at.y,
                          kRight);
    }
    axes += text(tick == 1 ? at.x + 3 : at.x, kBottom + 10, "tick", tick == 1 ? "end" : "middle",
                 fmt::format("{:g}", tick * x_.end));
    axes += text(kLeft - 3, at.y + 3, "tick", "end", fmt::format("{:g}", tick * y_.end));
  }
  axes += text(1, 9, "axis", "start", y_.label) + text((kLeft + kRight) / 2, kBottom + 23, "axis", "middle", x_.label);
  return fmt::format("<svg class=\"chart\" viewBox=\"0 0 160 158\" role=\"img\"><title>{}</title>{}{}</svg>",
                     escape(title_), axes, marks_);
}

std::string interval_mark(std::string_view title, double value, const std::optional<metrics::Interval>& interval,
                          double low, double high) {
  const auto place = [&](double v) { return 4 + 92 * std::clamp((v - low) / (high - low), 0.0, 1.0); };
  std::string marks = fmt::format("<path class=\"grid\" d=\"M{} 1V13M{} 1V13\"/>", place(low), place(high));
  if (interval) {
    marks += fmt::format("<path class=\"span\" d=\"M{:.1f} 7H{:.1f}\"/>", place(interval->low), place(interval->high));
  }
  return fmt::format(
      "<svg class=\"mark\" viewBox=\"0 0 100 14\" role=\"img\"><title>{}</title>{}"
      "<circle class=\"dot\" cx=\"{:.1f}\" cy=\"7\" r=\"3\"/></svg>",
      escape(title), marks, place(value));
}

std::string bar(std::string_view title, const std::vector<Part>& parts) {
  std::string marks;
  double begin = 0;
  for (const Part& part : parts) {
    marks +=
        fmt::format("<rect class=\"{}\" x=\"{:.2f}\" y=\"0\" width=\"{:.2f}\" height=\"8\"><title>{}</title></rect>",
                    part.kind, 100 * begin, 100 * part.share, escape(part.title));
    begin += part.share;
  }
  return fmt::format(
      "<svg class=\"bar\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" role=\"img\"><title>{}</title>{}</svg>",
      escape(title), marks);
}

}  // namespace densetree::report::svg
