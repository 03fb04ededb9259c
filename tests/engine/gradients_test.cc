// Gradients of networks drawn at random: tensors that are read as they are, in slices, by several operations, by their
// statistics, normalised, copied beside each other. Held against finite differences of the loss, with poisoned memory,
// and with dropped tensors bit for bit against kept ones.
#include "engine/gradients.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "engine/arena.h"
#include "kernels/core/error.h"
#include "kernels/core/philox.h"

namespace densetree {
namespace {

constexpr std::int64_t kImages = 3, kChannels = 8, kSide = 4, kLabels = 2;

class RandomNetwork {
 public:
  RandomNetwork(Device& device, std::uint64_t seed, bool drop) : tape_(device), random_(seed, RandomUse::kSynth) {
    x_ = tape_.tensor("x", {kImages, kChannels, kSide, kSide}, Layout::kPlanar);
    tape_.keep(x_.storage);
    readable_.push_back(x_);
    for (int i = 0; i < 8; ++i) {
      add_operation(fmt::format("{}", i), drop);
    }
    add_head();
    weights_ = random_numbers(weight_count_, -0.5f, 0.5f);
    tape_.make_gradients("weights", "gradients", weight_count_);
    tape_.keep(tape_.gradient(x_).storage);
    tape_.freeze(true);
    persistent_.add("weights", weight_count_ * sizeof(float));
    arena_ = std::make_unique<Arena>(device, persistent_.bytes() + tape_.bytes());
    persistent_.place(arena_->at(0));
    tape_.bind(arena_->at(persistent_.bytes()), persistent_);
    tape_.set_poison(true);
  }

  const std::vector<float>& weights() const { return weights_; }
  std::vector<float> input() { return random_numbers(x_.shape().elements(), -1, 1); }

  double run(const std::vector<float>& x, const std::vector<float>& weights) {
    std::copy(x.begin(), x.end(), static_cast<float*>(tape_.address(x_)));
    std::copy(weights.begin(), weights.end(), static_cast<float*>(persistent_.at("weights")));
    for (std::int64_t i = 0; i < targets_.count; ++i) {
      tape_.address(targets_)[i] = static_cast<float>(i % 2);
    }
    tape_.run();
    return *tape_.address(loss_);
  }
  // Of x and of the weights, after a run.
  std::vector<float> gradients() {
    const auto* dx = static_cast<const float*>(tape_.address(tape_.gradient(x_)));
    std::vector<float> all(dx, dx + x_.shape().elements());
    const float* dw = tape_.address(tape_.gradient(tape_.external<float>("weights", 0, weight_count_)));
    all.insert(all.end(), dw, dw + weight_count_);
    return all;
  }
  std::string text() const {
    std::string text;
    for (const Step& step : tape_.steps()) {
      text += fmt::format("{}: {} {}\n", step.label, name_of(step.operation), describe(step.operation));
    }
    return text;
  }

 private:
  std::vector<float> random_numbers(std::int64_t count, float low, float high) {
    std::vector<float> numbers(count);
    for (float& number : numbers) {
      number = random_.uniform(low, high);
    }
    return numbers;
  }
  Array<float> weight(std::int64_t count) {
    const auto w = tape_.external<float>("weights", weight_count_, count);
    weight_count_ += count;
    return w;
  }
  Tensor made(const std::string& name, std::int64_t channels) {
    return tape_.tensor(name, {kImages, channels, kSide, kSide}, Layout::kPlanar);
  }
  // One of the tensors so far, or a slice of it.
  Tensor any() {
    const Tensor& x = readable_[random_.below(static_cast<std::uint32_t>(readable_.size()))];
    if (x.c < 2 || random_.below(3) != 0) {
      return x;
    }
    const std::int64_t first = random_.below(static_cast<std::uint32_t>(x.c));
    return x.slice(first, 1 + random_.below(static_cast<std::uint32_t>(x.c - first)));
  }

