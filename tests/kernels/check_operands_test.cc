// The rules that operands keep (kernels/check_operands.h): each operation as it should be, then with one operand at a
// time that does not fit. Nothing has memory: the rules are checked before there is any.
#include "kernels/check_operands.h"

#include <set>

#include "tests/kernels/op_case.h"

namespace densetree::test {
namespace {

class CheckOperandsTest : public OpTest {
 protected:
  // Every operation once, each operand in a storage of its own.
  std::vector<Operation> good() const {
    StorageId next = 0;
    const auto placed = [&](auto operand) {
      operand.storage = next++;
      return operand;
    };
    const auto tensor = [&](const Shape& shape, Layout layout, DType type = DType::kFloat32) {
      return placed(densetree::Tensor(make_view(nullptr, shape, layout, type)));
    };
    const auto stack = [&](const Shape& shape) { return tensor(shape, device().layout(Use::kStack)); };
    const auto spatial = [&](const Shape& shape) { return tensor(shape, device().layout(Use::kSpatial)); };
    const auto matrix = [&](std::int64_t k) { return tensor({2, k}, Layout::kPlanar); };
    const auto floats = [&](std::int64_t count) { return placed(densetree::Array<float>(nullptr, count)); };
    const auto doubles = [&](std::int64_t count) { return placed(densetree::Array<double>(nullptr, count)); };
    const auto bytes = [&](std::int64_t count) { return placed(densetree::Array<std::uint8_t>(nullptr, count)); };
    const auto affine = [&] { return op::Affine{floats(32), floats(32), floats(32), floats(32)}; };
    const auto statistics = [&](std::int64_t c) { return op::Statistics{floats(c), floats(c), floats(c)}; };
    const auto sums = [&] { return op::GradientSums{doubles(32), doubles(32)}; };
    const Shape x{2, 32, 8, 6}, y{2, 16, 8, 6}, half{2, 32, 4, 3};
    const ConvolutionShape conv{.input = x,
                                .out_channels = 16,
                                .kernel = 3,
                                .padding = 1,
                                .input_use = Use::kSpatial,
                                .output_use = Use::kSpatial},
        fused{.input = x, .out_channels = 16, .kernel = 3, .padding = 1};
    const std::int64_t chosen = op::argmax_bytes(half);
    return {
        op::ImagesToInput{.images = bytes(2 * 10 * 10),
                          .source = 10,
                          .transforms = placed(densetree::Array<ImageTransform>(nullptr, 2)),
                          .y = tensor({2, 3, 8, 6}, device().layout(Use::kInput))},
        op::Convolution{conv, spatial(x), floats(conv.weights()), spatial(y)},
        op::ConvolutionWeightGradient{conv, spatial(x), spatial(y), floats(conv.weights())},
        op::ConvolutionDataGradient{conv, spatial(y), floats(conv.weights()), spatial(x)},
        op::ChannelStatistics{stack(x), 1e-5f, statistics(32), stack(x)},
        op::UpdateRunning{statistics(32), 96, 0.1f, floats(32), floats(32)},
        op::ReciprocalStd{floats(32), 1e-5f, floats(32)},
        op::AffineRelu{stack(x), affine(), stack(x)},
        op::AffineReluGradient{stack(x), stack(x), affine(), {}, stack(x), sums(), floats(32), floats(32)},
        op::NormalizeGradient{stack(x), stack(x), statistics(32), sums(), {}, stack(x)},
        op::NormConvolution{fused, stack(x), affine(), floats(fused.weights()), stack(y), 1e-5f, statistics(16),
                            stack(x)},
        op::NormConvolutionGradient{fused,
                                    stack(x),
                                    affine(),
                                    floats(fused.weights()),
                                    stack(y),
                                    stack(x),
                                    {},
                                    stack(x),
                                    sums(),
                                    floats(fused.weights()),
                                    floats(32),
                                    floats(32)},
        op::Copy{stack(x), spatial(x)},
        op::Add{stack(x), spatial(x)},
        op::Clear{.y = stack(x), .memory = placed(densetree::Array<std::byte>(nullptr, 8))},
        op::MaxPool{{2, 2, 0}, spatial(x), spatial(half), bytes(chosen)},
        op::MaxPoolGradient{{2, 2, 0}, spatial(half), bytes(chosen), spatial(x)},
        op::AveragePool{2, stack(x), stack(half)},
        op::AveragePoolGradient{2, stack(half), stack(x)},
        op::GlobalAveragePool{stack(x), matrix(32)},
        op::GlobalAveragePoolGradient{matrix(32), stack(x)},
        op::Linear{matrix(32), floats(5 * 32), floats(5), matrix(5)},
        op::LinearGradient{matrix(32), floats(5 * 32), matrix(5), matrix(32), floats(5 * 32), floats(5)},
        op::Loss{{}, matrix(5), floats(10), floats(5), doubles(1), matrix(5)},
        op::AllReduce{floats(7)},
        op::L2Norm{floats(7), doubles(1)},
        op::Adam{placed(densetree::Array<AdamScalars>(nullptr, 1)), doubles(1), floats(7), floats(7), floats(7),
                 floats(7)},
    };
  }

