// Max, average and global average pooling.
#include <numeric>

#include "tests/kernels/op_case.h"

namespace densetree::test {
namespace {

using reference::MaxPooling;

std::vector<MaxPooling> max_cases() {
  std::vector<MaxPooling> all;
  for (const Shape& shape : {Shape{2, 3, 7, 5}, Shape{1, 8, 13, 13}, Shape{3, 16, 8, 8}, Shape{2, 24, 1, 1},
                             Shape{1, 33, 7, 5}, Shape{1, 64, 6, 9}}) {
    all.push_back({shape, 3, 2, 1});
    if (shape.h > 1) all.push_back({shape, 2, 2, 0}), all.push_back({shape, 3, 1, 1});
  }
  return all;
}

op::Window window_of(const MaxPooling& p) {
  return {p.kernel, p.stride, p.padding};
}

std::string describe(const MaxPooling& p, const Placement& from, const Placement& to) {
  return fmt::format("{}x{} stride {} padding {} of ({}, {}, {}, {}), {} to {}", p.kernel, p.kernel, p.stride,
                     p.padding, p.input.n, p.input.c, p.input.h, p.input.w, from.describe(), to.describe());
}

// Small whole numbers, so that windows hold equals; or all different, so that steps change no winner.
Values with_ties(const Shape& shape) {
  Values x = random_values(shape.elements(), 1, -3, 3);
  for (double& v : x) v = std::round(v);
  return x;
}
Values without_ties(const Shape& shape) {
  Values order = random_values(shape.elements(), 2), x(order.size());
  std::vector<std::size_t> rank(order.size());
  std::iota(rank.begin(), rank.end(), 0);
  std::sort(rank.begin(), rank.end(), [&](std::size_t a, std::size_t b) { return order[a] < order[b]; });
  for (std::size_t i = 0; i < rank.size(); ++i) x[rank[i]] = 0.125 * static_cast<double>(i) - 20;
  return x;
}

class PoolingTest : public OpTest {
 protected:
  // In and out as the network has it, and slices at other channels.
  std::vector<std::pair<Placement, Placement>> pairs() const {
    const Layout stack = device().layout(Use::kStack), spatial = device().layout(Use::kSpatial);
    return {{{spatial}, {stack}},     {{spatial}, {stack, 0, 40}},     {{stack}, {stack}},
            {{stack}, {stack, 8, 3}}, {{stack, 24, 0}, {stack, 8, 8}}, {{spatial}, {spatial}}};
  }
};

TEST_P(PoolingTest, MaxForwardAndBackward) {
  for (const MaxPooling& p : max_cases()) {
    const Values x = with_ties(p.input), dy = random_values(p.output().elements(), 3);
    std::vector<std::size_t> winner;
    const Values expected = reference::max_pool(p, x, &winner);
    const Values tolerance = times(reference::max_pool_backward(p, reference::absolute(dy), winner), 2 * kEps);
    for (const auto& [from, to] : pairs()) {
      SCOPED_TRACE(describe(p, from, to));
      const Tensor input(device(), p.input, from, x), output(device(), p.output(), to);
      const Array<std::uint8_t> argmax(device(), op::argmax_bytes(p.output()));
      run(device(), op::MaxPool{.window = window_of(p), .x = input, .y = output, .argmax = argmax});
      EXPECT_EQ(output.read(), expected);
      output.expect_clean();

      const Tensor gradient(device(), p.output(), to, dy), dx(device(), p.input, from);
      run(device(), op::MaxPoolGradient{.window = window_of(p), .dy = gradient, .argmax = argmax, .dx = dx});
      expect_close(dx.read(), reference::max_pool_backward(p, dy, winner), tolerance, "dx, first of equals wins");
      dx.expect_clean();
      input.expect_unchanged();
      gradient.expect_unchanged();
    }
  }
}

TEST_P(PoolingTest, MaxWithoutArgmax) {
  const MaxPooling p{{2, 24, 7, 5}, 3, 2, 1};
  const Values x = with_ties(p.input);
  const Tensor input(device(), p.input, {device().layout(Use::kSpatial)}, x);
  const Tensor output(device(), p.output(), {device().layout(Use::kStack)});
  run(device(), op::MaxPool{.window = window_of(p), .x = input, .y = output});
  EXPECT_EQ(output.read(), reference::max_pool(p, x));
}

TEST_P(PoolingTest, MaxIgnoresPaddingAndKeepsExtremes) {
  const MaxPooling p{{1, 16, 3, 3}, 3, 2, 1};
  const Values low(9 * 16, -1e30f), none(9 * 16, -INFINITY);
  const Placement place{device().layout(Use::kSpatial)};
  for (const Values& x : {low, none}) {
    const Tensor input(device(), p.input, place, rounded(x)), output(device(), p.output(), place);
    const Array<std::uint8_t> argmax(device(), op::argmax_bytes(p.output()));
    run(device(), op::MaxPool{.window = window_of(p), .x = input, .y = output, .argmax = argmax});
    EXPECT_EQ(output.read(), Values(4 * 16, static_cast<float>(x[0]))) << "zeros of the padding must not win";
    // The winner has to be an input, also where all are -inf: a window's first one inside the image.
    const Tensor dy(device(), p.output(), place, Values(4 * 16, 1.0)), dx(device(), p.input, place);
    run(device(), op::MaxPoolGradient{.window = window_of(p), .dy = dy, .argmax = argmax, .dx = dx});
    const Values got = dx.read();
    EXPECT_EQ(std::accumulate(got.begin(), got.end(), 0.0), 4.0 * 16) << "no gradient is lost";
  }
}

TEST_P(PoolingTest, MaxShowsNaN) {
  const MaxPooling p{{1, 16, 4, 4}, 2, 2, 0};
  Values x = with_ties(p.input);
  x[0] = NAN;                                   // first of its window
  x[reference::at(p.input, 0, 1, 3, 3)] = NAN;  // last of its window
  const Placement place{device().layout(Use::kSpatial)};
  const Tensor input(device(), p.input, place, x), output(device(), p.output(), place);
  const Array<std::uint8_t> argmax(device(), op::argmax_bytes(p.output()));
  run(device(), op::MaxPool{.window = window_of(p), .x = input, .y = output, .argmax = argmax});
  const Values y = output.read();
  EXPECT_TRUE(std::isnan(y[0])) << "as torch; a diverged network has to show";
  EXPECT_TRUE(std::isnan(y[reference::at(p.output(), 0, 1, 1, 1)]));
  EXPECT_EQ(std::count_if(y.begin(), y.end(), [](double v) { return std::isnan(v); }), 2);
}

TEST_P(PoolingTest, MaxGradientIsAFiniteDifference) {
  const MaxPooling p{{2, 24, 7, 5}, 3, 2, 1};
  const Values x = without_ties(p.input), dy = random_values(p.output().elements(), 3);
  const Placement from{device().layout(Use::kSpatial)}, to{device().layout(Use::kStack)};
  const Array<std::uint8_t> argmax(device(), op::argmax_bytes(p.output()));
  const auto value = [&](const Values& moved) {
    const Tensor input(device(), p.input, from, moved), output(device(), p.output(), to);
    run(device(), op::MaxPool{.window = window_of(p), .x = input, .y = output, .argmax = argmax});
    return dot(dy, output.read());
  };
  value(x);
  const Tensor gradient(device(), p.output(), to, dy), dx(device(), p.input, from);
  run(device(), op::MaxPoolGradient{.window = window_of(p), .dy = gradient, .argmax = argmax, .dx = dx});
  expect_directional(value, x, dx.read(), 0.05, 1e-4, "dx");
}

TEST_P(PoolingTest, Average) {
  for (const Shape& shape : {Shape{2, 3, 7, 5}, Shape{1, 8, 13, 13}, Shape{3, 16, 8, 6}, Shape{2, 24, 2, 2},
                             Shape{1, 33, 7, 5}, Shape{1, 64, 6, 9}}) {
    for (int kernel : {2, 3}) {
      if (kernel > shape.h) continue;
      const Shape out = reference::average_pool_output(shape, kernel);
      const Values x = random_values(shape.elements(), 1), dy = random_values(out.elements(), 2);
      const Values scale = reference::average_pool(shape, kernel, reference::absolute(x));
      const Values expected_dx = reference::average_pool_backward(shape, kernel, dy);
      for (const auto& [from, to] : pairs()) {
        SCOPED_TRACE(describe({shape, kernel, kernel, 0}, from, to));
        const Tensor input(device(), shape, from, x), output(device(), out, to);
        run(device(), op::AveragePool{.kernel = kernel, .x = input, .y = output});
        expect_close(output.read(), reference::average_pool(shape, kernel, x), times(scale, 2 * kEps), "y");
        output.expect_clean();
        input.expect_unchanged();
        const Tensor gradient(device(), out, to, dy), dx(device(), shape, from);
        run(device(), op::AveragePoolGradient{.kernel = kernel, .dy = gradient, .dx = dx});
        expect_close(dx.read(), expected_dx, times(reference::absolute(expected_dx), kEps), "dx");
        dx.expect_clean();
        gradient.expect_unchanged();
      }
    }
  }
}

TEST_P(PoolingTest, GlobalAverage) {
  for (const Shape& shape : {Shape{2, 3, 7, 5}, Shape{1, 8, 13, 13}, Shape{3, 16, 7, 7}, Shape{2, 24, 1, 1},
                             Shape{4, 33, 7, 5}, Shape{1, 64, 13, 13}}) {
    const Values x = random_values(shape.elements(), 1), dy = random_values(shape.n * shape.c, 2);
    const Values scale = reference::global_average_pool(shape, reference::absolute(x));
    const Values expected_dx = reference::global_average_pool_backward(shape, dy);
    const Tensor gradient(device(), {shape.n, shape.c}, {}, dy);
    std::vector<Placement> places = placements(device(), Use::kStack);
    places.push_back({device().layout(Use::kSpatial)});
    for (const Placement& place : places) {
      SCOPED_TRACE(describe({shape, 1, 1, 0}, place, place));
      const Tensor input(device(), shape, place, x), dx(device(), shape, place);
      const Tensor y(device(), {shape.n, shape.c}, {});
      run(device(), op::GlobalAveragePool{.x = input, .y = y});
      expect_close(y.read(), reference::global_average_pool(shape, x), times(scale, 2 * kEps), "y");
      y.expect_clean();
      input.expect_unchanged();
      run(device(), op::GlobalAveragePoolGradient{.dy = gradient, .dx = dx});
      expect_close(dx.read(), expected_dx, times(reference::absolute(expected_dx), kEps), "dx");
      dx.expect_clean();
    }
  }
}

// Averages are linear: differences of any width are exact but for rounding.
TEST_P(PoolingTest, AverageGradientsAreFiniteDifferences) {
  const Shape shape{2, 24, 7, 5}, out = reference::average_pool_output(shape, 2);
  const Values x = random_values(shape.elements(), 1), dy = random_values(out.elements(), 2),
               global_dy = random_values(shape.n * shape.c, 3);
  const Placement place{device().layout(Use::kStack)};
  const Tensor dx(device(), shape, place), gradient(device(), out, place, dy);
  run(device(), op::AveragePoolGradient{.kernel = 2, .dy = gradient, .dx = dx});
  const auto average = [&](const Values& moved) {
    const Tensor input(device(), shape, place, moved), output(device(), out, place);
    run(device(), op::AveragePool{.kernel = 2, .x = input, .y = output});
    return dot(dy, output.read());
  };
  expect_directional(average, x, dx.read(), 0.5, 1e-5, "average pool");

  const Tensor global_gradient(device(), {shape.n, shape.c}, {}, global_dy);
  run(device(), op::GlobalAveragePoolGradient{.dy = global_gradient, .dx = dx});
  const auto global = [&](const Values& moved) {
    const Tensor input(device(), shape, place, moved);
    const Tensor y(device(), {shape.n, shape.c}, {});
    run(device(), op::GlobalAveragePool{.x = input, .y = y});
    return dot(global_dy, y.read());
  };
  expect_directional(global, x, dx.read(), 0.5, 1e-5, "global average pool");
}

TEST_P(PoolingTest, RefusesWrongShapes) {
  const Placement place{device().layout(Use::kStack)};
  const Tensor x(device(), {2, 16, 8, 8}, place), same(device(), {2, 16, 8, 8}, place);
  const Tensor channels(device(), {2, 24, 4, 4}, place);
  const Array<std::uint8_t> argmax(device(), op::argmax_bytes({2, 24, 8, 8}));
  for (const Tensor* y : {&same, &channels}) {
    expect_refused(device(), op::MaxPool{.window = {2, 2, 0}, .x = x, .y = *y, .argmax = argmax});
    expect_refused(device(), op::MaxPoolGradient{.window = {2, 2, 0}, .dy = *y, .argmax = argmax, .dx = x});
    expect_refused(device(), op::AveragePool{.kernel = 2, .x = x, .y = *y});
    expect_refused(device(), op::AveragePoolGradient{.kernel = 2, .dy = *y, .dx = x});
  }
}

RUN_ON_DEVICES(PoolingTest);

}  // namespace
}  // namespace densetree::test
