// Convolutions forward, backward data and backward weights against float64.
#include "tests/kernels/op_case.h"
#include "tests/kernels/unbound.h"

namespace densetree::test {
namespace {

// |error| <= kTolerance·eps·Σ|terms|: products summed in fp32 in any order, the terms of either sign.
constexpr double kTolerance = 4;

ConvolutionShape convolution(const Shape& input, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                             std::int64_t padding, Use input_use, Use output_use) {
  ConvolutionShape shape;
  shape.input = input;
  shape.out_channels = out, shape.kernel = kernel, shape.stride = stride, shape.padding = padding;
  shape.input_use = input_use, shape.output_use = output_use;
  return shape;
}

std::vector<ConvolutionShape> cases() {
  std::vector<ConvolutionShape> all;
  for (const Shape& input : {Shape{2, 3, 17, 13}, Shape{1, 3, 32, 32}, Shape{3, 1, 7, 5}}) {
    for (std::int64_t out : {16, 24, 64}) {
      all.push_back(convolution(input, out, 7, 2, 3, Use::kInput, Use::kSpatial));
    }
  }
  for (const Shape& input : {Shape{1, 16, 7, 5}, Shape{3, 33, 13, 13}, Shape{2, 64, 1, 1}, Shape{2, 24, 7, 5},
                             Shape{2, 3, 4, 4}, Shape{1, 8, 13, 13}}) {
    for (std::int64_t out : {8, 32, 33}) {
      all.push_back(convolution(input, out, 3, 1, 1, Use::kSpatial, Use::kSpatial));
    }
  }
  for (const Shape& input : {Shape{1, 3, 7, 5}, Shape{3, 8, 13, 13}, Shape{2, 16, 1, 1}, Shape{2, 24, 7, 5},
                             Shape{1, 33, 13, 13}, Shape{3, 64, 7, 5}, Shape{2, 256, 4, 4}}) {
    for (std::int64_t out : {3, 16, 33, 128}) {
      all.push_back(convolution(input, out, 1, 1, 0, Use::kStack, Use::kStack));
    }
  }
  all.push_back(convolution({2, 16, 9, 7}, 24, 3, 2, 1, Use::kSpatial, Use::kSpatial));
  all.push_back(convolution({2, 8, 9, 7}, 16, 5, 1, 2, Use::kSpatial, Use::kSpatial));
  all.push_back(convolution({1, 3, 15, 15}, 16, 3, 1, 1, Use::kInput, Use::kSpatial));
  return all;
}

// A convolution on a device with its operands, from host values to host values.
class DeviceConvolution {
 public:
  DeviceConvolution(Device& device, const ConvolutionShape& shape)
      : device_(device),
        shape_(shape),
        input_{device.layout(shape.input_use), 0, 0, element_type(shape.precision)},
        output_{device.layout(shape.output_use), 0, 0, element_type(shape.precision)} {}

  Values forward(const Values& x, const Values& w) const {
    const Tensor input(device_, shape_.input, input_, x), output(device_, shape_.output(), output_);
    const Floats weights(device_, w);
    run(device_, op::Convolution{.shape = shape_, .x = input, .w = weights, .y = output});
    output.expect_clean();
    input.expect_unchanged();
    EXPECT_EQ(weights.read(), w);
    return output.read();
  }
  Values data_gradient(const Values& dy, const Values& w) const {
    const Tensor gradient(device_, shape_.output(), output_, dy), input(device_, shape_.input, input_);
    const Floats weights(device_, w);
    run(device_, op::ConvolutionDataGradient{.shape = shape_, .dy = gradient, .w = weights, .dx = input});
    input.expect_clean();
    gradient.expect_unchanged();
    return input.read();
  }
  Values weight_gradient(const Values& x, const Values& dy) const {
    const Tensor input(device_, shape_.input, input_, x), gradient(device_, shape_.output(), output_, dy);
    const Floats weights(device_, shape_.weights());
    run(device_, op::ConvolutionWeightGradient{.shape = shape_, .x = input, .dy = gradient, .dw = weights});
    input.expect_unchanged();
    gradient.expect_unchanged();
    return weights.read();
  }

