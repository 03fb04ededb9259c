// Opening devices, and what their memory does.
#include <cstring>

#include "tests/kernels/op_case.h"

namespace densetree::test {
namespace {

TEST(Devices, ListSaysWhatIsThereAndWhyNotTheRest) {
  bool cpu = false, cuda = false;
  for (const DeviceStatus& status : list_devices()) {
    EXPECT_FALSE(status.detail.empty()) << status.name << " comes without hardware or reason";
    cpu = cpu || (status.name == "cpu" && status.available);
    cuda = cuda || status.name.starts_with("cuda");
  }
  EXPECT_TRUE(cpu) << "the CPU is always there";
  EXPECT_TRUE(cuda) << "CUDA is listed, with the reason where it is not available";
}

TEST(Devices, EveryListedOneOpens) {
  for (const std::string& name : available_devices()) {
    const auto device = make_device(name);
    const DeviceInfo info = device->info();
    EXPECT_EQ(info.name, name);
    EXPECT_FALSE(info.hardware.empty());
    EXPECT_GT(info.total_memory, 0u);
    EXPECT_GT(info.free_memory, 0u);
    EXPECT_LE(info.free_memory, info.total_memory);
    EXPECT_GE(info.threads, 1);
  }
}

TEST(Devices, ThreadsAreTakenAsAsked) {
  EXPECT_EQ(make_device("cpu", 1)->info().threads, 1);
  EXPECT_EQ(make_device("cpu", 3)->info().threads, 3);
  EXPECT_GE(make_device("cpu")->info().threads, 1);
  EXPECT_THROW(make_device("cpu", -1), Error);
}

TEST(Devices, AutoTakesWhatAnswers) {
  const std::vector<std::string> names = available_devices();
  const bool gpu = std::any_of(names.begin(), names.end(), [](const auto& n) { return n.starts_with("cuda"); });
  EXPECT_EQ(make_device("auto")->info().name.starts_with("cuda"), gpu);
}

TEST(Devices, CudaWithoutOneSaysWhy) {
  std::string reason;
  for (const DeviceStatus& status : list_devices()) {
    if (status.name.starts_with("cuda") && status.available) GTEST_SKIP() << "there is a CUDA device here";
    if (status.name.starts_with("cuda")) reason = status.detail;
  }
  ASSERT_FALSE(reason.empty());
  expect_error([] { make_device("cuda"); }, reason);
  expect_error([] { make_device("cuda:0"); }, reason);
}

TEST(Devices, UnknownNamesAreErrors) {
  for (const char* name : {"tpu", "cpu:", "cpu:1", "cpu:AVX2", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:4096",
                           "cuda:99999999999999999999"}) {
    expect_error([&] { make_device(name); }, name);
  }
  EXPECT_THROW(make_device(""), Error);
}

class MemoryTest : public OpTest {};

TEST_P(MemoryTest, CarriesBytesThereAndBack) {
  std::vector<unsigned char> host(1000);
  for (std::size_t i = 0; i < host.size(); ++i) host[i] = static_cast<unsigned char>(i * 7);
  const Array<unsigned char> a(device(), host), b(device(), host.size());
  device().copy(b.data(), a.data(), host.size());
  EXPECT_EQ(b.read(), host);
  device().fill(b.data() + 10, 3, 20);
  std::fill_n(host.begin() + 10, 20, static_cast<unsigned char>(3));
  EXPECT_EQ(b.read(), host);
  device().synchronize();
}

TEST_P(MemoryTest, AllocationsAreAlignedAndSeparate) {
  std::vector<void*> blocks;
  for (std::size_t bytes : {1, 63, 64, 65, 4097}) blocks.push_back(device().allocate(bytes));
  for (void* block : blocks) EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % 64, 0u);
  std::sort(blocks.begin(), blocks.end());
  EXPECT_EQ(std::adjacent_find(blocks.begin(), blocks.end()), blocks.end());
  for (void* block : blocks) device().release(block);
}

TEST_P(MemoryTest, TooMuchIsAnErrorThatSaysHowMuch) {
  try {
    device().release(device().allocate(std::size_t{1} << 52));
    ADD_FAILURE() << "4 PiB were given";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_TRUE(std::any_of(message.begin(), message.end(), [](unsigned char c) { return std::isdigit(c) != 0; }))
        << "says neither what was asked for nor what is free: " << message;
  }
}

TEST_P(MemoryTest, HasALayoutForEachUse) {
  for (Use use : {Use::kInput, Use::kSpatial, Use::kStack}) {
    const Shape shape{2, 24, 3, 3};
    const Values x = random_values(shape.elements(), 1);
    const Tensor tensor(device(), shape, {device().layout(use)}, x);
    EXPECT_EQ(tensor.read(), x);
    tensor.expect_unchanged();
  }
}

RUN_ON_DEVICES(MemoryTest);

}  // namespace
}  // namespace densetree::test
