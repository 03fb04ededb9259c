// What a model will need, before anything is allocated: exact, linear in depth where that is promised, and the largest
// batch that fits. And that its tensors are torchvision's.
#include <nlohmann/json.hpp>
#include <regex>

#include "tests/nn/counting_device.h"
#include "tests/nn/devices.h"
#include "tests/nn/small_model.h"

namespace densetree::test {
namespace {

using nn::MemoryMode;
using nn::ModelOptions;
using nn::ModelPlan;

class PlanTest : public DeviceTest {
 protected:
  std::size_t bytes_of(const ModelOptions& options) { return ModelPlan(device(), options).bytes(); }
  std::size_t bytes_at(ModelOptions options, std::int64_t batch) {
    options.batch_size = batch;
    return bytes_of(options);
  }
};

TEST_P(PlanTest, LessIsKeptFromModeToMode) {
  ModelOptions options = small_options();
  options.arch = nn::parse_architecture("growth=8,blocks=12-12-12,init=12");
  options.image_size = 64;
  std::size_t last = SIZE_MAX;
  for (const MemoryMode mode : {MemoryMode::kStore, MemoryMode::kShared, MemoryMode::kRecompute}) {
    options.memory = mode;
    const ModelPlan plan(device(), options);
    EXPECT_EQ(plan.bytes(), plan.persistent_bytes() + plan.step_bytes());
    EXPECT_LT(plan.step_bytes(), last) << name_of(mode);
    last = plan.step_bytes();
  }
}

TEST_P(PlanTest, IsCloseToWhatIsAliveAtOnce) {
  for (const MemoryMode mode : {MemoryMode::kStore, MemoryMode::kShared, MemoryMode::kRecompute}) {
    const ModelPlan plan(device(), small_options(mode));
    const Planner& planner = plan.training()->tape.planner();
    EXPECT_LE(planner.bytes(), planner.lower_bound() + planner.lower_bound() / 10) << name_of(mode);
  }
}

// One dense block of `depth` layers. Concatenations stored layer by layer grow with the square of the depth; features
// and bottleneck outputs in line with it.
TEST_P(PlanTest, SharedMemoryIsLinearInDepth) {
  const auto growth_of = [&](MemoryMode mode, std::int64_t depth) {
    const auto bytes = [&](std::int64_t layers) {
      ModelOptions options = small_options(mode);
      options.arch = nn::parse_architecture(fmt::format("growth=8,blocks={},init=16", layers));
      options.image_size = 64, options.batch_size = 16;
      const ModelPlan plan(device(), options);
      return static_cast<double>(plan.step_bytes() - plan.parameters().size(Parameters::Kind::kWeight) * sizeof(float));
    };
    return bytes(2 * depth) - bytes(depth);
  };
  const double shared = growth_of(MemoryMode::kShared, 40) / growth_of(MemoryMode::kShared, 20);
  const double store = growth_of(MemoryMode::kStore, 40) / growth_of(MemoryMode::kStore, 20);
  EXPECT_NEAR(shared, 2, 0.2);
  EXPECT_GT(store, 2.8);
}

TEST_P(PlanTest, TheLargestBatchFitsAndOneMoreDoesNot) {
  const ModelOptions options = small_options();
  for (const std::int64_t batch : {1, 5, 8}) {
    const std::size_t exactly = bytes_at(options, batch);
    EXPECT_EQ(nn::largest_batch(device(), options, exactly), batch);
    EXPECT_EQ(nn::largest_batch(device(), options, exactly - 1), batch - 1);
  }
  EXPECT_EQ(nn::largest_batch(device(), options, 1000), 0);
  EXPECT_EQ(nn::largest_batch(device(), options, std::size_t{1} << 40, 6), 6);
}

// 32 pixels end in one: a batch of one has no variance, and is neither tried nor advised.
TEST_P(PlanTest, WhereMapsEndInOnePixelABatchHasTwoImages) {
  for (const auto& [arch, size] :
       {std::pair{"growth=8,blocks=1-1-1-1,init=8", 32}, {"growth=8,blocks=2-2,init=8", 9}}) {
    ModelOptions options = small_options();
    options.arch = nn::parse_architecture(arch);
    options.image_size = size;
    ASSERT_EQ(options.arch.last_side(size), 1);
    const std::size_t two = bytes_at(options, 2);
    EXPECT_EQ(nn::largest_batch(device(), options, two), 2);
    EXPECT_EQ(nn::largest_batch(device(), options, two - 1), 0);
    try {
      bytes_at(options, 1);
      FAIL() << "a batch of one was planned";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("maps of 1x1; use a larger batch"), std::string::npos) << error.what();
    }
    options.training = false, options.inference = true;
    EXPECT_EQ(nn::largest_batch(device(), options, bytes_at(options, 1)), 1);
  }
}

TEST_P(PlanTest, ABatchThatStoreCannotHoldTrainsInSharedWithTheSameLosses) {
  ModelOptions options = small_options(MemoryMode::kStore);
  options.arch = nn::parse_architecture("growth=16,blocks=6-6,init=32");
  options.batch_size = 12;
  nn::Model roomy(device(), options);
  CountingDevice little(device());
  options.memory = MemoryMode::kShared;
  little.free_memory = bytes_of(options);  // the budget: exactly what `shared` needs
  options.memory = MemoryMode::kStore;
  EXPECT_THROW(nn::Model(little, options), Error);
  options.memory = MemoryMode::kShared;
  nn::Model shared(little, options);
  roomy.initialize(1), shared.initialize(1);
  for (int step = 0; step < 3; ++step) {
    train_on(roomy, step), train_on(shared, step);
    EXPECT_EQ(shared.loss(), roomy.loss()) << step;
  }
}

TEST_P(PlanTest, OutOfMemoryNamesBatchesThatFit) {
  CountingDevice little(device());
  ModelOptions options = small_options(MemoryMode::kStore);
  options.batch_size = 16;
  little.free_memory = bytes_at(options, 3);
  try {
    const nn::Model model(little, options);
    FAIL() << "it was made with too little memory";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(little.allocations, 0);
    const std::regex advice("--batch-size (\\d+) --memory (\\w+)");
    int count = 0;
    for (auto it = std::sregex_iterator(message.begin(), message.end(), advice); it != std::sregex_iterator(); ++it) {
      options.memory = parse_name<nn::MemoryMode>((*it)[2].str());
      const std::int64_t batch = std::stoll((*it)[1]);
      EXPECT_EQ(batch, nn::largest_batch(device(), options, *little.free_memory, 16)) << message;
      options.batch_size = batch;
      EXPECT_NO_THROW(nn::Model(little, options)) << message;
      ++count;
    }
    EXPECT_EQ(count, 3) << message;
    EXPECT_NE(message.find("--batch-size 3 --memory store"), std::string::npos) << message;
  }
  little.free_memory = 1000;
  try {
    const nn::Model model(little, options);
    FAIL() << "it was made with too little memory";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("not even one image fits"), std::string::npos) << error.what();
  }
}

