// Model: a DenseNet with its weights, optimiser state and memory on one device.
//
// A ModelPlan books everything a model will need without allocating it; a Model is a plan with its one allocation.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/arena.h"
#include "engine/load_plan.h"
#include "engine/parameters.h"
#include "engine/persistent.h"
#include "engine/tape.h"
#include "nn/densenet.h"
#include "nn/network_settings.h"

namespace densetree::nn {

struct ModelOptions {
  Architecture arch = parse_architecture("densenet121");
  std::int64_t labels = 14;
  std::int64_t batch_size = 128;
  std::int64_t image_size = 224;   // side of the network's input
  std::int64_t source_size = 256;  // side of the stored uint8 images; 0: the input is given as floats
  bool training = true;            // can train
  bool inference = true;           // can predict
  bool keep_features = false;      // infer() leaves the last feature map to be read
  MemoryMode memory = MemoryMode::kShared;
  // By dense block, each with the transition behind it, in the place of `memory`; or empty.
  std::vector<MemoryMode> block_memory = {};
  BatchNorm batch_norm = BatchNorm::kAuto;
  Precision precision = Precision::kFloat32;
  LossKind loss = LossKind::kMse;
  std::vector<float> positive_weights;  // per label, or empty
  bool capture = true;                  // a step may become one graph (Device::capture); the results are the same

  // Those that `densetree plan` has.
  static void settings(auto& o, auto&& f) {
    network_settings(o, f);
    batch_settings(o, f);
    f(o.source_size, Setting{"source-size", "side of the stored images", between(1, data::kMaxImageSide)});
    f(o.labels, Setting{"labels", "outputs", between(1, 65536)});
  }
};

// Throws Error where a value makes no sense, or some make none together. Making a plan does so too.
void check_options(const ModelOptions& options);

// One network laid on a tape, and where its inputs and results are.
struct Graph {
  explicit Graph(Device& device) : tape(device) {}
  Tape tape;
  Tensor input;
  Array<std::uint8_t> pixels;  // where source_size > 0
  Array<ImageTransform> transforms;
  Array<float> targets;  // where it trains
  Array<double> loss;
  Tensor features;  // what the embedding is the mean of; there to be read where keep_features is set
  Tensor embedding, logits;
  BatchNormCounts batch_norms;
};

class ModelPlan {
 public:
  ModelPlan(Device& device, ModelOptions options);

  const ModelOptions& options() const { return options_; }
  const Parameters& parameters() const { return parameters_; }
  const Graph* training() const { return training_.get(); }
  const Graph* inference() const { return inference_.get(); }
  // Of the training step, or of inference where it does not train.
  const BatchNormCounts& batch_norms() const { return (training_ ? training_ : inference_)->batch_norms; }

  // What is kept over all steps: weights, running statistics and, where it trains, Adam's moments. And where a step's
  // inputs wait for their turn on devices that upload beside the computing.
  std::size_t persistent_bytes() const { return persistent_.bytes(); }
  // Of a step: the larger of the two graphs, which take turns.
  std::size_t step_bytes() const;
  std::size_t bytes() const { return persistent_bytes() + step_bytes(); }

 private:
  friend class Model;
  // What the host gives to every step: bytes of each at most, 0 where there is none.
  struct StepInputs {
    std::size_t pixels = 0, transforms = 0, targets = 0, adam = 0;
  };
  StepInputs step_inputs() const;
  void list_persistent();
  std::unique_ptr<Graph> build(bool training);
  void add_loss(Graph& graph) const;
  void add_optimizer(Tape& tape) const;

  Device& device_;
  ModelOptions options_;
  Parameters parameters_;
  Persistent persistent_;
  std::unique_ptr<Graph> training_, inference_;
};

// Whether a file has Adam's moments and step.
bool has_optimizer(const TensorFile& file);

// The largest batch size from 1 to `limit` whose plan fits into budget bytes; 0 when not even one image does.
std::int64_t largest_batch(Device& device, ModelOptions options, std::size_t budget, std::int64_t limit = 4096);

class Model {
 public:
  // Throws Error when the device cannot hold it, saying what the plan needs and which batch would fit.
  Model(Device& device, const ModelOptions& options) : Model(ModelPlan(device, options)) {}
  // memory: plan.bytes() of the device's, aligned to Planner::kAlignment, that outlive the model; null: allocated here.
  explicit Model(ModelPlan plan, void* memory = nullptr);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const ModelOptions& options() const { return plan_.options(); }
  const ModelPlan& plan() const { return plan_; }
  Device& device() { return device_; }

