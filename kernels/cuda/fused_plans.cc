#include "kernels/cuda/fused_plans.h"

#include <fmt/format.h>

#include <mutex>
#include <vector>

namespace densetree::cuda {
namespace {

// What came of asking cuDNN, of which a plan is kept as text: plans themselves belong to one handle.
struct Answer {
  StoredPlan plan;
  std::string why_not;
};

// The answers of this process. Threads may ask for the same plan at once; then each of them compiles it.
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
      fmt::format("cuda:{} {} padding {} {}, {} of {} to {} of {}", device_, shape.describe(), shape.padding,
                  densetree::name_of(shape.precision), x.first % kBoundary, x.of, y.first % kBoundary, y.of);
  const auto [place, is_new] = found_.try_emplace(key);
  Found& found = place->second;
  if (is_new) {
    const Target target(handle);
    if (const Answer* known = answers_of_process().find(key)) {
      found.why_not = known->why_not;
      if (found.why_not.empty()) {
        found.plan =
            std::make_shared<NormConvolutionPlan>(load_norm_convolution_plan(target, shape, x, y, known->plan));
      }
    } else {
      std::vector<NormConvolutionPlan> plans = norm_convolution_plans_for(target, shape, x, y, 1, &found.why_not);
      if (!plans.empty()) {
        found.why_not.clear();
        found.plan = std::make_shared<NormConvolutionPlan>(std::move(plans.front()));
      }
      answers_of_process().add(key, {found.plan ? found.plan->store() : StoredPlan{}, found.why_not});
    }
  }
  *why_not = found.why_not;
  return found.plan;
}

}  // namespace densetree::cuda
