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
  // An operand to be changed: a tensor, or an array of which there is the number of elements.
  struct Operand {
    int index = 0;
    densetree::Tensor* tensor = nullptr;
    std::int64_t* count = nullptr;
    StorageId* storage = nullptr;
    bool is_fp64 = false;
  };
  static std::vector<Operand> operands_of(Operation& operation) {
    std::vector<Operand> found;
    for_each_operand(operation, [&]<class T>(Access, T& operand) {
      Operand o{.index = static_cast<int>(found.size()), .storage = &operand.storage};
      if constexpr (std::is_same_v<T, densetree::Tensor>) {
        o.tensor = &operand;
      } else {
        o.count = &operand.count;
        o.is_fp64 = std::is_same_v<T, densetree::Array<double>>;
      }
      found.push_back(o);
    });
    return found;
  }
  static std::int64_t tensors_of(Operation operation) {
    return std::ranges::count_if(operands_of(operation), [](const Operand& o) { return o.tensor != nullptr; });
  }
  // One operand after the other is changed, where `change` says that it did.
  void expect_each_refused(const Operation& operation, const std::string& what,
                           const std::function<bool(const Operand&)>& change) const {
    Operation changed = operation;
    const std::size_t operands = operands_of(changed).size();
    for (std::size_t i = 0; i < operands; ++i) {
      changed = operation;
      if (change(operands_of(changed)[i])) {
        expect_refusal(changed, fmt::format("operand {} {}", i, what));
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

template <class... Ops>
bool is_one_of(const Operation& operation) {
  return (std::holds_alternative<Ops>(operation) || ...);
}

TEST_P(CheckOperandsTest, ArraysHoldWhatTheTensorsAsk) {
  for (const Operation& operation : good()) {
    // As many gradients as there are, as many bytes.
    const bool any_count = is_one_of<op::AllReduce, op::L2Norm, op::Clear>(operation);
    for (const std::int64_t more : {-1, 1}) {
      expect_each_refused(operation, "of another count", [&](const Operand& o) {
        if (o.count != nullptr) {
          *o.count += more;
        }
        return o.count != nullptr && (!any_count || o.is_fp64);
      });
    }
    expect_each_refused(operation, "empty", [](const Operand& o) {
      (o.tensor ? o.tensor->n : *o.count) = 0;
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
    expect_each_refused(operation, "missing", [&](const Operand& o) {
      *o.storage = -1;
      return !optional.contains({name_of(operation), o.index});
    });
    SCOPED_TRACE(name_of(operation));
    std::visit([&]<class Op>(const Op&) { EXPECT_THROW(check_operands(device(), Op{}), Error); }, operation);
  }
}

TEST_P(CheckOperandsTest, TensorsHaveTheShapeThatFollowsFromTheOthers) {
  for (const Operation& operation : good()) {
    const bool is_image = is_one_of<op::ImagesToInput>(operation);  // of any size
    if (is_one_of<op::Clear>(operation) || (tensors_of(operation) < 2 && !is_image)) {
      continue;
    }
    const bool to_one_pixel = is_one_of<op::GlobalAveragePool, op::GlobalAveragePoolGradient>(operation);
    for (std::int64_t View::*side : {&View::n, &View::c, &View::h, &View::w}) {
      const bool in_plane = side == &View::h || side == &View::w;
      expect_each_refused(operation, "of another shape", [&](const Operand& o) {
        if (o.tensor == nullptr || (in_plane && (is_image || (to_one_pixel && o.tensor->pixels() > 1)))) {
          return false;
        }
        o.tensor->*side += 2;  // of a pooled side a single one more may be a remainder
        return true;
      });
    }
  }
}

TEST_P(CheckOperandsTest, TensorsHaveOneType) {
  for (const Operation& operation : good()) {
    const bool to_fp32 = is_one_of<op::GlobalAveragePool, op::GlobalAveragePoolGradient>(operation);
    for (const DType type : {DType::kBFloat16, DType::kUInt8}) {
      expect_each_refused(operation, "of another type", [&](const Operand& o) {
        if (o.tensor == nullptr) {
          return false;
        }
        o.tensor->dtype = type;
        const bool any_float = is_one_of<op::Copy, op::Add>(operation) || tensors_of(operation) == 1 ||
                               (to_fp32 && o.tensor->pixels() > 1);
        return type == DType::kUInt8 || !any_float;
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
    expect_each_refused(operation, "in another layout", [](const Operand& o) {
      if (o.tensor != nullptr) {
        o.tensor->layout = Layout::kPlanar;
      }
      return o.tensor != nullptr;
    });
    if (shape->input_use == Use::kSpatial) {  // alone, without batch norm
      expect_each_refused(operation, "a slice", [](const Operand& o) {
        if (o.tensor != nullptr) {
          o.tensor->whole = false;
        }
        return o.tensor != nullptr;
      });
    }
  }
}

TEST_P(CheckOperandsTest, MatricesArePlanar) {
  for (const Operation& operation : good()) {
    expect_each_refused(operation, "interleaved", [](const Operand& o) {
      const bool is_matrix = o.tensor != nullptr && o.tensor->layout == Layout::kPlanar && o.tensor->pixels() == 1;
      if (is_matrix) {
        o.tensor->layout = Layout::kInterleaved;
      }
      return is_matrix;
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
