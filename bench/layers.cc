// The parts of a DenseNet-121 step, one by one: convolutions in FLOP/s, everything else in bytes/s, and beside them
// what this machine can do at most: a large 3×3 convolution and a large copy.
#include <benchmark/benchmark.h>

#include <cstring>

#include "bench/harness.h"
#include "kernels/core/error.h"
#include "kernels/device_array.h"

namespace densetree::bench {
namespace {

using benchmark::Counter;
using benchmark::State;

// Runs body over and over, each run timed by the device's own clock, with the rates that one run stands for.
void time_loop(State& state, Device& device, double bytes, double flops, const std::function<void()>& body) {
  const auto stopwatch = device.make_stopwatch();
  body();
  for (auto _ : state) {
    stopwatch->clear();
    stopwatch->mark();
    body();
    stopwatch->mark();
    state.SetIterationTime(stopwatch->seconds_between(0, 1));
  }
  if (bytes > 0) {
    state.counters["bytes"] = Counter(bytes, Counter::kIsIterationInvariantRate);
  }
  if (flops > 0) {
    state.counters["FLOP"] = Counter(flops, Counter::kIsIterationInvariantRate);
  }
}

// An operation with the kernel and the workspace that run it.
class Prepared {
 public:
  Prepared(Device& device, const Operation& operation)
      : operation_(operation), kernel_(prepare(device, operation)), workspace_(device, kernel_->workspace_bytes()) {}
  void run() const { kernel_->run(operation_, workspace_.as()); }

 private:
  static std::unique_ptr<Kernel> prepare(Device& device, const Operation& operation) {
    std::vector<Refusal> refusals;
    auto kernel = device.prepare(operation, &refusals);
    check(kernel != nullptr, "{} {}: nothing computes it", name_of(operation), describe(operation));
    return kernel;
  }
  Operation operation_;
  std::unique_ptr<Kernel> kernel_;
  Buffer workspace_;
};

void time_operation(State& state, Device& device, double bytes, double flops, const Operation& operation) {
  const Prepared prepared(device, operation);
  time_loop(state, device, bytes, flops, [&] { prepared.run(); });
}

void add(const std::string& name, const std::function<void(State&)>& body) {
  benchmark::RegisterBenchmark(name.c_str(), body)->Unit(benchmark::kMillisecond)->UseManualTime();
}

std::string text(const Shape& s) {
  return fmt::format("{}x{}x{}x{}", s.n, s.c, s.h, s.w);
}

double bytes_of(const Shape& shape, DType type) {
  return static_cast<double>(shape.elements()) * static_cast<double>(size_of(type));
}

// ---- Convolutions

void add_convolution(Device& device, const std::string& family, const ConvolutionShape& shape) {
  const auto add_pass = [&](const char* name, auto operation_on) {
    add(fmt::format("{}/{}/{}->{}", family, name, text(shape.input), shape.out_channels),
        [&device, shape, operation_on](State& state) {
          const DType type = element_type(shape.precision);
          const RandomTensor x(device, shape.input, shape.input_use, type),
              y(device, shape.output(), shape.output_use, type);
          const Buffer w(device, shape.weights() * sizeof(float));
          const Shape out = shape.output();
          const double flops = 2.0 * static_cast<double>(shape.weights()) * static_cast<double>(out.n * out.pixels());
          time_operation(state, device, 0, flops, operation_on(x.view, Array<float>(w.as(), shape.weights()), y.view));
        });
  };
  add_pass("forward", [shape](const Tensor& x, const Array<float>& w, const Tensor& y) {
    return op::Convolution{.shape = shape, .x = x, .w = w, .y = y};
  });
  if (shape.input_use != Use::kInput) {  // nobody asks for the gradient of an image
    add_pass("backward_data", [shape](const Tensor& dx, const Array<float>& w, const Tensor& dy) {
      return op::ConvolutionDataGradient{.shape = shape, .dy = dy, .w = w, .dx = dx};
    });
  }
  add_pass("backward_weights", [shape](const Tensor& x, const Array<float>& dw, const Tensor& dy) {
    return op::ConvolutionWeightGradient{.shape = shape, .x = x, .dy = dy, .dw = dw};
  });
}

void add_convolutions(Device& device, std::int64_t batch, Precision precision) {
  const auto spatial = [&](std::int64_t in, std::int64_t side, std::int64_t out) {
    return ConvolutionShape{.input = {batch, in, side, side},
                            .out_channels = out,
                            .kernel = 3,
                            .padding = 1,
                            .input_use = Use::kSpatial,
                            .output_use = Use::kSpatial,
                            .precision = precision};
  };
  add_convolution(device, "ceiling/conv3x3", spatial(256, 56, 256));
  add_convolution(device, "conv7x7",
                  {.input = {batch, 3, 224, 224},
                   .out_channels = 64,
                   .kernel = 7,
                   .stride = 2,
                   .padding = 3,
                   .input_use = Use::kInput,
                   .output_use = Use::kSpatial,
                   .precision = precision});
  // Side, and the channels that the first, a middle and the last layer of a block read; then the transition.
  const std::pair<std::int64_t, std::vector<std::int64_t>> blocks[] = {
      {56, {64, 128, 224}}, {28, {128, 288, 480}}, {14, {256, 608, 992}}, {7, {512, 736, 992}}};
  for (const auto& [side, channels] : blocks) {
    for (const std::int64_t c : channels) {
      add_convolution(device, "conv1x1",
                      {.input = {batch, c, side, side}, .out_channels = 128, .precision = precision});
    }
    add_convolution(device, "conv3x3", spatial(128, side, 32));
  }
  for (const auto& [c, side] : {std::pair<std::int64_t, std::int64_t>{256, 28}, {512, 14}, {1024, 7}}) {
    add_convolution(device, "transition1x1",
                    {.input = {batch, c, side, side}, .out_channels = c / 2, .precision = precision});
  }
}

// ---- Batch norm, ReLU and convolution in one: the layers of the blocks, where the device has them

// The per-channel numbers that batch norm takes and gives, for c channels.
struct ChannelData {
  ChannelData(Device& device, std::int64_t c)
      : floats(device, 6 * c * sizeof(float), 0.5f, 1.5f),
        doubles(device, 2 * c * sizeof(double)),
        statistics{part(0, c), part(1, c), part(2, c)},
        affine{part(0, c), part(2, c), part(3, c), part(4, c)},
        sums{{doubles.as<double>(), c}, {doubles.as<double>() + c, c}},
        gradients(part(5, c)) {
    device.fill(doubles.as(), 0, 2 * c * sizeof(double));
  }
  Array<float> part(std::int64_t index, std::int64_t c) const { return {floats.as() + index * c, c}; }