  void expect_refusal(const Operation& operation, const std::string& what) const {
    SCOPED_TRACE(fmt::format("{}: {}", name_of(operation), what));
    expect_error([&] { check_operands(device(), operation); }, fmt::format("{}: ", name_of(operation)));
  }
  // `change(operand)` of one operand after the other, where it changes it.
  template <class Change>
  void expect_each_refused(const Operation& operation, const std::string& what, const Change& change) const {
    int operands = 0;
    for_each_operand(operation, [&](Access, const auto&) { ++operands; });
    for (int wanted = 0; wanted < operands; ++wanted) {
      Operation changed = operation;
      int index = 0;
      bool is_other = false;
      for_each_operand(changed, [&](Access, auto& operand) {
        if (index++ == wanted) {
          is_other = change(operand);
        }
      });
      if (is_other) {
        expect_refusal(changed, fmt::format("operand {} {}", wanted, what));
      }
    }
  }
};

TEST_P(CheckOperandsTest, HasEveryOperation) {
  const std::vector<Operation> operations = good();
  ASSERT_EQ(operations.size(), std::variant_size_v<Operation>);
  for (std::size_t i = 0; i < operations.size(); ++i) {
    EXPECT_EQ(operations[i].index(), i);
    check_operands(device(), operations[i]);
  }
}

TEST_P(CheckOperandsTest, ArraysHoldWhatTheTensorsAsk) {
  // These go by nothing else: as many gradients as there are, as many bytes.
  const auto is_free = [](const Operation& o) {
    return std::holds_alternative<op::AllReduce>(o) || std::holds_alternative<op::L2Norm>(o) ||
           std::holds_alternative<op::Clear>(o);
  };
  for (const Operation& operation : good()) {
    for (const std::int64_t more : {-1, 1}) {
      expect_each_refused(operation, "of another count", [&]<class T>(T& operand) {
        if constexpr (requires { operand.count += more; } && !std::is_base_of_v<View, T>) {
          operand.count += more;
          return !is_free(operation) || std::is_same_v<T, densetree::Array<double>>;
        }
        return false;
      });
    }
    expect_each_refused(operation, "empty", []<class T>(T& operand) {
      if constexpr (std::is_base_of_v<View, T>) {
        operand.n = 0;
      } else {
        operand.count = 0;
      }
      return true;
    });
  }
}

TEST_P(CheckOperandsTest, WhatMayNotBeMissingIsThere) {
  // Those that may, of all operations.
  const std::set<std::pair<std::string_view, int>> optional{{"channel statistics", 4},
                                                            {"norm convolution", 7},
                                                            {"norm convolution", 8},
                                                            {"norm convolution", 9},
                                                            {"norm convolution", 10},
                                                            {"clear", 0},
                                                            {"clear", 1},
                                                            {"max pool", 2},
                                                            {"linear gradient", 3},
                                                            {"loss", 2},
                                                            {"loss", 4},
                                                            {"adam", 1},
                                                            {"norm convolution gradient", 7}};
  for (const Operation& operation : good()) {
    int index = 0;
    expect_each_refused(operation, "missing", [&](auto& operand) {
      operand = {};
      return !optional.contains({name_of(operation), index++});
    });
  }
  for (const Operation& operation : good()) {
    std::visit([&]<class Op>(const Op&) { expect_error([&] { check_operands(device(), Op{}); }, ""); }, operation);
  }
}

TEST_P(CheckOperandsTest, TensorsHaveTheShapeThatFollowsFromTheOthers) {
  for (const Operation& operation : good()) {
    int tensors = 0;
    for_each_operand(operation, [&]<class T>(Access, const T&) { tensors += std::is_base_of_v<View, T>; });
    if (tensors < 2 && !std::holds_alternative<op::ImagesToInput>(operation)) {
      continue;
    }
    for (std::int64_t View::*side : {&View::n, &View::c, &View::h, &View::w}) {
      if (tensors == 1 && (side == &View::h || side == &View::w)) {
        continue;  // an image may have any size
      }
      if (std::holds_alternative<op::Clear>(operation)) {
        continue;
      }
      const bool pooled = std::holds_alternative<op::GlobalAveragePool>(operation) ||
                          std::holds_alternative<op::GlobalAveragePoolGradient>(operation);
      expect_each_refused(operation, "of another shape", [&]<class T>(T& operand) {
        if constexpr (std::is_base_of_v<View, T>) {
          const bool any = pooled && operand.pixels() > 1 && (side == &View::h || side == &View::w);
          operand.*side += 2;  // of a pooled side a single one more may be a remainder
          return !any;
        }
        return false;
      });
    }
  }
}

TEST_P(CheckOperandsTest, TensorsHaveOneType) {
  for (const Operation& operation : good()) {
    const bool converts = std::holds_alternative<op::Copy>(operation) || std::holds_alternative<op::Add>(operation);
    int tensors = 0;
    for_each_operand(operation, [&]<class T>(Access, const T&) { tensors += std::is_base_of_v<View, T>; });
    for (const DType type : {DType::kBFloat16, DType::kUInt8}) {
      // A single tensor, or one that is copied or pooled to fp32, may have any type that is a number's.
      expect_each_refused(operation, "of another type", [&]<class T>(T& operand) {
        if constexpr (std::is_base_of_v<View, T>) {
          const bool pooled =
              operand.pixels() > 1 && (std::holds_alternative<op::GlobalAveragePool>(operation) ||
                                       std::holds_alternative<op::GlobalAveragePoolGradient>(operation));
          operand.dtype = type;
          return type == DType::kUInt8 || !(converts || pooled || tensors == 1);
        }
        return false;
      });
    }
  }
}

TEST_P(CheckOperandsTest, ConvolutionsTakeWholeTensorsInTheDevicesLayouts) {
  for (const Operation& operation : good()) {
    const auto shape = convolution_shape(operation);
    if (!shape) {
      continue;
    }
    expect_each_refused(operation, "in another layout", []<class T>(T& operand) {
      if constexpr (std::is_base_of_v<View, T>) {
        operand.layout = Layout::kPlanar;
        return true;
      }
      return false;
    });
    if (shape->input_use == Use::kSpatial) {  // alone, without batch norm
      expect_each_refused(operation, "a slice", []<class T>(T& operand) {
        if constexpr (std::is_base_of_v<View, T>) {
          operand.whole = false;
          return true;
        }
        return false;
      });
    }
  }
}

TEST_P(CheckOperandsTest, MatricesArePlanar) {
  for (const Operation& operation : good()) {
    expect_each_refused(operation, "interleaved", []<class T>(T& operand) {
      if constexpr (std::is_base_of_v<View, T>) {
        const bool is_matrix = operand.layout == Layout::kPlanar && operand.pixels() == 1;
        operand.layout = Layout::kInterleaved;
        return is_matrix;
      }
      return false;
    });
  }
}

TEST_P(CheckOperandsTest, NumbersMakeSense) {
  for (const Operation& operation : good()) {
    std::visit(
        [&]<class Op>(const Op& o) {
          if constexpr (requires { o.window; }) {
            for (const op::Window window : {op::Window{0, 2, 0}, {16, 2, 0}, {2, 0, 0}, {2, 2, -1}, {2, 2, 2}}) {
              Op bad = o;
              bad.window = window;
              expect_refusal(bad, "window");
            }
          }
          if constexpr (requires { o.kernel; }) {
            for (const int kernel : {0, 9}) {  // 8 by 6 pixels
              Op bad = o;
              bad.kernel = kernel;
              expect_refusal(bad, "window");
            }
          }
          if constexpr (requires { o.source; }) {
            Op bad = o;
            bad.source = 0;
            expect_refusal(bad, "source");
          }
          if constexpr (std::is_same_v<Op, op::UpdateRunning>) {
            Op bad = o;
            bad.count = 1;
            expect_refusal(bad, "count");
          }
          if constexpr (std::is_same_v<Op, op::Clear>) {
            expect_refusal(Op{}, "nothing");
          }
        },
        operation);
  }
}

TEST_P(CheckOperandsTest, WhatIsPreparedForInferenceHasNoBackward) {
  for (Operation operation : good()) {
    std::visit(
        [&]<class Op>(Op& o) {
          if constexpr (requires { o.shape.training; }) {
            o.shape.training = false;
            if constexpr (std::is_same_v<Op, op::Convolution> || std::is_same_v<Op, op::NormConvolution>) {
              check_operands(device(), operation);
            } else {
              expect_error([&] { check_operands(device(), operation); }, "prepared for inference");
            }
          }
        },
        operation);
  }
}

// prepare() checks before anything else.
TEST_P(CheckOperandsTest, IsPartOfPreparing) {
  expect_error([&] { device().prepare(op::Clear{}); }, "clear: there is neither a tensor nor memory");
}

RUN_ON_DEVICES(CheckOperandsTest);

}  // namespace
}  // namespace densetree::test