// ---- torchvision's names and shapes ----------------------------------------------------------------

std::string fnv1a(const std::string& text) {
  std::uint64_t value = 0xCBF29CE484222325;
  for (const char c : text) {
    value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  }
  return fmt::format("{:016x}", value);
}

TEST_P(PlanTest, TensorsAreTorchvisionsInItsOrder) {
  const std::filesystem::path file = std::filesystem::path(DENSETREE_SOURCE_DIR) / "tests/reference/states.json";
  const nlohmann::json states = nlohmann::json::parse(read_file(file));
  for (const auto& [network, state] : states.items()) {
    ModelOptions options{.arch = nn::parse_architecture(network),
                         .labels = 14,
                         .batch_size = 1,
                         .image_size = 32,
                         .training = false,
                         .positive_weights = {}};
    const nn::Model model(device(), options);
    std::vector<std::string> lines;
    std::string text;
    for (const ExpectedTensor& tensor : model.expected_tensors()) {
      lines.push_back(fmt::format("{} {}", tensor.name, fmt::join(tensor.shape, "x")));
      text += lines.back() + "\n";
    }
    if (state.contains("lines")) {
      EXPECT_EQ(lines, state.at("lines").get<std::vector<std::string>>()) << network;
    }
    EXPECT_EQ(lines.size(), state.at("entries").get<std::size_t>()) << network;
    EXPECT_EQ(fnv1a(text), state.at("fnv1a").get<std::string>()) << network;
  }
}

RUN_ON_DEVICES(PlanTest);

}  // namespace
}  // namespace densetree::test