  Buffer floats, doubles;
  op::Statistics statistics;
  op::Affine affine;
  op::GradientSums sums;
  Array<float> gradients;
};

void add_norm_convolution(Device& device, const ConvolutionShape& shape) {
  const DType type = element_type(shape.precision);
  const auto unbound = [](auto operand) {
    operand.storage = 0;
    return operand;
  };
  const auto stack = [&](const Shape& of) {
    return unbound(Tensor(make_view(nullptr, of, device.layout(Use::kStack), type)));
  };
  const auto array = [&](std::int64_t count) { return unbound(Array<float>(nullptr, count)); };
  const auto channels = array(shape.input.c);
  if (!device.prepare(op::NormConvolution{.shape = shape,
                                          .x = stack(shape.input),
                                          .affine = {channels, channels, channels, channels},
                                          .w = array(shape.weights()),
                                          .y = stack(shape.output()),
                                          .eps = 1e-5f})) {
    return;
  }
  for (const bool forward : {true, false}) {
    const std::string name = fmt::format("norm_conv{0}x{0}/{1}/{2}->{3}", shape.kernel,
                                         forward ? "forward" : "backward", text(shape.input), shape.out_channels);
    add(name, [=, &device](State& state) {
      const RandomTensor x(device, shape.input, Use::kStack, type), s(device, shape.input, Use::kStack, type),
          y(device, shape.output(), Use::kStack, type);
      const ChannelData in(device, shape.input.c), out(device, shape.out_channels);
      const Buffer floats(device, 2 * shape.weights() * sizeof(float));
      const Array<float> w(floats.as(), shape.weights()), dw(floats.as() + shape.weights(), shape.weights());
      const double bytes = (forward ? 1 : 3) * bytes_of(shape.input, type) + bytes_of(shape.output(), type),
                   flops = 2.0 * static_cast<double>(shape.weights() * shape.output().n * shape.output().pixels());
      if (forward) {
        time_operation(state, device, bytes, flops,
                       op::NormConvolution{.shape = shape,
                                           .x = x.view,
                                           .affine = in.affine,
                                           .w = w,
                                           .y = y.view,
                                           .eps = 1e-5f,
                                           .statistics = out.statistics});
      } else {
        time_operation(state, device, bytes, 2 * flops,
                       op::NormConvolutionGradient{.shape = shape,
                                                   .x = x.view,
                                                   .affine = in.affine,
                                                   .w = w,
                                                   .dy = y.view,
                                                   .mode = GradMode::kAccumulate,
                                                   .s = s.view,
                                                   .sums = in.sums,
                                                   .dw = dw,
                                                   .dgamma = in.gradients,
                                                   .dbeta = in.gradients});
      }
    });
  }
}

void add_norm_convolutions(Device& device, std::int64_t batch, Precision precision) {
  const std::pair<std::int64_t, std::vector<std::int64_t>> blocks[] = {
      {56, {64, 128, 224}}, {28, {128, 288, 480}}, {14, {256, 608, 992}}, {7, {512, 736, 992}}};
  for (const auto& [side, channels] : blocks) {
    for (const std::int64_t c : channels) {
      add_norm_convolution(device, {.input = {batch, c, side, side}, .out_channels = 128, .precision = precision});
    }
    add_norm_convolution(
        device,
        {.input = {batch, 128, side, side}, .out_channels = 32, .kernel = 3, .padding = 1, .precision = precision});
  }
}

// ---- Everything else

// What the layer that reads `shape`, a prefix of a stack, does around its 1×1 convolution.
void add_norms(Device& device, const Shape& shape, DType type) {
  const double tensor = bytes_of(shape, type);
  add("affine_relu/" + text(shape), [=, &device](State& state) {
    const RandomTensor x(device, shape, Use::kStack, type), y(device, shape, Use::kStack, type);
    const ChannelData c(device, shape.c);
    time_operation(state, device, 2 * tensor, 0, op::AffineRelu{.x = x.view, .affine = c.affine, .y = y.view});
  });
  for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
    const bool accumulate = mode == GradMode::kAccumulate;
    add(fmt::format("affine_relu_backward{}/{}", accumulate ? "+=" : "=", text(shape)), [=, &device](State& state) {
      const RandomTensor x(device, shape, Use::kStack, type), dy(device, shape, Use::kStack, type),
          s(device, shape, Use::kStack, type);
      const ChannelData c(device, shape.c);
      time_operation(state, device, (accumulate ? 4 : 3) * tensor, 0,
                     op::AffineReluGradient{.dy = dy.view,
                                            .x = x.view,
                                            .affine = c.affine,
                                            .mode = mode,
                                            .s = s.view,
                                            .sums = c.sums,
                                            .dgamma = c.gradients,
                                            .dbeta = c.gradients});
    });
  }
}

// What happens to a new feature map: its statistics forward, its normalisation backward.
void add_features(Device& device, const Shape& shape, DType type) {
  const double tensor = bytes_of(shape, type);
  add("copy_with_statistics/" + text(shape), [=, &device](State& state) {
    const RandomTensor x(device, shape, Use::kSpatial, type), y(device, shape, Use::kStack, type);
    const ChannelData c(device, shape.c);
    time_operation(state, device, 2 * tensor, 0,
                   op::ChannelStatistics{.x = x.view, .eps = 1e-5f, .statistics = c.statistics, .y = y.view});
  });
  add("channel_statistics/" + text(shape), [=, &device](State& state) {
    const RandomTensor x(device, shape, Use::kStack, type);
    const ChannelData c(device, shape.c);
    time_operation(state, device, tensor, 0,
                   op::ChannelStatistics{.x = x.view, .eps = 1e-5f, .statistics = c.statistics});
  });
  add("normalize_backward/" + text(shape), [=, &device](State& state) {
    const RandomTensor s(device, shape, Use::kStack, type), x(device, shape, Use::kStack, type),
        dx(device, shape, Use::kSpatial, type);
    const ChannelData c(device, shape.c);
    time_operation(
        state, device, 3 * tensor, 0,
        op::NormalizeGradient{.s = s.view, .x = x.view, .statistics = c.statistics, .sums = c.sums, .dx = dx.view});
  });
}

void add_pooling(Device& device, std::int64_t batch, DType type) {
  const Shape stem{batch, 64, 112, 112}, pooled{batch, 64, 56, 56};
  const op::Window window{3, 2, 1};
  const std::int64_t choices = op::argmax_bytes(pooled);
  const double max_bytes = bytes_of(stem, type) + bytes_of(pooled, type) + static_cast<double>(choices);
  for (const bool forward : {true, false}) {
    add((forward ? "max_pool/" : "max_pool_backward/") + text(stem), [=, &device](State& state) {
      const RandomTensor x(device, stem, Use::kSpatial, type), y(device, pooled, Use::kSpatial, type);
      const DeviceArray<std::uint8_t> choice(device, choices);
      const Array<std::uint8_t> argmax(choice.data(), choices);
      const op::MaxPool pool{.window = window, .x = x.view, .y = y.view, .argmax = argmax};
      if (forward) {
        return time_operation(state, device, max_bytes, 0, pool);
      }
      Prepared(device, pool).run();
      time_operation(state, device, max_bytes, 0,
                     op::MaxPoolGradient{.window = window, .dy = y.view, .argmax = argmax, .dx = x.view});
    });
  }
  const Shape block{batch, 256, 56, 56}, half{batch, 256, 28, 28};
  const double average_bytes = bytes_of(block, type) + bytes_of(half, type);
  add("average_pool/" + text(block), [=, &device](State& state) {
    const RandomTensor x(device, block, Use::kStack, type), y(device, half, Use::kStack, type);
    time_operation(state, device, average_bytes, 0, op::AveragePool{.kernel = 2, .x = x.view, .y = y.view});
  });
  add("average_pool_backward/" + text(block), [=, &device](State& state) {
    const RandomTensor x(device, block, Use::kStack, type), y(device, half, Use::kStack, type);
    time_operation(state, device, average_bytes, 0, op::AveragePoolGradient{.kernel = 2, .dy = y.view, .dx = x.view});
  });
}

void add_rest(Device& device, std::int64_t batch, DType type) {
  constexpr std::int64_t kParameters = 6'968'206, kSource = 256, kSide = 224;
  add(fmt::format("adam/{}", kParameters), [&device](State& state) {
    const std::size_t bytes = kParameters * sizeof(float);
    const Buffer g(device, bytes), m(device, bytes), v(device, bytes, 0, 1), w(device, bytes);
    const AdamScalars step({.step = 10});
    const DeviceArray<AdamScalars> scalars(device, std::span(&step, 1));
    const auto all = [](const Buffer& buffer) { return Array<float>(buffer.as(), kParameters); };
    time_operation(state, device, 7.0 * bytes, 0,
                   op::Adam{.scalars = {scalars.data(), 1}, .g = all(g), .m = all(m), .v = all(v), .w = all(w)});
  });
  const Shape input{batch, kInputChannels, kSide, kSide};
  add("images_to_input/" + text(input), [=, &device](State& state) {
    const RandomTensor y(device, input, Use::kInput, type);
    const std::int64_t pixels = batch * kSource * kSource;
    const Buffer images(device, pixels);
    const std::vector<ImageTransform> host(batch, ImageTransform{.xx = 1.1f, .xy = 0.1f, .yx = -0.1f, .yy = 1.1f});
    const DeviceArray<ImageTransform> transforms(device, std::span(host));
    time_operation(state, device, bytes_of(input, type) + static_cast<double>(pixels), 0,
                   op::ImagesToInput{.images = {images.as<std::uint8_t>(), pixels},
                                     .source = kSource,
                                     .transforms = {transforms.data(), batch},
                                     .y = y.view});
  });
}

// The machine's own copy, every thread its part, far larger than the caches.
void add_copy_ceiling(Device& device) {
  add("ceiling/copy", [&device](State& state) {
    constexpr std::size_t kBytes = std::size_t{512} << 20;
    const Buffer from(device, kBytes), to(device, kBytes);
    const bool host = device.info().name.starts_with("cpu");
    const int threads = host ? device.info().threads : 1;
    time_loop(state, device, 2.0 * kBytes, 0, [&] {
      if (!host) {
        return device.copy(to.as(), from.as(), kBytes);
      }
#pragma omp parallel for schedule(static) num_threads(threads)
      for (int part = 0; part < threads; ++part) {
        const std::size_t begin = kBytes / threads * part,
                          end = part + 1 == threads ? kBytes : begin + kBytes / threads;
        std::memcpy(to.as<char>() + begin, from.as<char>() + begin, end - begin);
      }
    });
  });
}

void add_all(Device& device, std::int64_t batch, Precision precision) {
  const DType type = element_type(precision);
  add_copy_ceiling(device);
  add_convolutions(device, batch, precision);
  add_norm_convolutions(device, batch, precision);
  for (const auto& [c, side] : {std::pair<std::int64_t, std::int64_t>{256, 56}, {512, 28}, {1024, 14}, {1024, 7}}) {
    add_norms(device, {batch, c, side, side}, type);
  }
  for (const std::int64_t side : {56, 28, 14, 7}) {
    add_features(device, {batch, 32, side, side}, type);
  }
  add_features(device, {batch, 128, 56, 56}, type);
  add_pooling(device, batch, type);
  add_rest(device, batch, type);
}

void run(const Settings& settings, std::int64_t batch, const std::string& precision) {
  const auto device = settings.open();
  const std::string why_not = device->why_not(parse_name<Precision>(precision));
  check(why_not.empty(), "--precision {}: {}", precision, why_not);
  add_all(*device, batch, parse_name<Precision>(precision));
  run_registered(device->info());
}

}  // namespace
}  // namespace densetree::bench

int main(int argc, char** argv) {
  using namespace densetree::bench;
  CLI::App app("Times the layers of DenseNet-121 at 224x224.", "bench_layers");
  Settings settings;
  std::int64_t batch = 16;
  std::string precision = "fp32";
  settings.add_to(app);
  app.add_option("--batch-size", batch, "images in a batch")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--precision", precision, "fp32, tf32 or bf16")->capture_default_str();
  return run_program(app, argc, argv, [&] { run(settings, batch, precision); });
}