 private:
  Device& device_;
  ConvolutionShape shape_;
  Placement input_, output_;
};

struct Data {
  Values x, w, dy;
};
Data data_for(const ConvolutionShape& shape) {
  return {random_values(shape.input.elements(), 1), random_values(shape.weights(), 2),
          random_values(shape.output().elements(), 3)};
}

std::string name_of_case(const ConvolutionShape& s) {
  return fmt::format("{}x{} stride {}, ({}, {}, {}, {}) to {}", s.kernel, s.kernel, s.stride, s.input.n, s.input.c,
                     s.input.h, s.input.w, s.out_channels);
}

class ConvolutionTest : public OpTest {};

TEST_P(ConvolutionTest, Forward) {
  for (const ConvolutionShape& shape : cases()) {
    const Data d = data_for(shape);
    const Values scale = reference::convolution_forward(shape, reference::absolute(d.x), reference::absolute(d.w));
    expect_close(DeviceConvolution(device(), shape).forward(d.x, d.w), reference::convolution_forward(shape, d.x, d.w),
                 times(scale, kTolerance * kEps), name_of_case(shape));
  }
}

TEST_P(ConvolutionTest, DataGradient) {
  for (const ConvolutionShape& shape : cases()) {
    if (shape.input_use == Use::kInput) continue;  // nobody asks for the gradient of an image
    const Data d = data_for(shape);
    const Values scale =
        reference::convolution_backward_data(shape, reference::absolute(d.dy), reference::absolute(d.w));
    expect_close(DeviceConvolution(device(), shape).data_gradient(d.dy, d.w),
                 reference::convolution_backward_data(shape, d.dy, d.w), times(scale, kTolerance * kEps),
                 name_of_case(shape));
  }
}

TEST_P(ConvolutionTest, WeightGradient) {
  for (const ConvolutionShape& shape : cases()) {
    const Data d = data_for(shape);
    const Values scale =
        reference::convolution_backward_weights(shape, reference::absolute(d.x), reference::absolute(d.dy));
    expect_close(DeviceConvolution(device(), shape).weight_gradient(d.x, d.dy),
                 reference::convolution_backward_weights(shape, d.x, d.dy), times(scale, kTolerance * kEps),
                 name_of_case(shape));
  }
}

// A convolution is linear in x and in w, so central differences of any width are exact but for rounding.
TEST_P(ConvolutionTest, GradientsAreFiniteDifferences) {
  for (const ConvolutionShape& shape : {convolution({2, 3, 9, 7}, 16, 7, 2, 3, Use::kInput, Use::kSpatial),
                                        convolution({2, 24, 7, 5}, 8, 3, 1, 1, Use::kSpatial, Use::kSpatial),
                                        convolution({2, 33, 7, 5}, 24, 1, 1, 0, Use::kStack, Use::kStack)}) {
    const Data d = data_for(shape);
    const DeviceConvolution on_device(device(), shape);
    expect_directional([&](const Values& w) { return dot(d.dy, on_device.forward(d.x, w)); }, d.w,
                       on_device.weight_gradient(d.x, d.dy), 0.5, 1e-5, name_of_case(shape) + " weights");
    if (shape.input_use == Use::kInput) continue;
    expect_directional([&](const Values& x) { return dot(d.dy, on_device.forward(x, d.w)); }, d.x,
                       on_device.data_gradient(d.dy, d.w), 0.5, 1e-5, name_of_case(shape) + " data");
  }
}

TEST_P(ConvolutionTest, TwoRunsGiveTheSameBits) {
  for (const ConvolutionShape& shape : {convolution({4, 3, 33, 33}, 64, 7, 2, 3, Use::kInput, Use::kSpatial),
                                        convolution({4, 64, 13, 13}, 32, 3, 1, 1, Use::kSpatial, Use::kSpatial),
                                        convolution({4, 33, 13, 13}, 24, 3, 1, 1, Use::kSpatial, Use::kSpatial),
                                        convolution({4, 64, 13, 13}, 128, 1, 1, 0, Use::kStack, Use::kStack)}) {
    const Data d = data_for(shape);
    const DeviceConvolution first(device(), shape), second(device(), shape);
    EXPECT_EQ(first.forward(d.x, d.w), second.forward(d.x, d.w)) << name_of_case(shape);
    EXPECT_EQ(first.weight_gradient(d.x, d.dy), second.weight_gradient(d.x, d.dy)) << name_of_case(shape);
    if (shape.input_use == Use::kInput) {
      continue;
    }
    EXPECT_EQ(first.data_gradient(d.dy, d.w), second.data_gradient(d.dy, d.w)) << name_of_case(shape);
  }
}

// TF32 keeps ten bits of each factor's mantissa, rounded or cut off: at most 2^-10 of it is lost.
TEST_P(ConvolutionTest, TensorFloat32IsCloseWhereTheDeviceHasIt) {
  if (const std::string why_not = device().why_not(Precision::kTensorFloat32); !why_not.empty()) {
    GTEST_SKIP() << why_not;
  }
  constexpr double kLoss = 0x1p-9 + kTolerance * kEps;
  for (ConvolutionShape shape : cases()) {
    shape.precision = Precision::kTensorFloat32;
    const Data d = data_for(shape);
    const Values x = reference::absolute(d.x), w = reference::absolute(d.w), dy = reference::absolute(d.dy);
    const DeviceConvolution on_device(device(), shape);
    expect_close(on_device.forward(d.x, d.w), reference::convolution_forward(shape, d.x, d.w),
                 times(reference::convolution_forward(shape, x, w), kLoss), name_of_case(shape) + " forward");
    expect_close(on_device.weight_gradient(d.x, d.dy), reference::convolution_backward_weights(shape, d.x, d.dy),
                 times(reference::convolution_backward_weights(shape, x, dy), kLoss), name_of_case(shape) + " weights");
    if (shape.input_use == Use::kInput) continue;
    expect_close(on_device.data_gradient(d.dy, d.w), reference::convolution_backward_data(shape, d.dy, d.w),
                 times(reference::convolution_backward_data(shape, dy, w), kLoss), name_of_case(shape) + " data");
  }
}

// Of operands that bf16 holds exactly the products are summed in fp32, and the result is rounded to bf16 once.
TEST_P(ConvolutionTest, BFloat16RoundsOnceWhereTheDeviceHasIt) {
  if (const std::string why_not = device().why_not(Precision::kBFloat16); !why_not.empty()) {
    GTEST_SKIP() << why_not;
  }
  const auto tolerance = [](const Values& expected, const Values& scale) {
    return plus(times(scale, kTolerance * kEps), bounded(expected, 0x1.01p-8, 0));
  };
  for (ConvolutionShape shape : cases()) {
    shape.precision = Precision::kBFloat16;
    Data d = data_for(shape);
    for (Values* values : {&d.x, &d.w, &d.dy}) {
      *values = rounded_to(DType::kBFloat16, std::move(*values));
    }
    const Values x = reference::absolute(d.x), w = reference::absolute(d.w), dy = reference::absolute(d.dy);
    const Values forward = reference::convolution_forward(shape, d.x, d.w),
                 weights = reference::convolution_backward_weights(shape, d.x, d.dy),
                 data = reference::convolution_backward_data(shape, d.dy, d.w);
    const Values of_forward = tolerance(forward, reference::convolution_forward(shape, x, w)),
                 of_weights = tolerance(weights, reference::convolution_backward_weights(shape, x, dy)),
                 of_data = tolerance(data, reference::convolution_backward_data(shape, dy, w));
    const DeviceConvolution on_device(device(), shape);
    expect_close(on_device.forward(d.x, d.w), forward, of_forward, name_of_case(shape) + " forward");
    expect_close(on_device.weight_gradient(d.x, d.dy), weights, of_weights, name_of_case(shape) + " weights");
    if (shape.input_use != Use::kInput) {
      expect_close(on_device.data_gradient(d.dy, d.w), data, of_data, name_of_case(shape) + " data");
    }
  }
}

TEST_P(ConvolutionTest, ForInferenceGoesForwardOnly) {
  ConvolutionShape shape = convolution({1, 16, 7, 5}, 8, 3, 1, 1, Use::kSpatial, Use::kSpatial);
  shape.training = false;
  const Data d = data_for(shape);
  const DeviceConvolution on_device(device(), shape);
  const Values scale = reference::convolution_forward(shape, reference::absolute(d.x), reference::absolute(d.w));
  expect_close(on_device.forward(d.x, d.w), reference::convolution_forward(shape, d.x, d.w),
               times(scale, kTolerance * kEps), "inference");
  EXPECT_THROW(on_device.data_gradient(d.dy, d.w), Error);
  EXPECT_THROW(on_device.weight_gradient(d.x, d.dy), Error);
}

TEST_P(ConvolutionTest, RefusesOperandsOfAnotherShape) {
  const ConvolutionShape shape = convolution({2, 16, 7, 5}, 8, 3, 1, 1, Use::kSpatial, Use::kSpatial);
  const Placement place{device().layout(Use::kSpatial)};
  const Tensor x(device(), shape.input, place), y(device(), shape.output(), place),
      other(device(), {2, 16, 5, 7}, place);
  const Floats w(device(), shape.weights());
  for (const Operation& operation : std::vector<Operation>{
           op::Convolution{shape, other, w, y}, op::Convolution{shape, x, w, x},
           op::ConvolutionDataGradient{shape, x, w, x}, op::ConvolutionWeightGradient{shape, x, x, w}}) {
    expect_error([&] { prepared(device(), operation); }, shape.describe() + ": ");
  }
}

TEST_P(ConvolutionTest, AKernelRunsNoOtherPass) {
  const ConvolutionShape shape = convolution({2, 16, 7, 5}, 16, 3, 1, 1, Use::kSpatial, Use::kSpatial);
  const Placement place{device().layout(Use::kSpatial)};
  const Tensor x(device(), shape.input, place), y(device(), shape.output(), place);
  const Floats w(device(), shape.weights());
  const auto forward = prepared(device(), op::Convolution{shape, x, w, y});
  EXPECT_ANY_THROW(run(device(), *forward, op::ConvolutionDataGradient{shape, y, w, x}));
  EXPECT_ANY_THROW(run(device(), *forward, op::Copy{x, y}));
}

TEST_P(ConvolutionTest, RefusesImpossibleShapes) {
  const auto prepare = [&](const Shape& input, std::int64_t out, std::int64_t kernel, std::int64_t stride) {
    const ConvolutionShape shape = convolution(input, out, kernel, stride, 0, Use::kSpatial, Use::kSpatial);
    prepared(device(), op::Convolution{.shape = shape, .x = {}, .w = {}, .y = {}});
  };
  expect_error([&] { prepare({1, 16, 2, 2}, 8, 3, 1); }, "conv");  // the kernel does not fit
  expect_error([&] { prepare({1, 16, 2, 2}, 0, 1, 1); }, "conv");
  expect_error([&] { prepare({0, 16, 2, 2}, 8, 1, 1); }, "conv");
  expect_error([&] { prepare({1, 16, 2, 2}, 8, 1, 0); }, "conv");
  for (const Precision precision : {Precision::kTensorFloat32, Precision::kBFloat16}) {
    ConvolutionShape shape = convolution({1, 16, 2, 2}, 16, 1, 1, 0, Use::kStack, Use::kStack);
    shape.precision = precision;
    if (const std::string why_not = device().why_not(precision); !why_not.empty()) {
      const densetree::Tensor x = make_view(nullptr, shape.input, device().layout(Use::kStack));
      expect_error([&] { prepared(device(), op::Convolution{.shape = shape, .x = x, .w = {}, .y = x}); }, why_not);
      expect_error([&] { prepared(device(), unbound_norm_convolution(device(), shape, {0, 16}, {0, 16})); }, why_not);
    }
  }
}

TEST(ConvolutionShape, DescribesItself) {
  EXPECT_EQ(convolution({16, 128, 56, 56}, 32, 3, 1, 1, Use::kSpatial, Use::kSpatial).describe(),
            "conv 3x3 stride 1 (16, 128, 56, 56) -> 32");
}

RUN_ON_DEVICES(ConvolutionTest);

}  // namespace
}  // namespace densetree::test