  // ---- Weights
  // torchvision's initialisation, drawn by Philox: He normal convolutions, BN 1 and 0, uniform ±1/sqrt(K) classifier.
  void initialize(std::uint64_t seed);
  std::vector<ExpectedTensor> expected_tensors() const;
  // Weights and running statistics; with `optimizer` Adam's moments and step too. Returns notes for the log. Throws
  // Error where the file does not have them, and changes nothing then.
  std::vector<std::string> load(const TensorFile& file, LoadPolicy policy, bool optimizer, std::uint64_t seed);
  // Adds all tensors to the writer, which must be written before `this` changes. Throws Error where one is not finite.
  void save(TensorWriter& writer, bool optimizer);
  // One tensor as float32: a weight, a running statistic, or (after a training step) a weight's gradient.
  std::vector<float> read(const std::string& name) const;
  std::vector<float> read_gradient(const std::string& name) const;

  // ---- Steps
  // uint8 (count, source, source) and their transforms. Training takes a whole batch, because its statistics are
  // shared; in inference the images beyond count are filler whose results mean nothing. What is read from the device
  // must stay until the step that follows has been computed; transforms and what is read from the host need not.
  void set_images(std::span<const std::uint8_t> pixels, std::span<const ImageTransform> transforms, bool training,
                  Place place = Place::kHost);
  void set_input(std::span<const float> nchw, bool training);                    // float (N, 3, S, S) instead
  void set_targets(std::span<const float> targets, Place place = Place::kHost);  // (N, L), NaN where missing
  // Forward, backward and Adam. step.step is set to the number of steps taken, this one included. Like what sets the
  // inputs, it queues its work and does not wait for it; everything below does.
  void train_step(AdamStep step);
  void infer();

  // Of the last training step, or of the one before (ago 1): that one can be read while the last one computes.
  double loss(int ago = 0);
  double gradient_norm();                // of the last training step with clipping on
  std::vector<float> training_logits();  // (N, L)
  // Of the last infer(), or of the one before (ago 1): those can be read while the last one computes.
  std::vector<float> logits(int ago = 0);
  std::vector<float> embeddings();  // (N, features)
  // The first rows of both into memory of the caller: (count, L) and (count, features), count <= N. On the device the
  // copies are queued, on the host they are waited for.
  void read_logits(std::span<float> to, Place place = Place::kHost, int ago = 0);
  void read_embeddings(std::span<float> to, Place place = Place::kHost);
  // The last feature map, after the last norm and ReLU: each embedding is its mean over pixels. (N, C, H, W) planar,
  // whatever the device's layout. Throws Error where the model was made without keep_features.
  std::vector<float> features();
  Shape feature_shape() const;  // of features()
  // Where an answer that is not finite comes from, for messages: runs inference on these images layer by layer. "the
  // first layer whose output is not finite is features.norm5; 'features.norm5.running_var' holds nan"
  std::string trace_not_finite(std::span<const std::uint8_t> pixels, std::span<const ImageTransform> transforms,
                               Place place = Place::kHost);
  // What of the loaded weights and statistics is not finite, "'features.norm5.running_var' holds inf", or "".
  const std::string& weight_fault() const { return weight_fault_; }
  std::int64_t steps() const { return steps_; }
  void set_poison(bool poison);  // see Tape::set_poison

 private:
  Graph& graph(bool training);
  void fold_statistics();
  std::unique_ptr<Replay> replay_of(std::function<void()> work);
  const Tensor& kept_features() const;
  std::vector<float> download(const void* from, std::int64_t count, DType type = DType::kFloat32) const;
  float* array_of(const Parameters::Entry& entry) const;
  float* moment_of(const Parameters::Entry& entry, const char* moment) const;
  std::string advice(std::size_t free) const;

  Device& device_;
  ModelPlan plan_;
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<StagedUpload> pixel_upload_, transform_upload_, target_upload_, adam_upload_;
  std::unique_ptr<Readback> losses_, logits_;
  std::array<std::unique_ptr<Replay>, 2> training_;  // without and with clipping; made when first needed
  std::unique_ptr<Replay> inference_;
  std::unique_ptr<Kernel> fold_;  // of running statistics, for inference
  bool folded_ = false;           // whether that was done since they changed
  std::int64_t steps_ = 0;
  std::vector<std::vector<float>> saved_;  // what save() handed to a writer
  std::int64_t saved_steps_ = 0;
  std::string weight_fault_;
  std::vector<float> staging_;  // an input in the device's layout
  std::vector<float> read_;     // (N, L): logits on their way to the caller
};

}  // namespace densetree::nn
