#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <sstream>

#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/network_input.h"
#include "tests/cuda_emulation/library_numbers.h"

namespace densetree::cuda {
namespace {

emulation::Numbers numbers(const ConvolutionShape& shape, void* data) {
  return {data, shape.precision == Precision::kBFloat16};
}

// Calls visit(pixel of the input, pixel of the output, tap) for each tap that falls into the image.
template <class Visit>
void for_each_tap(const ConvolutionShape& s, const Visit& visit) {
  const Shape in = s.input, out = s.output();
  for (std::int64_t n = 0; n < out.n; ++n) {
    for (std::int64_t y = 0; y < out.h; ++y) {
      for (std::int64_t x = 0; x < out.w; ++x) {
        for (std::int64_t tap = 0; tap < s.kernel * s.kernel; ++tap) {
          const std::int64_t in_y = y * s.stride - s.padding + tap / s.kernel;
          const std::int64_t in_x = x * s.stride - s.padding + tap % s.kernel;
          if (in_y >= 0 && in_y < in.h && in_x >= 0 && in_x < in.w) {
            visit((n * in.h + in_y) * in.w + in_x, (n * out.h + y) * out.w + x, tap);
          }
        }
      }
    }
  }
}

double dot(const double* a, const double* b, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

// to += factor·from
void add(double factor, const double* from, std::int64_t count, double* to) {
  for (std::int64_t i = 0; i < count; ++i) {
    to[i] += factor * from[i];
  }
}

// x: [pixel][pitch], y: [pixel][O], w: [O][tap][C]. The one that the pass computes is written, the others are read.
void convolve(const ConvolutionShape& s, Pass pass, void* x_data, void* w_data, void* y_data) {
  const std::int64_t inputs = s.input.c, outputs = s.out_channels, taps = s.kernel * s.kernel, pitch = pitch_of(s);
  const auto operand = [&](void* data, std::int64_t count, Pass computed) {
    std::vector<double> values(count);
    for (std::int64_t i = 0; i < count && pass != computed; ++i) {
      values[i] = numbers(s, data).operand(i, s.precision == Precision::kTensorFloat32);
    }
    return values;
  };
  std::vector<double> x = operand(x_data, s.input.n * s.input.pixels() * pitch, Pass::kBackwardData);
  std::vector<double> w = operand(w_data, s.weights(), Pass::kBackwardWeights);
  std::vector<double> y = operand(y_data, s.output().elements(), Pass::kForward);
  for_each_tap(s, [&](std::int64_t in, std::int64_t out, std::int64_t tap) {
    double* const xs = &x[in * pitch];
    for (std::int64_t o = 0; o < outputs; ++o) {
      double* const ws = &w[(o * taps + tap) * inputs];
      double& value = y[out * outputs + o];
      switch (pass) {
        case Pass::kForward:
          value += dot(xs, ws, inputs);
          break;
        case Pass::kBackwardData:
          add(value, ws, inputs, xs);
          break;
        case Pass::kBackwardWeights:
          add(value, xs, inputs, ws);
          break;
      }
    }
  });
  const auto store = [&](const std::vector<double>& sums, void* to) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
      numbers(s, to).set(static_cast<std::int64_t>(i), sums[i]);
    }
  };
  switch (pass) {
    case Pass::kForward:
      store(y, y_data);
      break;
    case Pass::kBackwardData:
      store(x, x_data);
      break;
    case Pass::kBackwardWeights:
      store(w, w_data);
      break;
  }
}

}  // namespace

const char* name_of(Pass pass) {
  return pass == Pass::kForward ? "forward" : pass == Pass::kBackwardData ? "backward data" : "backward weights";
}

// As cuDNN, a plan wants some, and another amount for each pass. It writes all of that, so it has to be there.
std::size_t ConvolutionPlan::workspace_bytes() const {
  return 1000 * (1 + static_cast<std::size_t>(pass_));
}

void ConvolutionPlan::run(cudnnHandle_t handle, const void* x, const void* w, const void* y, void* workspace) const {
  emulation::enqueue(handle->stream, [plan = *this, x, w, y, workspace] {
    std::memset(workspace, 0xFF, plan.workspace_bytes());
    convolve(plan.shape_, plan.pass_, const_cast<void*>(x), const_cast<void*>(w), const_cast<void*>(y));
  });
}

void NormConvolutionPlan::run(cudnnHandle_t handle, const void* x, const float* scale, const float* shift,
                              const void* w, void* y, void* workspace) const {
  emulation::enqueue(handle->stream, [plan = *this, x, scale, shift, w, y, workspace] {
    std::memset(workspace, 0xFF, plan.workspace_bytes());
    const ConvolutionShape& s = plan.shape_;
    const std::int64_t pixels = s.input.n * s.input.pixels(), inputs = s.input.c, outputs = s.out_channels;
    const std::size_t size = s.precision == Precision::kBFloat16 ? 2 : 4;
    std::vector<std::byte> activated(pixels * inputs * size),
        result(s.output().n * s.output().pixels() * outputs * size);
    for (std::int64_t p = 0; p < pixels; ++p) {
      for (std::int64_t c = 0; c < inputs; ++c) {
        const double value = numbers(s, const_cast<void*>(x)).at(p * plan.x_.of + c) * scale[c] + shift[c];
        numbers(s, activated.data()).set(p * inputs + c, std::isnan(value) ? value : std::max(value, 0.0));
      }
    }
    convolve(s, Pass::kForward, activated.data(), const_cast<void*>(w), result.data());
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(result.size() / size); ++i) {
      numbers(s, y).set(i / outputs * plan.y_.of + i % outputs, numbers(s, result.data()).at(i));
    }
  });
}

std::vector<NormConvolutionPlan> norm_convolution_plans_for(const Target&, const ConvolutionShape& shape,
                                                            ChannelSlice x, ChannelSlice y, std::size_t,
                                                            std::string* why_not) {
  if (shape.precision == Precision::kFloat32) {
    *why_not = "cuDNN's fused kernels would round to TF32";
    return {};
  }
  ++emulation::plans_compiled;
  return {NormConvolutionPlan(shape, x, y)};
}

StoredPlan NormConvolutionPlan::store() const {
  return {name_, fmt::format("{} {} {} {}", x_.first, x_.of, y_.first, y_.of)};
}

NormConvolutionPlan load_norm_convolution_plan(const Target&, const ConvolutionShape& shape, const StoredPlan& stored) {
  ChannelSlice x, y;
  std::istringstream(stored.json) >> x.first >> x.of >> y.first >> y.of;
  return NormConvolutionPlan(shape, x, y);
}

std::vector<ConvolutionPlan> plans_for(const Target&, const ConvolutionShape& shape, Pass pass, std::size_t limit) {
  std::vector<ConvolutionPlan> plans;
  for (std::size_t number = 0; number < std::min<std::size_t>(limit, 2); ++number) {
    plans.emplace_back(shape, pass, number);
  }
  return plans;
}

}  // namespace densetree::cuda
