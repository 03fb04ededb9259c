#include "kernels/cuda/fused_plans.h"

#include <fmt/format.h>

#include <mutex>
#include <vector>

#include "kernels/core/error.h"

namespace densetree::cuda {
namespace {

// What came of asking cuDNN, of which a plan is kept as text: plans themselves belong to one handle.
struct Answer {
  StoredPlan plan;
  std::string why_not;
};

// The answers of this process. They save time and nothing else: a plan that cannot be kept or loaded is compiled.
// Threads may ask for the same plan at once; then each of them compiles it.
class Answers {
 public:
  const Answer* find(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto it = answers_.find(key);
    return it == answers_.end() ? nullptr : &it->second;  // stays where it is: nothing is ever erased
  }
  void add(const std::string& key, Answer answer) {
    const std::lock_guard lock(mutex_);
    answers_.try_emplace(key, std::move(answer));
  }

 private:
  std::mutex mutex_;
  std::map<std::string, Answer> answers_;
};

Answers& answers_of_process() {
  static Answers answers;
  return answers;
}

}  // namespace

std::shared_ptr<const NormConvolutionPlan> FusedPlans::find(cudnnHandle_t handle, const ConvolutionShape& shape,
                                                            ChannelSlice x, ChannelSlice y, std::string* why_not) {
  constexpr std::int64_t kBoundary = 8;  // channels: slices may begin at any multiple without another plan
  const std::string key =
      fmt::format("cuda:{} {} padding {} {}, {} of {} to {} of {}", device_, shape, shape.padding,
                  densetree::name_of(shape.precision), x.first % kBoundary, x.of, y.first % kBoundary, y.of);
  auto place = found_.find(key);
  if (place == found_.end()) {
    place = found_.emplace(key, make(handle, key, shape, x, y)).first;
  }
  *why_not = place->second.why_not;
  return place->second.plan;
}

FusedPlans::Found FusedPlans::make(cudnnHandle_t handle, const std::string& key, const ConvolutionShape& shape,
                                   ChannelSlice x, ChannelSlice y) {
  const Target target(handle);
  Answers& answers = answers_of_process();
  if (const Answer* known = answers.find(key)) {
    if (!known->why_not.empty()) {
      return {nullptr, known->why_not};
    }
    try {
      return {std::make_shared<NormConvolutionPlan>(load_norm_convolution_plan(target, shape, known->plan)), ""};
    } catch (const Error&) {
    }
  }
  std::string why_not;
  std::vector<NormConvolutionPlan> plans = norm_convolution_plans_for(target, shape, x, y, 1, &why_not);
  if (plans.empty()) {
    answers.add(key, {{}, why_not});
    return {nullptr, why_not};
  }
  try {
    answers.add(key, {plans.front().store(), ""});
  } catch (const Error&) {
  }
  return {std::make_shared<NormConvolutionPlan>(std::move(plans.front())), ""};
}

}  // namespace densetree::cuda
