// copy_view between all layouts, whole tensors and slices.
#include "tests/kernels/op_case.h"

namespace densetree::test {
namespace {

const Placement kPlacements[] = {
    {Layout::kPlanar, 0, 0},    {Layout::kPlanar, 8, 3},      {Layout::kBlocked16, 0, 0},   {Layout::kBlocked16, 24, 8},
    {Layout::kSlabs16, 0, 0},   {Layout::kSlabs16, 0, 7},     {Layout::kSlabs16, 8, 0},     {Layout::kSlabs16, 24, 9},
    {Layout::kSlabs16, 16, 16}, {Layout::kInterleaved, 0, 0}, {Layout::kInterleaved, 8, 5}, {Layout::kBlocked8, 0, 0},
    {Layout::kBlocked8, 4, 3},  {Layout::kSlabs8, 0, 0},      {Layout::kSlabs8, 8, 8},      {Layout::kSlabs8, 12, 1}};

class CopyViewTest : public OpTest {};

TEST_P(CopyViewTest, AnyLayoutToAnyLayoutExactly) {
  for (const Shape& shape : {Shape{2, 3, 7, 5}, Shape{1, 8, 1, 1}, Shape{3, 16, 13, 13}, Shape{1, 24, 7, 5},
                             Shape{2, 33, 1, 1}, Shape{2, 64, 7, 5}}) {
    const Values x = random_values(shape.elements(), 5);
    for (const Placement& from : kPlacements) {
      for (const Placement& to : kPlacements) {
        SCOPED_TRACE(fmt::format("{} channels, {}, to {}", shape.c, from.describe(), to.describe()));
        const Tensor source(device(), shape, from, x);
        const Tensor target(device(), shape, to);
        device().copy_view(source.view(), target.view());
        EXPECT_EQ(target.read(), x);
        target.expect_clean();
        source.expect_unchanged();
      }
    }
  }
}

TEST_P(CopyViewTest, CarriesSpecialValues) {
  const Values x{INFINITY, -INFINITY, -0.0, 0x1p-149, 0x1.fffffep127, -0x1p-126};
  const Shape shape{1, 2, 1, 3};
  const Tensor source(device(), shape, {Layout::kPlanar}, x), target(device(), shape, {Layout::kSlabs16});
  device().copy_view(source.view(), target.view());
  EXPECT_EQ(target.read(), x);
}

TEST_P(CopyViewTest, RefusesDifferentShapes) {
  const Tensor x(device(), {2, 8, 3, 5}, {Layout::kSlabs16});
  for (const Shape& other : {Shape{1, 8, 3, 5}, Shape{2, 7, 3, 5}, Shape{2, 8, 5, 3}, Shape{2, 8, 3, 4}}) {
    const Tensor y(device(), other, {Layout::kSlabs16});
    expect_error([&] { device().copy_view(x.view(), y.view()); }, "copy_view");
  }
}

RUN_ON_DEVICES(CopyViewTest);

}  // namespace
}  // namespace densetree::test
