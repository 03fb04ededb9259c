// Every function of the C interface called with every bad argument. A table holds one good call for each function; from
// its types follow the bad ones: null, misaligned, too small, structs of other sizes. The table and the parameters'
// names are held against the header, so that no function is left out and each message names what is wrong.
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <tuple>
#include <type_traits>
#include <utility>

#include "data/image.h"
#include "tests/c_api/handles.h"
#include "tests/nn/temporary.h"

namespace densetree::test {
namespace {

template <class T>
concept Complete = requires {
  sizeof(T);
};
template <class T>
concept Struct = Complete<T> && std::is_class_v<T>;

std::string text_of(const std::string& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

template <class T>
T* misaligned(T* pointer) {
  return reinterpret_cast<T*>(const_cast<char*>(reinterpret_cast<const char*>(pointer)) + 1);
}

// Of each function that returns a status the names of its parameters, from the header.
std::map<std::string, std::vector<std::string>> functions_of_header() {
  const std::string header = text_of(std::string(DENSETREE_SOURCE_DIR) + "/c_api/densetree.h");
  std::map<std::string, std::vector<std::string>> functions;
  const std::regex function(R"(DENSETREE_API\s+densetree_status\*\s+(\w+)\(([^)]*)\))"), name(R"((\w+)\s*(,|$))");
  for (std::sregex_iterator it(header.begin(), header.end(), function), end; it != end; ++it) {
    const std::string parameters = (*it)[2];
    std::vector<std::string>& names = functions[(*it)[1]];
    for (std::sregex_iterator p(parameters.begin(), parameters.end(), name); p != end; ++p) {
      names.push_back((*p)[1]);
    }
  }
  return functions;
}

class BadArguments : public testing::Test {
 protected:
  BadArguments() {
    params_ = model_params();
    plan_ = make_plan(engine_.get(), params_);
    spare_plan_ = make_plan(engine_.get(), params_);
    model_ = make_model(engine_.get(), params_);
    weights_ = (folder_ / "weights.safetensors").string();
    expect_ok(densetree_model_save(model_.get(), weights_.c_str()));
    picture_ = (folder_ / "picture.png").string();
    data::write_png(picture_, data::GreyImage{3, 2, {0, 50, 100, 150, 200, 250}});
    info_.size = sizeof info_;
    tensor_.size = sizeof tensor_;
    device_.size = sizeof device_;
    node_.size = sizeof node_;
    calibration_info_.size = sizeof calibration_info_;
    expect_ok(densetree_step_params_init(&step_, sizeof step_));
    expect_ok(densetree_calibration_params_init(&calibration_params_, sizeof calibration_params_));
    calibration_params_.bins = 4;
    outputs_ = no_outputs();
    outputs_.logits = logits_.data();
    outputs_.logits_size = logits_.size();
    densetree_calibration* made = nullptr;
    expect_ok(densetree_calibration_fit(engine_.get(), &calibration_params_, scores_.data(), scores_.size(),
                                        targets_.data(), targets_.size(), patients_.data(), patients_.size(), &made));
    calibration_.reset(made);
    calibration_file_ = (folder_ / "calibration.json").string();
    densetree_model_params nih = model_params();
    nih.label_names = nullptr;
    nih.labels = 14;
    nih_model_ = make_model(engine_.get(), nih);
  }

  std::size_t nodes_of_the_tree() {
    expect_ok(densetree_calibration_get_info(calibration_.get(), &calibration_info_));
    return static_cast<std::size_t>(calibration_info_.nodes);
  }

  // What the functions make is released by whoever calls them.
  template <class... Args>
  Result call(densetree_status* (*function)(Args...), const std::tuple<Args...>& arguments) {
    const Result result = result_of(std::apply(function, arguments));
    Release release;
    release(std::exchange(made_engine_, nullptr));
    release(std::exchange(made_plan_, nullptr));
    release(std::exchange(made_model_, nullptr));
    release(std::exchange(made_calibration_, nullptr));
    return result;
  }

  template <class... Args>
  void refused(const std::string& name, const std::string& parameter, const std::string& fault,
               densetree_status* (*function)(Args...), const std::tuple<Args...>& arguments) {
    SCOPED_TRACE(name + ": " + parameter + " " + fault);
    const Result result = call(function, arguments);
    EXPECT_EQ(result.code, DENSETREE_INVALID_ARGUMENT) << result.message;
    const std::string buffer = parameter.ends_with("_size") ? parameter.substr(0, parameter.size() - 5) : parameter;
    EXPECT_NE(result.message.find(buffer), std::string::npos) << result.message;
    ++tried_;
  }

  template <std::size_t I, class... Args>
  void try_argument(const std::string& name, const std::set<std::string>& optional,
                    densetree_status* (*function)(Args...), const std::tuple<Args...>& good) {
    using T = std::tuple_element_t<I, std::tuple<Args...>>;
    const std::string parameter = functions_.at(name).at(I);
    std::tuple<Args...> bad = good;
    if constexpr (std::is_same_v<T, std::size_t>) {
      if (!optional.contains(parameter) && (parameter.ends_with("_size") || parameter == "size")) {
        std::get<I>(bad) = std::get<I>(good) - 1;
        refused(name, parameter, "one too few", function, bad);
        std::get<I>(bad) = 0;
        refused(name, parameter, "zero", function, bad);
      }
    } else if constexpr (std::is_pointer_v<T>) {
      using Pointee = std::remove_const_t<std::remove_pointer_t<T>>;
      if (!optional.contains(parameter)) {
        std::get<I>(bad) = nullptr;
        refused(name, parameter, "null", function, bad);
      }
      if constexpr (Complete<Pointee> && !std::is_function_v<Pointee>) {
        if constexpr (alignof(Pointee) > 1) {
          if (std::get<I>(good)) {
            std::get<I>(bad) = misaligned(std::get<I>(good));
            refused(name, parameter, "misaligned", function, bad);
          }
        }
      }
      if constexpr (Struct<Pointee>) {
        for (const std::size_t size : {std::size_t{0}, sizeof(Pointee) - 1, std::size_t{1} << 40}) {
          if (name.ends_with("_init")) {
            continue;  // there it is an argument of its own
          }
          Pointee copy = *std::get<I>(good);
          copy.size = size;
          std::get<I>(bad) = &copy;
          refused(name, parameter, "of size " + std::to_string(size), function, bad);
        }
      }
    }
  }

  // The good call, and from it all bad ones. `optional` may be null, or a size that goes with it 0.
  template <class... Args>
  void in_all_ways(const std::string& name, densetree_status* (*function)(Args...),
                   const std::type_identity_t<std::tuple<Args...>>& good, const std::set<std::string>& optional = {}) {
    ASSERT_TRUE(functions_.contains(name)) << name << " is not in the header";
    ASSERT_EQ(functions_.at(name).size(), sizeof...(Args)) << name;
    EXPECT_TRUE(seen_.insert(name).second) << name;
    for (const std::string& parameter : optional) {
      EXPECT_EQ(std::ranges::count(functions_.at(name), parameter), 1) << name << " has no parameter " << parameter;
    }
    const Result result = call(function, good);
    EXPECT_EQ(result.code, DENSETREE_OK) << name << ": " << result.message;
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (try_argument<I>(name, optional, function, good), ...);
    }
    (std::index_sequence_for<Args...>{});
  }

  const std::map<std::string, std::vector<std::string>> functions_ = functions_of_header();
  std::set<std::string> seen_;
  int tried_ = 0;

  TemporaryFolder folder_;
  Handle<densetree_engine> engine_ = make_engine("cpu");
  densetree_engine_params engine_params_ = engine_params("cpu");
  densetree_model_params params_;
  Handle<densetree_plan> plan_, spare_plan_;
  Handle<densetree_model> model_, nih_model_;
  Handle<densetree_calibration> calibration_;
  std::string weights_, picture_, calibration_file_;
  densetree_model_info info_{};
  densetree_tensor tensor_{};
  densetree_device_info device_{};
  densetree_node node_{};
  densetree_calibration_info calibration_info_{};
  densetree_step_params step_;
  densetree_calibration_params calibration_params_;
  std::vector<std::uint8_t> pixels_ = std::vector<std::uint8_t>(kBatch * kSource * kSource, 100);
  densetree_images images_ = images_on_host(pixels_);
  std::vector<float> logits_ = std::vector<float>(kBatch * kLabels), known_ = logits_;
  densetree_outputs outputs_;
  std::vector<float> bias_ = std::vector<float>(kLabels);
  std::vector<double> scores_ = std::vector<double>(20 * 14, 0.5), posteriors_ = std::vector<double>(20 * 30);
  std::vector<float> targets_ = std::vector<float>(20 * 14, 1);
  std::vector<std::int64_t> patients_ = std::vector<std::int64_t>(20, 1);
  std::vector<double> thresholds_ = std::vector<double>(30, 0.5);
  std::vector<std::uint8_t> reported_ = std::vector<std::uint8_t>(30), square_ = std::vector<std::uint8_t>(16);
  char text_[4096];
  std::size_t length_ = 0;
  std::int64_t batch_size_ = 0;
  double loss_ = 0;

  densetree_engine* made_engine_ = nullptr;
  densetree_plan* made_plan_ = nullptr;
  densetree_model* made_model_ = nullptr;
  densetree_calibration* made_calibration_ = nullptr;
};

TEST_F(BadArguments, AreRefusedByEveryFunction) {
  const std::size_t nodes = nodes_of_the_tree();
  posteriors_.resize(20 * nodes, 0.5);
  const std::size_t floats = logits_.size(), columns = scores_.size();
#define TRY(function, ...) in_all_ways(#function, function, __VA_ARGS__)
  TRY(densetree_device_get, {0, &device_});
  TRY(densetree_engine_params_init, {&engine_params_, sizeof engine_params_});
  engine_params_.device = "cpu";
  TRY(densetree_engine_create, {DENSETREE_VERSION, &engine_params_, &made_engine_});
  TRY(densetree_engine_wait, {engine_.get()});
  densetree_model_params model_params{};
  TRY(densetree_model_params_init, {&model_params, sizeof model_params});
  TRY(densetree_plan_create, {engine_.get(), &params_, &made_plan_});
  TRY(densetree_plan_get_info, {plan_.get(), &info_});
  TRY(densetree_largest_batch, {engine_.get(), &params_, std::size_t{1} << 26, &batch_size_}, {"bytes"});
  EXPECT_GT(batch_size_, 0);
  TRY(densetree_model_create, {spare_plan_.get(), nullptr, 0, &made_model_}, {"memory", "bytes"});
  TRY(densetree_model_get_info, {model_.get(), &info_});
  TRY(densetree_model_initialize, {model_.get(), 1});
  TRY(densetree_model_load, {model_.get(), weights_.c_str()});
  TRY(densetree_model_save, {model_.get(), weights_.c_str()});
  TRY(densetree_model_get_tensor, {model_.get(), 0, &tensor_});
  TRY(densetree_model_read_tensor, {model_.get(), "classifier.bias", bias_.data(), bias_.size()});
  TRY(densetree_model_infer, {model_.get(), &images_, &outputs_, nullptr, nullptr}, {"progress", "progress_data"});
  TRY(densetree_step_params_init, {&step_, sizeof step_});
  TRY(densetree_model_train_step, {model_.get(), &images_, known_.data(), floats, &step_, &loss_}, {"loss"});
  TRY(densetree_image_read, {picture_.c_str(), 4, square_.data(), square_.size()});
  TRY(densetree_image_resize, {pixels_.data(), 12, 4, 3, 4, square_.data(), square_.size()});
  densetree_calibration_params calibration_params{};
  TRY(densetree_calibration_params_init, {&calibration_params, sizeof calibration_params});
  TRY(densetree_calibration_write, {calibration_.get(), calibration_file_.c_str()});
  TRY(densetree_calibration_read, {engine_.get(), calibration_file_.c_str(), &made_calibration_});
  TRY(densetree_calibration_fit, {engine_.get(), &calibration_params_, scores_.data(), columns, targets_.data(),
                                  targets_.size(), patients_.data(), patients_.size(), &made_calibration_});
  TRY(densetree_calibration_get_info, {calibration_.get(), &calibration_info_});
  TRY(densetree_calibration_get_node, {calibration_.get(), 0, &node_});
  TRY(densetree_calibration_check_model, {calibration_.get(), nih_model_.get()});
  TRY(densetree_calibration_posteriors,
      {calibration_.get(), scores_.data(), columns, posteriors_.data(), posteriors_.size()});
  TRY(densetree_calibration_answer,
      {calibration_.get(), posteriors_.data(), nodes, thresholds_.data(), nodes, reported_.data(), nodes});
  std::size_t needed = 0;
  expect_ok(densetree_calibration_report(calibration_.get(), posteriors_.data(), nodes, thresholds_.data(), nodes,
                                         nullptr, 0, &needed));
  TRY(densetree_calibration_report,
      {calibration_.get(), posteriors_.data(), nodes, thresholds_.data(), nodes, text_, needed + 1, &length_});
  calibration_params_.choose = "any-false:0.4";
  patients_ = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
  densetree_calibration* made = nullptr;
  expect_ok(densetree_calibration_fit(engine_.get(), &calibration_params_, scores_.data(), columns, targets_.data(),
                                      targets_.size(), patients_.data(), patients_.size(), &made));
  const Handle<densetree_calibration> chosen(made);
  TRY(densetree_calibration_thresholds, {chosen.get(), thresholds_.data(), nodes});
#undef TRY
  for (const auto& [name, parameters] : functions_) {
    EXPECT_TRUE(seen_.contains(name)) << name << " is not tried";
  }
  EXPECT_GT(tried_, 150);
  RecordProperty("bad_calls", tried_);
}

// Values of the right type that make no sense, one at a time.
TEST_F(BadArguments, OfTheRightTypeAreRefusedToo) {
  const auto engine = [&](const char* words, auto change) {
    densetree_engine_params params = engine_params("cpu");
    change(params);
    const Result result = call(densetree_engine_create, {DENSETREE_VERSION, &params, &made_engine_});
    EXPECT_EQ(result.code, DENSETREE_INVALID_ARGUMENT) << words;
    EXPECT_NE(result.message.find(words), std::string::npos) << result.message;
  };
  engine("device is null", [](auto& p) { p.device = nullptr; });
  engine("device is gpu; use auto, cpu, cpu:SET, cuda or cuda:N", [](auto& p) { p.device = "gpu"; });
  engine("threads is -1", [](auto& p) { p.threads = -1; });
  engine("threads is 1000000", [](auto& p) { p.threads = 1000000; });
  engine("give both or neither", [](auto& p) { p.free = [](void*, void*) {}; });
  engine("device is cpu:mmx", [](auto& p) { p.device = "cpu:mmx"; });
  engine("device is cuda:x", [](auto& p) { p.device = "cuda:x"; });
  engine("stream is given, and device cpu has none", [&](auto& p) { p.stream = this; });
  engine("reserved is 1", [](auto& p) { p.reserved = 1; });

  const float weights[kLabels] = {1, 1, 0, 1, 1};
  const char* const twice[kLabels] = {"a", "b", "a", "d", "e"};
  const char* const missing[kLabels] = {"a", "b", nullptr, "d", "e"};
  const auto model = [&](const char* words, auto change, densetree_code code = DENSETREE_INVALID_ARGUMENT) {
    densetree_model_params params = model_params();
    change(params);
    const Result result = call(densetree_plan_create, {engine_.get(), &params, &made_plan_});
    EXPECT_EQ(result.code, code) << words << ": " << result.message;
    EXPECT_NE(result.message.find(words), std::string::npos) << result.message;
  };
  model("densenet999", [](auto& p) { p.architecture = "densenet999"; });
  model("labels is -1", [](auto& p) { p.labels = -1; });
  model("labels is 70000", [](auto& p) { p.labels = 70000; });  // before as many names are looked for
  model("it must be 1 to 65536", [&](auto& p) { p.labels = INT64_C(1) << 62, p.positive_weights = weights; });
  model("batch-size is 0", [](auto& p) { p.batch_size = 0; });
  model("batch-size is 70000", [](auto& p) { p.batch_size = 70000; });
  model("image_size is -32", [](auto& p) { p.image_size = -32; });
  model("image size 8 is too small", [](auto& p) { p.image_size = 8; });
  model("source-size is 20000", [](auto& p) { p.source_size = 20000; });
  model("precision is 7", [](auto& p) { p.precision = 7; });
  model("memory is -1", [](auto& p) { p.memory = -1; });
  model("loss is 2", [](auto& p) { p.loss = 2; });
  model("training is 2", [](auto& p) { p.training = 2; });
  model("to train or to predict", [](auto& p) { p.training = p.inference = 0; });
  model("capture is -1", [](auto& p) { p.capture = -1; });
  model(
      "tf32 needs a CUDA device", [](auto& p) { p.precision = DENSETREE_TF32; }, DENSETREE_UNAVAILABLE);
  model("positive_weights is at", [&](auto& p) { p.positive_weights = misaligned(weights); });
  model("label_names is at", [&](auto& p) { p.label_names = misaligned(twice); });
  model("positive_weights has 0", [&](auto& p) { p.positive_weights = weights; });
  model("label_names has 'a' twice", [&](auto& p) { p.label_names = twice; });
  model("label_names[2] is null or empty", [&](auto& p) { p.label_names = missing; });
  model(
      "/nowhere", [](auto& p) { p.run = "/nowhere"; }, DENSETREE_FAILED);
  const auto of_run = [&](const char* words, auto change) {
    model(words, [&](auto& p) {
      p.run = weights_.c_str();
      change(p);
    });
  };
  of_run("labels is 6, but the run was trained with 5", [](auto& p) { p.labels = 6; });
  of_run("source_size is 41, but the run was trained with 40", [](auto& p) { p.source_size = 41; });
  of_run("architecture is densenet121, but the run", [](auto& p) { p.architecture = "densenet121"; });
  const char* const others[kLabels] = {"a", "b", "c", "d", "e"};
  of_run("label_names are a, b, c, d, e, but the run", [&](auto& p) { p.label_names = others; });

  densetree_model_info info{};
  info.size = sizeof info;
  expect_ok(densetree_plan_get_info(plan_.get(), &info));
  std::vector<std::byte> block(info.bytes + 512);
  const auto address = reinterpret_cast<std::uintptr_t>(block.data());
  std::byte* const aligned = block.data() + (256 - address % 256);
  const auto memory = [&](const char* words, void* at, std::size_t bytes) {
    const Result result = call(densetree_model_create, {plan_.get(), at, bytes, &made_model_});
    EXPECT_EQ(result.code, DENSETREE_INVALID_ARGUMENT) << words;
    EXPECT_NE(result.message.find(words), std::string::npos) << result.message;
  };
  memory("memory is null and bytes 5", nullptr, 5);
  memory("which is not aligned to 256 bytes", aligned + 64, info.bytes);
  memory("the plan needs", aligned, info.bytes - 1);

  const auto infer = [&](const char* words, auto change) {
    densetree_images images = images_;
    densetree_outputs outputs = outputs_;
    change(images, outputs);
    const Result result = call(densetree_model_infer, {model_.get(), &images, &outputs, nullptr, nullptr});
    EXPECT_EQ(result.code, DENSETREE_INVALID_ARGUMENT) << words;
    EXPECT_NE(result.message.find(words), std::string::npos) << result.message;
  };
  infer("count is -1", [](auto& i, auto&) { i.count = -1; });
  infer("more than memory has room for", [](auto& i, auto&) { i.count = std::numeric_limits<std::int64_t>::max(); });
  infer("pixels is null", [](auto& i, auto&) { i.pixels = nullptr; });
  infer("pixels has 6400 elements; it must have 4800", [](auto& i, auto&) { i.count = 3; });
  infer("pixels has 6399 elements; it must have 6400", [](auto& i, auto&) { i.pixels_size -= 1; });
  infer("reserved is 1", [](auto& i, auto&) { i.reserved = 1; });
  infer("reserved is 2", [](auto&, auto& o) { o.reserved = 2; });
  infer("place is 2", [](auto& i, auto&) { i.place = 2; });
  infer("place is -1", [](auto&, auto& o) { o.place = -1; });
  infer("nothing is asked for", [](auto&, auto& o) { o.logits = nullptr; });
  infer("logits has 19 elements; it must have at least 20", [](auto&, auto& o) { o.logits_size -= 1; });
  infer("logits is at", [](auto&, auto& o) { o.logits = misaligned(o.logits); });
  double room[1];
  infer("probabilities has 1 elements", [&](auto&, auto& o) { o.probabilities = room, o.probabilities_size = 1; });
  float features[1];
  infer("embeddings has 1 elements", [&](auto&, auto& o) { o.embeddings = features, o.embeddings_size = 1; });

  const auto train = [&](const char* words, auto change) {
    densetree_images images = images_;
    densetree_step_params step = step_;
    std::vector<float> targets = known_;
    change(images, step, targets);
    const Result result =
        call(densetree_model_train_step, {model_.get(), &images, targets.data(), targets.size(), &step, &loss_});
    EXPECT_EQ(result.code, DENSETREE_INVALID_ARGUMENT) << words;
    EXPECT_NE(result.message.find(words), std::string::npos) << result.message;
  };
  train("a step takes a whole batch of 4 images", [](auto& i, auto&, auto&) { i.count = 3, i.pixels_size = 4800; });
  train("lr is 0", [](auto&, auto& s, auto&) { s.lr = 0; });
  train("lr is nan", [](auto&, auto& s, auto&) { s.lr = NAN; });
  train("weight-decay is -1", [](auto&, auto& s, auto&) { s.weight_decay = -1; });
  train("clip-norm is -1", [](auto&, auto& s, auto&) { s.clip_norm = -1; });
  train("targets[3] is 2", [](auto&, auto&, auto& t) { t[3] = 2; });
  train("targets[0] is inf", [](auto&, auto&, auto& t) { t[0] = INFINITY; });

  const auto fit = [&](const char* words, auto change) {
    densetree_calibration_params params = calibration_params_;
    std::vector<double> scores = scores_;
    std::vector<float> targets = targets_;
    change(params, scores, targets);
    const Result result =
        call(densetree_calibration_fit, {engine_.get(), &params, scores.data(), scores.size(), targets.data(),
                                         targets.size(), patients_.data(), patients_.size(), &made_calibration_});
    EXPECT_EQ(result.code, DENSETREE_INVALID_ARGUMENT) << words << ": " << result.message;
    EXPECT_NE(result.message.find(words), std::string::npos) << result.message;
  };
  fit("bins is 0", [](auto& p, auto&, auto&) { p.bins = 0; });
  fit("alpha is -1", [](auto& p, auto&, auto&) { p.smoothing = -1; });
  fit("monotone is 3", [](auto& p, auto&, auto&) { p.monotone = 3; });
  fit("precision:0.8", [](auto& p, auto&, auto&) { p.choose = "precision"; });
  fit("choose_share is 1", [](auto& p, auto&, auto&) { p.choose = "miss:0.1", p.choose_share = 1; });
  fit("1.5", [](auto&, auto& s, auto&) { s[5] = 1.5; });
  fit("nan", [](auto&, auto& s, auto&) { s[5] = NAN; });
  fit("0.25", [](auto&, auto&, auto& t) { t[5] = 0.25f; });

  const auto posteriors = [&](const char* words, std::vector<double> scores) {
    const Result result = call(densetree_calibration_posteriors, {calibration_.get(), scores.data(), scores.size(),
                                                                  posteriors_.data(), posteriors_.size()});
    EXPECT_EQ(result.code, DENSETREE_INVALID_ARGUMENT) << words;
    EXPECT_NE(result.message.find(words), std::string::npos) << result.message;
  };
  posteriors("scores has 13 elements; it must have 14 for each image", std::vector<double>(13, 0.5));
  posteriors("scores[0] is 1.5", std::vector<double>(14, 1.5));
  posteriors("scores[0] is nan", std::vector<double>(14, NAN));

  std::vector<double> thresholds(nodes_of_the_tree(), 0.5);
  thresholds[3] = NAN;
  const Result odd_thresholds =
      call(densetree_calibration_answer, {calibration_.get(), posteriors_.data(), thresholds.size(), thresholds.data(),
                                          thresholds.size(), reported_.data(), reported_.size()});
  EXPECT_EQ(odd_thresholds.code, DENSETREE_INVALID_ARGUMENT);
  EXPECT_NE(odd_thresholds.message.find("thresholds[3] is nan"), std::string::npos) << odd_thresholds.message;

  const auto index = [](densetree_status* status, const char* words) {
    const Result result = result_of(status);
    EXPECT_EQ(result.code, DENSETREE_INVALID_ARGUMENT) << words;
    EXPECT_NE(result.message.find(words), std::string::npos) << result.message;
  };
  index(densetree_device_get(-1, &device_), "index is -1");
  index(densetree_model_get_tensor(model_.get(), -1, &tensor_), "index is -1");
  index(densetree_calibration_get_node(calibration_.get(), -1, &node_), "index is -1");
  index(densetree_model_read_tensor(model_.get(), "no.such", bias_.data(), bias_.size()), "name is 'no.such'");
  index(densetree_image_read(picture_.c_str(), 0, square_.data(), square_.size()), "side is 0");
  index(densetree_image_resize(pixels_.data(), 12, -4, -3, 4, square_.data(), square_.size()), "width is -4");
  index(densetree_image_resize(pixels_.data(), 12, 4, 100000, 4, square_.data(), square_.size()), "height is 100000");
  EXPECT_EQ(densetree_status_code(nullptr), DENSETREE_OK);
  EXPECT_STREQ(densetree_status_message(nullptr), "");
  EXPECT_EQ(densetree_engine_device(nullptr), nullptr);
  EXPECT_EQ(densetree_engine_stream(nullptr), nullptr);
  EXPECT_EQ(densetree_engine_stream(engine_.get()), nullptr);
  EXPECT_EQ(densetree_model_label(nullptr, 0), nullptr);
  densetree_status_release(nullptr);
  densetree_engine_release(nullptr);
  densetree_plan_release(nullptr);
  densetree_model_release(nullptr);
  densetree_calibration_release(nullptr);
}

TEST_F(BadArguments, FilesAreNamed) {
  const std::string text = (folder_ / "text").string();
  std::ofstream(text) << "no picture, weights nor calibration";
  const auto failed = [&](densetree_status* status) {
    const Result result = result_of(status);
    EXPECT_EQ(result.code, DENSETREE_FAILED) << result.message;
    EXPECT_NE(result.message.find(text), std::string::npos) << result.message;
  };
  failed(densetree_image_read(text.c_str(), 4, square_.data(), square_.size()));
  failed(densetree_model_load(model_.get(), text.c_str()));
  failed(densetree_calibration_read(engine_.get(), text.c_str(), &made_calibration_));
  calibration_params_.tree = text.c_str();
  failed(densetree_calibration_fit(engine_.get(), &calibration_params_, scores_.data(), scores_.size(), targets_.data(),
                                   targets_.size(), patients_.data(), patients_.size(), &made_calibration_));
  failed(densetree_model_save(model_.get(), (text + "/below").c_str()));
  failed(densetree_calibration_write(calibration_.get(), (text + "/below").c_str()));
}

}  // namespace
}  // namespace densetree::test
