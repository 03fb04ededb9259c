// The C interface beside the classes: inference of one image of a small network, where a call's own time would show,
// and what a host program waits for at its start with a network of its own.
#include <benchmark/benchmark.h>

#include "bench/harness.h"
#include "c_api/densetree.h"
#include "kernels/core/error.h"
#include "kernels/functors/image.h"
#include "nn/scoring.h"

namespace densetree::bench {
namespace {

void succeed(densetree_status* status) {
  if (status) {
    const std::string message = densetree_status_message(status);
    densetree_status_release(status);
    fail("{}", message);
  }
}

struct Network {
  std::string arch = "growth=8,blocks=2-2,init=8";
  std::int64_t side = 32;
};

class Host {
 public:
  Host(const Settings& settings, const std::string& arch, std::int64_t side) {
    densetree_engine_params params;
    succeed(densetree_engine_params_init(&params, sizeof params));
    params.device = settings.device.c_str();
    params.threads = settings.threads;
    succeed(densetree_engine_create(DENSETREE_VERSION, &params, &engine_));
    densetree_model_params model_params;
    succeed(densetree_model_params_init(&model_params, sizeof model_params));
    model_params.architecture = arch.c_str();
    model_params.batch_size = 1;
    model_params.image_size = model_params.source_size = side;
    densetree_plan* plan = nullptr;
    succeed(densetree_plan_create(engine_, &model_params, &plan));
    succeed(densetree_model_create(plan, nullptr, 0, &model_));
    densetree_plan_release(plan);
  }
  ~Host() {
    densetree_model_release(model_);
    densetree_engine_release(engine_);
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  void infer(const std::vector<std::uint8_t>& pixels, std::vector<float>& logits) {
    const densetree_images images{.size = sizeof images,
                                  .pixels = pixels.data(),
                                  .pixels_size = pixels.size(),
                                  .count = 1,
                                  .place = DENSETREE_HOST,
                                  .reserved = 0};
    densetree_outputs outputs{};
    outputs.size = sizeof outputs;
    outputs.logits = logits.data();
    outputs.logits_size = logits.size();
    succeed(densetree_model_infer(model_, &images, &outputs, nullptr, nullptr));
  }

 private:
  densetree_engine* engine_ = nullptr;
  densetree_model* model_ = nullptr;
};

std::vector<std::uint8_t> pixels_of(std::int64_t side) {
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(side * side));
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(i * 37);
  }
  return pixels;
}

void register_all(const Settings& settings, const Network& network) {
  benchmark::RegisterBenchmark("infer/c", [=](benchmark::State& state) {
    Host host(settings, network.arch, network.side);
    const std::vector<std::uint8_t> pixels = pixels_of(network.side);
    std::vector<float> logits(14);
    for (auto _ : state) {
      host.infer(pixels, logits);
    }
  });
  benchmark::RegisterBenchmark("infer/classes", [=](benchmark::State& state) {
    const std::unique_ptr<Device> device = settings.open();
    nn::ModelOptions options;
    options.arch = nn::parse_architecture(network.arch);
    options.batch_size = 1;
    options.image_size = options.source_size = network.side;
    options.training = false;
    nn::Model model(*device, options);
    model.initialize(1);
    const std::vector<std::uint8_t> pixels = pixels_of(network.side);
    const std::vector<ImageTransform> transforms(1, resize_transform(network.side, network.side));
    const nn::ImageBatch images{pixels, transforms, [](std::size_t) { return "image"; }};
    std::vector<float> logits(14);
    for (auto _ : state) {
      nn::infer(model, images, logits, {});
    }
  });
  benchmark::RegisterBenchmark("start/densenet121", [=](benchmark::State& state) {
    for (auto _ : state) {
      const Host host(settings, "densenet121", 224);
    }
  })->Unit(benchmark::kMillisecond);
}

}  // namespace
}  // namespace densetree::bench

int main(int argc, char** argv) {
  using namespace densetree::bench;
  Settings settings;
  Network network;
  CLI::App app("The C interface beside the classes");
  settings.add_to(app);
  app.add_option("--arch", network.arch, "of the network that infers")->capture_default_str();
  app.add_option("--image-size", network.side, "side of its images")->capture_default_str();
  return run_program(app, argc, argv, [&] {
    register_all(settings, network);
    run_registered(settings.open()->info());
  });
}
