#include "kernels/core/view.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "kernels/core/error.h"

namespace densetree {
namespace {

const Layout kLayouts[] = {Layout::kPlanar, Layout::kBlocked8, Layout::kBlocked16,
                           Layout::kSlabs8, Layout::kSlabs16,  Layout::kInterleaved};

// The table in view.h, written out per layout.
std::int64_t place(const Shape& s, Layout layout, std::int64_t n, std::int64_t c, std::int64_t pixel) {
  const std::int64_t b = layout == Layout::kBlocked8 || layout == Layout::kSlabs8 ? 8 : 16, blocks = (s.c + b - 1) / b;
  switch (layout) {
    case Layout::kPlanar:
      return (n * s.c + c) * s.pixels() + pixel;
    case Layout::kBlocked8:
    case Layout::kBlocked16:
      return ((n * blocks + c / b) * s.pixels() + pixel) * b + c % b;
    case Layout::kSlabs8:
    case Layout::kSlabs16:
      return (c / b * s.n * s.pixels() + n * s.pixels() + pixel) * b + c % b;
    case Layout::kInterleaved:
      return (n * s.pixels() + pixel) * s.c + c;
  }
  return -1;
}

TEST(View, AddressesEveryLayout) {
  for (const Shape& s : {Shape{2, 33, 3, 5}, Shape{3, 16, 1, 1}, Shape{1, 3, 4, 2}, Shape{2, 64, 2, 2}}) {
    for (Layout layout : kLayouts) {
      const View view = make_view(nullptr, s, layout);
      EXPECT_EQ(view.shape(), s);
      EXPECT_EQ(view.count(), s.n * s.pixels());
      std::vector<int> hits(static_cast<std::size_t>(storage_elements(s, layout)), 0);
      for (std::int64_t n = 0; n < s.n; ++n)
        for (std::int64_t c = 0; c < view.padded_channels(); ++c)
          for (std::int64_t p = 0; p < s.pixels(); ++p) {
            if (c < s.c) {
              ASSERT_EQ(view.offset(n, c, p), place(s, layout, n, c, p));
            }
            ++hits.at(static_cast<std::size_t>(view.offset(n, c, p)));
          }
      EXPECT_TRUE(std::all_of(hits.begin(), hits.end(), [](int h) { return h == 1; }))
          << "elements and padding cover the storage once";
    }
  }
}

TEST(View, StorageCountsPaddingOfBlockedLayoutsOnly) {
  const Shape s{2, 33, 3, 5};
  EXPECT_EQ(storage_elements(s, Layout::kPlanar), 2 * 33 * 15);
  EXPECT_EQ(storage_elements(s, Layout::kInterleaved), 2 * 33 * 15);
  EXPECT_EQ(storage_elements(s, Layout::kBlocked16), 2 * 48 * 15);
  EXPECT_EQ(storage_elements(s, Layout::kSlabs16), 2 * 48 * 15);
  EXPECT_EQ(storage_elements(s, Layout::kBlocked8), 2 * 40 * 15);
  EXPECT_EQ(storage_elements(s, Layout::kSlabs8), 2 * 40 * 15);
}

const float* address(const View& view, std::int64_t n, std::int64_t c, std::int64_t p) {
  return view.as<float>() + view.offset(n, c, p);
}

TEST(View, SliceIsTheSameMemory) {
  const Shape s{2, 72, 3, 2};
  for (Layout layout : kLayouts) {
    std::vector<float> memory(static_cast<std::size_t>(storage_elements(s, layout)));
    const View whole = make_view(memory.data(), s, layout);
    for (std::int64_t begin : {0, 8, 16, 24, 40}) {
      const View part = whole.slice(begin, 31);
      EXPECT_FALSE(part.whole);
      EXPECT_EQ(part.padded_channels(), 31) << "a slice has neighbours, not padding";
      EXPECT_EQ(part.shape(), (Shape{2, 31, 3, 2}));
      const View nested = part.slice(5, 20);
      for (std::int64_t n = 0; n < s.n; ++n)
        for (std::int64_t p = 0; p < s.pixels(); ++p) {
          for (std::int64_t c = 0; c < 31; ++c) ASSERT_EQ(address(part, n, c, p), address(whole, n, begin + c, p));
          for (std::int64_t c = 0; c < 20; ++c)
            ASSERT_EQ(address(nested, n, c, p), address(whole, n, begin + 5 + c, p));
        }
    }
  }
}

TEST(View, OnlyTheWholeSliceIsWhole) {
  const View whole = make_view(nullptr, {1, 24, 2, 2}, Layout::kSlabs16);
  EXPECT_TRUE(whole.whole);
  EXPECT_EQ(whole.padded_channels(), 32);
  EXPECT_TRUE(whole.slice(0, 24).whole);
  EXPECT_FALSE(whole.slice(0, 23).whole);
  EXPECT_FALSE(whole.slice(1, 23).whole);
  EXPECT_FALSE(whole.slice(0, 16).slice(0, 16).whole);
}

TEST(View, APrefixOfSlabsIsContiguous) {
  const View whole = make_view(nullptr, {3, 96, 4, 4}, Layout::kSlabs16);
  const View prefix = whole.slice(0, 64);
  EXPECT_EQ(prefix.offset(2, 63, 15) + 1, storage_elements({3, 64, 4, 4}, Layout::kSlabs16));
}

TEST(View, SliceRefusesWhatIsNotThere) {
  const View view = make_view(nullptr, {1, 24, 2, 2}, Layout::kBlocked16);
  for (auto [begin, count] :
       {std::pair<std::int64_t, std::int64_t>{-1, 4}, {0, 0}, {0, -3}, {20, 5}, {24, 1}, {0, 25}}) {
    try {
      view.slice(begin, count);
      ADD_FAILURE() << "slice(" << begin << ", " << count << ") was given";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("24"), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW(view.slice(1, std::numeric_limits<std::int64_t>::max()), Error);
}

TEST(DType, SizesAndNames) {
  EXPECT_EQ(size_of(DType::kFloat32), 4u);
  EXPECT_EQ(size_of(DType::kBFloat16), 2u);
  EXPECT_EQ(size_of(DType::kUInt8), 1u);
  EXPECT_STREQ(name_of(DType::kFloat32), "fp32");
  EXPECT_STREQ(name_of(DType::kBFloat16), "bf16");
  EXPECT_STREQ(name_of(DType::kUInt8), "uint8");
}

}  // namespace
}  // namespace densetree
