// Operations and their operands as values: what an operation touches, where slices lie, what is printed.
#include "kernels/operations.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kernels/core/error.h"

namespace densetree {
namespace {

const Layout kLayouts[] = {Layout::kPlanar, Layout::kBlocked8, Layout::kBlocked16,
                           Layout::kSlabs8, Layout::kSlabs16,  Layout::kInterleaved};

// ---- Operands ------------------------------------------------------------------------------------

// Operands that differ in their storage alone, counted from 0 on in the order in which they are made.
class Storages {
 public:
  Tensor tensor(const Shape& shape = {2, 24, 4, 4}) {
    Tensor made = make_view(nullptr, shape, Layout::kSlabs16);
    made.storage = next_++;
    return made;
  }
  template <class T>
  Array<T> array() {
    Array<T> made(nullptr, 24);
    made.storage = next_++;
    return made;
  }
  op::Affine affine() { return {array<float>(), array<float>(), array<float>(), array<float>()}; }
  op::Statistics statistics() { return {array<float>(), array<float>(), array<float>()}; }
  op::GradientSums sums() { return {array<double>(), array<double>()}; }

 private:
  StorageId next_ = 0;
};

// The storages that are visited, as "r" or "w" or "a" and their number.
std::string visited(const Operation& operation) {
  std::string text;
  for_each_operand(operation, [&](Access access, const auto& operand) {
    const char* name = access == Access::kRead ? "r" : access == Access::kWrite ? "w" : "a";
    text += (text.empty() ? "" : " ") + (name + std::to_string(operand.storage));
  });
  return text;
}

TEST(Operands, OfAnOperationAreVisitedInOrder) {
  Storages s;
  EXPECT_EQ(visited(op::Copy{.x = s.tensor(), .y = s.tensor()}), "r0 w1");
  EXPECT_EQ(visited(op::Add{.x = s.tensor(), .y = s.tensor()}), "r2 a3");
  EXPECT_EQ(visited(op::Convolution{.shape = {}, .x = s.tensor(), .w = s.array<float>(), .y = s.tensor()}), "r4 r5 w6");
  EXPECT_EQ(visited(op::Adam{.scalars = s.array<AdamScalars>(),
                             .norm = s.array<double>(),
                             .g = s.array<float>(),
                             .m = s.array<float>(),
                             .v = s.array<float>(),
                             .w = s.array<float>()}),
            "r7 r8 r9 a10 a11 a12");
}

TEST(Operands, ThatAreNotThereAreLeftOut) {
  EXPECT_EQ(visited(op::Clear{}), "");
  Storages s;
  EXPECT_EQ(visited(op::Clear{.memory = s.array<std::byte>()}), "w0");
  EXPECT_EQ(visited(op::MaxPool{.window = {}, .x = s.tensor(), .y = s.tensor()}), "r1 w2");
  EXPECT_EQ(visited(op::Loss{.z = s.tensor(), .y = s.array<float>(), .loss = s.array<double>()}), "r3 r4 w5");
  EXPECT_EQ(visited(op::ChannelStatistics{.x = s.tensor(), .eps = 0, .statistics = s.statistics()}), "r6 w7 w8 w9");
}

TEST(Operands, OfGradientsAreWrittenOrAddedTo) {
  for (const auto& [mode, expected] : {std::pair{GradMode::kOverwrite, "r0 r1 r2 r3 r4 r5 w6 w7 w8 w9 w10"},
                                       {GradMode::kAccumulate, "r0 r1 r2 r3 r4 r5 a6 a7 a8 w9 w10"}}) {
    Storages s;
    EXPECT_EQ(visited(op::AffineReluGradient{.dy = s.tensor(),
                                             .x = s.tensor(),
                                             .affine = s.affine(),
                                             .mode = mode,
                                             .s = s.tensor(),
                                             .sums = s.sums(),
                                             .dgamma = s.array<float>(),
                                             .dbeta = s.array<float>()}),
              expected);
  }
}

TEST(Operands, OfSeveralArraysInOneAreVisitedOneByOne) {
  Storages s;
  EXPECT_EQ(visited(op::NormConvolution{.shape = {},
                                        .x = s.tensor(),
                                        .affine = s.affine(),
                                        .w = s.array<float>(),
                                        .y = s.tensor(),
                                        .eps = 0,
                                        .statistics = s.statistics(),
                                        .z = s.tensor()}),
            "r0 r1 r2 r3 r4 r5 w6 w7 w8 w9 w10");
  Storages without;
  EXPECT_EQ(visited(op::UpdateRunning{.batch = {without.array<float>(), {}, {}},
                                      .count = 2,
                                      .momentum = 0,
                                      .mean = without.array<float>(),
                                      .variance = {}}),
            "r0 a1");
}

TEST(Operands, CanBeBound) {
  std::vector<float> memory(24);
  Storages s;
  Operation operation = op::ReciprocalStd{.variance = s.array<float>(), .eps = 0, .rstd = s.array<float>()};
  for_each_operand(operation, [&]<class T>(Access, T& operand) {
    if constexpr (std::is_same_v<T, Array<float>>) {
      operand.data = memory.data();
    }
  });
  EXPECT_EQ(std::get<op::ReciprocalStd>(operation).variance.data, memory.data());
  EXPECT_EQ(std::get<op::ReciprocalStd>(operation).rstd.data, memory.data());
}

// ---- Slices --------------------------------------------------------------------------------------

// Slices of a bound and of an unbound tensor are the same channels, and the offset is how far data moves.
TEST(Tensors, SlicesKnowWhereTheyLieWithoutMemory) {
  constexpr std::int64_t kChannels = 72;
  for (const Layout layout : kLayouts) {
    for (const DType type : {DType::kFloat32, DType::kBFloat16}) {
      const Shape shape{2, kChannels, 3, 5};
      std::vector<std::byte> memory(storage_elements(shape, layout) * size_of(type));
      const Tensor bound = make_view(memory.data(), shape, layout, type);
      Tensor unbound = make_view(nullptr, shape, layout, type);
      unbound.storage = 7;
      for (const auto& [begin, count] :
           {std::pair<std::int64_t, std::int64_t>{0, kChannels}, {0, 8}, {5, 20}, {40, 32}}) {
        for (const auto& [inner, rest] : {std::pair<std::int64_t, std::int64_t>{0, count}, {0, 3}, {3, count - 3}}) {
          SCOPED_TRACE(std::string(name_of(layout)) + ", " + std::to_string(begin) + " and " + std::to_string(inner));
          const Tensor with = bound.slice(begin, count).slice(inner, rest);
          const Tensor without = unbound.slice(begin, count).slice(inner, rest);
          EXPECT_EQ(without.data, nullptr);
          EXPECT_TRUE(without.present());
          EXPECT_EQ(without.storage, 7);
          EXPECT_EQ(without.first_channel(), begin + inner);
          EXPECT_EQ(without.c, rest);
          EXPECT_EQ(without.whole, rest == kChannels);
          EXPECT_EQ(without.first, with.first);
          EXPECT_EQ(without.start, with.start);
          EXPECT_EQ(with.data, memory.data() + without.start);
          EXPECT_EQ(without.bytes(), shape.n * rest * shape.pixels() * size_of(type));
          // Its first element is the storage's at that channel.
          EXPECT_EQ(static_cast<std::int64_t>(without.start / size_of(type)) + without.offset(0, 0, 0),
                    bound.offset(0, begin + inner, 0));
        }
      }
    }
  }
}

TEST(Tensors, SlicesAreWithinTheTensor) {
  const Tensor whole = make_view(nullptr, {2, 24, 3, 5}, Layout::kSlabs16);
  for (const auto& [begin, count] : {std::pair{-1, 4}, {0, 25}, {20, 5}, {24, 1}, {3, 0}}) {
    EXPECT_THROW(whole.slice(begin, count), Error) << begin << ", " << count;
  }
  EXPECT_THROW(whole.slice(8, 8).slice(0, 9), Error);
}

TEST(Tensors, AreThereWithMemoryOrAStorage) {
  float number = 0;
  EXPECT_FALSE(Tensor().present());
  EXPECT_FALSE(Tensor(make_view(nullptr, {1, 1, 1, 1}, Layout::kPlanar)).present());
  EXPECT_TRUE(Tensor(make_view(&number, {1, 1, 1, 1}, Layout::kPlanar)).present());
  EXPECT_FALSE(Array<float>().present());
  EXPECT_FALSE(Array<float>(nullptr, 1).present());
  EXPECT_TRUE(Array<float>(&number, 1).present());
}

TEST(Arrays, SlicesMoveDataAndOffset) {
  std::vector<double> memory(10);
  const Array<double> bound = Array<double>(memory.data(), 10).slice(2, 7).slice(1, 4);
  EXPECT_EQ(bound.data, &memory[3]);
  EXPECT_EQ(bound.count, 4);
  EXPECT_EQ(bound.bytes(), 4 * sizeof(double));
  Array<double> whole(nullptr, 10);
  whole.storage = 3, whole.start = 16;
  const Array<double> unbound = whole.slice(2, 7).slice(1, 4);
  EXPECT_EQ(unbound.data, nullptr);
  EXPECT_TRUE(unbound.present());
  EXPECT_EQ(unbound.storage, 3);
  EXPECT_EQ(unbound.start, 16 + 3 * sizeof(double));
  EXPECT_EQ(unbound.count, 4);
}

// ---- Names ---------------------------------------------------------------------------------------

template <std::size_t... kIndex>
std::vector<Operation> one_of_each(std::index_sequence<kIndex...>) {
  return {Operation(std::in_place_index<kIndex>)...};
}

TEST(Operations, HaveNamesOfTheirOwn) {
  EXPECT_EQ(name_of(op::MaxPool{}), "max pool");
  EXPECT_EQ(name_of(op::ConvolutionDataGradient{}), "convolution data gradient");
  constexpr std::size_t kCount = std::variant_size_v<Operation>;
  std::set<std::string_view> names;
  for (const Operation& operation : one_of_each(std::make_index_sequence<kCount>())) {
    names.insert(name_of(operation));
  }
  EXPECT_EQ(names.size(), kCount);
}

TEST(Operations, AreDescribedByTheirTensors) {
  Storages s;
  EXPECT_EQ(
      describe(op::MaxPool{.window = {3, 2, 1}, .x = s.tensor({16, 64, 112, 112}), .y = s.tensor({16, 64, 56, 56})}),
      "(16, 64, 112, 112) -> (16, 64, 56, 56)");
  EXPECT_EQ(describe(op::NormalizeGradient{.s = s.tensor({1, 2, 3, 4}),
                                           .x = s.tensor({1, 2, 3, 4}),
                                           .statistics = {},
                                           .sums = {},
                                           .dx = s.tensor({1, 2, 3, 4})}),
            "(1, 2, 3, 4), (1, 2, 3, 4) -> (1, 2, 3, 4)");
  EXPECT_EQ(describe(op::ChannelStatistics{.x = s.tensor({1, 2, 3, 4}), .eps = 0, .statistics = {}}), "(1, 2, 3, 4)");
  EXPECT_EQ(describe(op::Clear{.y = s.tensor({1, 2, 3, 4})}), "(1, 2, 3, 4)");
  EXPECT_EQ(describe(op::L2Norm{.g = s.array<float>(), .norm = s.array<double>()}), "24 -> 24");
  EXPECT_EQ(describe(op::AllReduce{.g = s.array<float>()}), "24");
}

template <class Op>
Operation with_shape(const ConvolutionShape& shape) {
  Op operation{};
  operation.shape = shape;
  return operation;
}

TEST(Operations, OfConvolutionsHaveTheirShape) {
  const ConvolutionShape shape{.input = {16, 128, 56, 56}, .out_channels = 32, .kernel = 3, .padding = 1};
  for (const Operation& operation :
       {with_shape<op::Convolution>(shape), with_shape<op::ConvolutionWeightGradient>(shape),
        with_shape<op::ConvolutionDataGradient>(shape), with_shape<op::NormConvolution>(shape),
        with_shape<op::NormConvolutionGradient>(shape)}) {
    ASSERT_TRUE(convolution_shape(operation).has_value()) << name_of(operation);
    EXPECT_EQ(convolution_shape(operation)->out_channels, 32);
    EXPECT_EQ(describe(operation), "conv 3x3 stride 1 (16, 128, 56, 56) -> 32");
  }
  EXPECT_FALSE(convolution_shape(op::Copy{}).has_value());
}

}  // namespace
}  // namespace densetree
