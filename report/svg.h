// Small drawings inside a page: a chart with axes, the mark of an interval, a bar of parts. They have no colours of
// their own: classes are painted by the page's style, for light, dark and paper alike.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/bootstrap.h"

namespace densetree::report::svg {

struct Point {
  double x = 0, y = 0;
  bool operator==(const Point&) const = default;
};

// Leaves out points that lie within `tolerance` of the line through those kept (Douglas and Peucker's method). The
// ends stay. Where more than `limit` (>= 2) are left, they are thinned again with twice the tolerance, until they fit.
std::vector<Point> thin(const std::vector<Point>& points, double tolerance, std::size_t limit);

// The least of 1, 2, 5 times a power of ten that is >= value, from 0.01 to 1: where an axis ends.
double axis_end(double value);

// Both axes begin at 0.
struct Axis {
  std::string label;
  double end = 1;
};

class Chart {
 public:
  // The title is read out and shown by the pointer; it is text, not markup.
  Chart(std::string title, Axis x, Axis y);
  // In the axes' units; outside them they are cut off at the frame.
  void line(std::vector<Point> points, std::string_view kind);
  void dot(Point at, double radius, std::string_view title);
  void note(std::string_view text);  // in the middle
  std::string svg() const;

 private:
  Point place(Point at) const;

  std::string title_, marks_;
  Axis x_, y_;
};

// A dot at the value and a line over its interval, on a scale from `low` to `high`.
std::string interval_mark(std::string_view title, double value, const std::optional<metrics::Interval>& interval,
                          double low, double high);

struct Part {
  double share = 0;
  std::string kind, title;
};
// The parts side by side, over the full width.
std::string bar(std::string_view title, const std::vector<Part>& parts);

}  // namespace densetree::report::svg