  void add_operation(const std::string& name, bool drop) {
    const Tensor x = any();
    read_.insert(x.storage);
    switch (random_.below(5)) {
      case 0: {  // a copy, or a sum of two
        const Tensor y = made(name, x.c);
        tape_.add(name, op::Copy{.x = x, .y = y});
        if (const Tensor other = any(); other.c == x.c) {
          tape_.add(name, op::Add{.x = other, .y = y});
          read_.insert(other.storage);
        }
        return readable_.push_back(y);
      }
      case 1: {  // what can only overwrite its gradient
        const Tensor y = made(name, x.c);
        tape_.add(name, op::AveragePool{.kernel = 1, .x = x, .y = y});
        if (drop) {
          tape_.drop_after_forward(y.storage);
        }
        return readable_.push_back(y);
      }
      case 2: {  // two beside each other, with statistics of the copies, by which one of them or both are normalised
        const Tensor other = any(), y = made(name, x.c + other.c);
        read_.insert(other.storage);
        const op::Statistics s = tape_.statistics(name + " statistics", y.c);
        tape_.add(name,
                  op::ChannelStatistics{.x = x, .eps = 0.1f, .statistics = part_of(s, 0, x.c), .y = y.slice(0, x.c)});
        tape_.add(name,
                  op::ChannelStatistics{
                      .x = other, .eps = 0.1f, .statistics = part_of(s, x.c, other.c), .y = y.slice(x.c, other.c)});
        readable_.push_back(y);
        const bool source = random_.below(2) == 0;  // the same statistics are those of the source
        if (source) {
          add_norm(name + "b", x, part_of(s, 0, x.c), drop);
        }
        add_norm(name, random_.below(2) == 0 ? y : y.slice(0, x.c), s, drop);
        if (source && random_.below(2) == 0) {
          add_norm(name + "c", x, part_of(s, 0, x.c), drop);
        }
        return;
      }
      default: {  // by statistics of where it lies, once or twice
        const op::Statistics s = tape_.statistics(name + " statistics", x.c);
        tape_.add(name, op::ChannelStatistics{.x = x, .eps = 0.1f, .statistics = s});
        add_norm(name, x, s, drop);
        if (x.c > 1 && random_.below(2) == 0) {
          add_norm(name + "b", x.slice(1, x.c - 1), part_of(s, 1, x.c - 1), drop);
        }
      }
    }
  }
  static op::Statistics part_of(const op::Statistics& s, std::int64_t first, std::int64_t count) {
    return {s.mean.slice(first, count), s.variance.slice(first, count), s.rstd.slice(first, count)};
  }
  void add_norm(const std::string& name, const Tensor& x, const op::Statistics& s, bool drop) {
    const Tensor y = made(name + " norm", x.c);
    read_.insert(x.storage);
    const op::Affine affine{s.mean.slice(0, x.c), s.rstd.slice(0, x.c), weight(x.c), weight(x.c)};
    tape_.add(name + " norm", op::AffineRelu{.x = x, .affine = affine, .y = y});
    if (drop) {
      tape_.drop_after_forward(y.storage);
    }
    readable_.push_back(y);
  }
  // What nobody has read goes into the loss, and some of the rest, as it is.
  void add_head() {
    std::erase_if(readable_, [&](const Tensor& x) { return read_.contains(x.storage) && random_.below(3) != 0; });
    const Tensor pooled = tape_.tensor("pooled", {kImages, total_channels(), 1, 1}, Layout::kPlanar);
    std::int64_t at = 0;
    const Tensor all = made("all", pooled.c);
    for (const Tensor& x : readable_) {
      tape_.add("all", op::Copy{.x = x, .y = all.slice(at, x.c)});
      at += x.c;
    }
    tape_.add("pool", op::GlobalAveragePool{.x = all, .y = pooled});
    const Tensor logits = tape_.tensor("logits", {kImages, kLabels, 1, 1}, Layout::kPlanar);
    tape_.add("linear", op::Linear{.x = pooled, .w = weight(kLabels * pooled.c), .b = weight(kLabels), .y = logits});
    targets_ = tape_.array<float>("targets", kImages * kLabels);
    loss_ = tape_.array<double>("loss", 1);
    tape_.keep(targets_.storage);
    tape_.keep(loss_.storage);
    const Tensor dz = tape_.tensor("dz", logits.shape(), Layout::kPlanar);
    tape_.add("loss", op::Loss{.kind = LossKind::kBce, .z = logits, .y = targets_, .loss = loss_, .dz = dz});
  }
  std::int64_t total_channels() const {
    std::int64_t channels = 0;
    for (const Tensor& x : readable_) {
      channels += x.c;
    }
    return channels;
  }

  Tape tape_;
  RandomStream random_;
  Tensor x_;
  std::vector<Tensor> readable_;
  std::set<StorageId> read_;
  Array<float> targets_;
  Array<double> loss_;
  std::int64_t weight_count_ = 0;
  std::vector<float> weights_;
  Persistent persistent_;
  std::unique_ptr<Arena> arena_;
};

TEST(GradientsTest, OfRandomNetworksAgreeWithFiniteDifferences) {
  const std::unique_ptr<Device> device = make_device("cpu", 1);
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    RandomNetwork network(*device, seed, false);
    std::vector<float> point = network.input();
    const std::size_t inputs = point.size();
    point.insert(point.end(), network.weights().begin(), network.weights().end());
    const auto loss = [&](const std::vector<float>& at) {
      return network.run({at.begin(), at.begin() + inputs}, {at.begin() + inputs, at.end()});
    };
    loss(point);
    const std::vector<float> gradients = network.gradients();
    // Along the gradient of the inputs, and of the weights.
    for (const auto& [begin, end] : {std::pair{std::size_t{0}, inputs}, {inputs, point.size()}}) {
      double square = 0;
      for (std::size_t i = begin; i < end; ++i) {
        square += double{gradients[i]} * gradients[i];
      }
      const double h = 2e-3 / std::sqrt(square);
      std::vector<float> up = point, down = point;
      double expected = 0;  // of the numbers as fp32 holds them
      for (std::size_t i = begin; i < end; ++i) {
        up[i] += static_cast<float>(h * gradients[i]);
        down[i] -= static_cast<float>(h * gradients[i]);
        expected += double{gradients[i]} * (double{up[i]} - down[i]);
      }
      EXPECT_NEAR(loss(up) - loss(down), expected, 0.03 * expected)
          << "seed " << seed << ", " << (begin == 0 ? "inputs" : "weights") << '\n'
          << network.text();
    }
  }
}

TEST(GradientsTest, OfRandomNetworksAreTheSameBitsWhereTensorsAreMadeAgain) {
  const std::unique_ptr<Device> device = make_device("cpu", 1);
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    RandomNetwork keeps(*device, seed, false), drops(*device, seed, true);
    const std::vector<float> x = keeps.input();
    EXPECT_EQ(keeps.run(x, keeps.weights()), drops.run(x, keeps.weights()));
    EXPECT_EQ(keeps.gradients(), drops.gradients()) << "seed " << seed << '\n' << drops.text();
  }
}

}  // namespace
}  // namespace densetree
