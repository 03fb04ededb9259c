// Copies, sums and zeros in all layouts, whole tensors and slices.
#include "tests/kernels/op_case.h"

namespace densetree::test {
namespace {

const Placement kPlacements[] = {
    {Layout::kPlanar, 0, 0},    {Layout::kPlanar, 8, 3},      {Layout::kBlocked16, 0, 0},   {Layout::kBlocked16, 24, 8},
    {Layout::kSlabs16, 0, 0},   {Layout::kSlabs16, 0, 7},     {Layout::kSlabs16, 8, 0},     {Layout::kSlabs16, 24, 9},
    {Layout::kSlabs16, 16, 16}, {Layout::kInterleaved, 0, 0}, {Layout::kInterleaved, 8, 5}, {Layout::kBlocked8, 0, 0},
    {Layout::kBlocked8, 4, 3},  {Layout::kSlabs8, 0, 0},      {Layout::kSlabs8, 8, 8},      {Layout::kSlabs8, 12, 1}};

const Shape kShapes[] = {{2, 3, 7, 5}, {1, 8, 1, 1}, {3, 16, 13, 13}, {1, 24, 7, 5}, {2, 33, 1, 1}, {2, 64, 7, 5}};

class CopyTest : public OpTest {};

TEST_P(CopyTest, AnyLayoutToAnyLayoutExactly) {
  for (const Shape& shape : kShapes) {
    const Values x = random_values(shape.elements(), 5);
    for (const Placement& from : kPlacements) {
      for (const Placement& to : kPlacements) {
        SCOPED_TRACE(fmt::format("{} channels, {}, to {}", shape.c, from.describe(), to.describe()));
        const Tensor source(device(), shape, from, x);
        const Tensor target(device(), shape, to);
        run(device(), op::Copy{.x = source, .y = target});
        EXPECT_EQ(target.read(), x);
        target.expect_clean();
        source.expect_unchanged();
      }
    }
  }
}

TEST_P(CopyTest, CarriesSpecialValues) {
  const Values x{INFINITY, -INFINITY, -0.0, 0x1p-149, 0x1.fffffep127, -0x1p-126};
  const Shape shape{1, 2, 1, 3};
  const Tensor source(device(), shape, {Layout::kPlanar}, x), target(device(), shape, {Layout::kSlabs16});
  run(device(), op::Copy{.x = source, .y = target});
  EXPECT_EQ(target.read(), x);
}

// ---- Sums ----------------------------------------------------------------------------------------

class AddTest : public OpTest {
 protected:
  // Summed in fp32 and rounded once.
  void expect_sum(const Shape& shape, const Placement& from, const Placement& to) const {
    SCOPED_TRACE(fmt::format("{} channels, {}, to {}", shape.c, from.describe(), to.describe()));
    const Values x = rounded_to(from.type, random_values(shape.elements(), 5, -2, 2)),
                 y = rounded_to(to.type, random_values(shape.elements(), 6));
    const Tensor source(device(), shape, from, x), target(device(), shape, to, y);
    run(device(), op::Add{.x = source, .y = target});
    EXPECT_EQ(target.read(), rounded_to(to.type, plus(y, x)));
    target.expect_clean();
    source.expect_unchanged();
  }
};

TEST_P(AddTest, AnyLayoutToAnyLayout) {
  for (const Shape& shape : kShapes) {
    for (const Placement& from : kPlacements) {
      for (const Placement& to : kPlacements) {
        expect_sum(shape, from, to);
      }
    }
  }
}

TEST_P(AddTest, BFloat16IsSummedInFloat32) {
  if (const std::string why_not = device().why_not(Precision::kBFloat16); !why_not.empty()) {
    GTEST_SKIP() << why_not;
  }
  for (const Shape& shape : kShapes) {
    for (Placement from : placements(device(), Use::kStack)) {
      for (Placement to : placements(device(), Use::kStack)) {
        from.type = to.type = DType::kBFloat16;
        expect_sum(shape, from, to);
      }
    }
  }
}

// ---- Zeros ---------------------------------------------------------------------------------------

class ClearTest : public OpTest {};

TEST_P(ClearTest, TensorsAndTheirPadding) {
  for (const Shape& shape : kShapes) {
    for (Placement place : kPlacements) {
      for (const DType type : {DType::kFloat32, DType::kBFloat16}) {
        place.type = type;
        SCOPED_TRACE(fmt::format("{} channels, {}", shape.c, place.describe()));
        const Tensor y(device(), shape, place);
        run(device(), op::Clear{.y = y});
        EXPECT_EQ(y.read(), Values(static_cast<std::size_t>(shape.elements()), 0.0));
        y.expect_clean();
      }
    }
  }
}

TEST_P(ClearTest, MemoryAloneAndBesideATensor) {
  const std::vector<std::byte> ones(1000, std::byte{0xFF});
  std::vector<std::byte> middle = ones;
  std::fill(middle.begin() + 11, middle.end() - 5, std::byte{0});
  const Array<std::byte> alone(device(), ones), beside(device(), ones);
  const auto part = [](const densetree::Array<std::byte>& of) { return of.slice(11, of.count - 16); };
  const Tensor y(device(), {2, 24, 3, 5}, {device().layout(Use::kStack), 8, 8});
  run(device(), op::Clear{.memory = part(alone)});
  run(device(), op::Clear{.y = y, .memory = part(beside)});
  EXPECT_EQ(alone.read(), middle);
  EXPECT_EQ(beside.read(), middle);
  EXPECT_EQ(y.read(), Values(2 * 24 * 15, 0.0));
  y.expect_clean();
}

// ---- Errors --------------------------------------------------------------------------------------

TEST_P(CopyTest, RefusesDifferentShapes) {
  const Tensor x(device(), {2, 8, 3, 5}, {Layout::kSlabs16});
  for (const Shape& other : {Shape{1, 8, 3, 5}, Shape{2, 7, 3, 5}, Shape{2, 8, 5, 3}, Shape{2, 8, 3, 4}}) {
    const Tensor y(device(), other, {Layout::kSlabs16});
    expect_refused(device(), op::Copy{.x = x, .y = y});
    expect_refused(device(), op::Add{.x = x, .y = y});
  }
}

RUN_ON_DEVICES(CopyTest);
RUN_ON_DEVICES(AddTest);
RUN_ON_DEVICES(ClearTest);

}  // namespace
}  // namespace densetree::test
