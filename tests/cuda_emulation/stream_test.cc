// The C interface on a stream and in memory of the host program: a call queues its work there and does not wait.
#include <cuda_runtime_api.h>

#include "tests/c_api/handles.h"
#include "tests/nn/small_model.h"

namespace densetree::test {
namespace {

TEST(EmulatedStream, CallsQueueTheirWorkThere) {
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  {
    densetree_engine_params params = engine_params("cuda");
    params.stream = stream;
    const Handle<densetree_engine> engine = make_engine(params);
    EXPECT_STREQ(densetree_engine_device(engine.get()), "cuda:0");
    EXPECT_EQ(densetree_engine_stream(engine.get()), stream);
    const Handle<densetree_model> model = make_model(engine.get());
    std::vector<std::uint8_t> pixels;
    for (const float value : random_floats(kBatch * kSource * kSource, 2, 0, 255)) {
      pixels.push_back(static_cast<std::uint8_t>(value));
    }
    const std::vector<float> expected = logits_of(model.get(), pixels);
    void *pixels_there = nullptr, *logits_there = nullptr;
    ASSERT_EQ(cudaMalloc(&pixels_there, pixels.size()), cudaSuccess);
    ASSERT_EQ(cudaMalloc(&logits_there, expected.size() * sizeof(float)), cudaSuccess);
    cudaMemcpyAsync(pixels_there, pixels.data(), pixels.size(), cudaMemcpyHostToDevice, stream);  // and no wait
    densetree_images images = images_on_host(pixels);
    images.pixels = static_cast<const std::uint8_t*>(pixels_there);
    images.place = DENSETREE_DEVICE;
    densetree_outputs outputs = no_outputs();
    outputs.logits = static_cast<float*>(logits_there);
    outputs.logits_size = expected.size();
    outputs.place = DENSETREE_DEVICE;
    std::vector<float> logits(expected.size(), -7);
    for (int call = 0; call < 3; ++call) {  // called, captured, replayed
      const std::int64_t done = stream->done;
      expect_ok(densetree_model_infer(model.get(), &images, &outputs, nullptr, nullptr));
      EXPECT_LT(done, stream->added);
      EXPECT_GT(stream->queued.size(), 0u);  // somebody has to wait
      cudaMemcpyAsync(logits.data(), logits_there, logits.size() * sizeof(float), cudaMemcpyDeviceToHost, stream);
      cudaStreamSynchronize(stream);
      EXPECT_EQ(logits, expected);
      logits.assign(logits.size(), -7);
    }
    cudaFree(pixels_there);
    cudaFree(logits_there);
  }
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);  // it is the host's, and still there
  cudaStreamDestroy(stream);
}

// The host works on another GPU, and goes on there whatever is called.
TEST(EmulatedStream, TheHostsCurrentDeviceStays) {
  emulation::has_another_device = true;
  cudaSetDevice(1);
  const auto expect_other = [] {
    int device = 0;
    cudaGetDevice(&device);
    EXPECT_EQ(device, 1);
  };
  {
    const Handle<densetree_engine> engine = make_engine("cuda");
    expect_other();
    densetree_device_info info{};
    info.size = sizeof info;
    expect_ok(densetree_device_get(1, &info));
    EXPECT_STREQ(info.name, "cuda:0");
    expect_other();
    const Handle<densetree_plan> plan = make_plan(engine.get(), model_params());
    expect_other();
    Handle<densetree_model> model = make_model(engine.get());
    expect_other();
    logits_of(model.get(), std::vector<std::uint8_t>(kBatch * kSource * kSource, 7));
    expect_other();
    densetree_model* none = nullptr;
    EXPECT_EQ(result_of(densetree_model_create(plan.get(), nullptr, 1, &none)).code, DENSETREE_INVALID_ARGUMENT);
    expect_other();
    model.reset();
    expect_other();
  }
  expect_other();
  cudaSetDevice(0);
  emulation::has_another_device = false;
}

}  // namespace
}  // namespace densetree::test
