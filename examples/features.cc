// The features that the classifier sees, in a program that owns its memory and, on CUDA, its stream: the model works in
// a block of this program and queues its work on a stream of this program.
//   features RUN IMAGE...
#include <densetree/data/image.h>
#include <densetree/data/resize.h>
#include <densetree/kernels/core/error.h>
#include <densetree/kernels/functors/image.h>
#include <densetree/nn/trained_model.h>
#ifdef WITH_CUDA
#include <cuda_runtime_api.h>
#endif

#include <cstdlib>
#include <iostream>
#include <memory>
#include <vector>

using namespace densetree;

namespace {

#ifdef WITH_CUDA
class Host {
 public:
  Host() { cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking); }
  ~Host() { cudaFree(block_), cudaStreamDestroy(stream_); }
  std::unique_ptr<Device> device() { return make_device("cuda", 0, stream_); }
  void* block(std::size_t bytes) { return cudaMalloc(&block_, bytes) == cudaSuccess ? block_ : nullptr; }

 private:
  cudaStream_t stream_ = nullptr;
  void* block_ = nullptr;
};
#else
class Host {
 public:
  ~Host() { std::free(block_); }
  std::unique_ptr<Device> device() { return make_device("cpu"); }
  void* block(std::size_t bytes) {
    return block_ = std::aligned_alloc(Planner::kAlignment, (bytes + Planner::kAlignment - 1) & -Planner::kAlignment);
  }

 private:
  void* block_ = nullptr;
};
#endif

void run(const char* run, const std::vector<std::string>& files) {
  Host host;
  const std::unique_ptr<Device> device = host.device();
  const nn::TrainedWeights weights(run);
  nn::ModelOptions options = weights.options();
  options.batch_size = static_cast<std::int64_t>(files.size());
  options.training = false;
  nn::ModelPlan plan(*device, options);
  std::cerr << "the plan needs " << plan.bytes() << " bytes\n";
  void* const block = host.block(plan.bytes());
  check(block != nullptr, "there is no memory for {} bytes", plan.bytes());
  nn::Model model(std::move(plan), block);
  model.load(weights.file, LoadPolicy::kStrict, false, 1);

  const auto side = static_cast<int>(options.source_size);
  const auto image = static_cast<std::size_t>(side) * static_cast<std::size_t>(side);
  std::vector<std::uint8_t> pixels(files.size() * image);
  for (std::size_t i = 0; i < files.size(); ++i) {
    data::resize_area(data::decode_image(files[i]), side, std::span(pixels).subspan(i * image, image));
  }
  const std::vector<ImageTransform> transforms(files.size(), resize_transform(side, options.image_size));
  model.set_images(pixels, transforms, false);
  model.infer();
  const std::vector<float> features = model.embeddings();
  const std::size_t width = features.size() / files.size();
  for (std::size_t i = 0; i < files.size(); ++i) {
    std::cout << files[i];
    for (std::size_t c = 0; c < width; ++c) {
      std::cout << ' ' << features[i * width + c];
    }
    std::cout << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) try {
  check(argc > 2, "usage: features RUN IMAGE...");
  run(argv[1], {argv + 2, argv + argc});
  return 0;
} catch (const Error& error) {
  std::cerr << "features: " << error.what() << '\n';
  return 1;
}
