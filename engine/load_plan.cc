#include "engine/load_plan.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>
#include <utility>

#include "engine/checkpoint_meta.h"
#include "kernels/core/error.h"

namespace densetree {

namespace {

constexpr std::string_view kCounterSuffix = ".num_batches_tracked";

bool is_counter(std::string_view name) {
  return name.ends_with(kCounterSuffix);
}
bool is_own(std::string_view name) {
  return name.starts_with(kOptimizerPrefix) || name.starts_with(kProgressPrefix);
}

bool is_float(TensorType type) {
  return type == TensorType::kFloat64 || type == TensorType::kFloat32 || type == TensorType::kFloat16 ||
         type == TensorType::kBFloat16;
}

struct Difference {
  std::vector<std::string> missing, unexpected, different;
  bool none() const { return missing.empty() && unexpected.empty() && different.empty(); }
};

constexpr std::size_t kListed = 10;

std::string listed(const char* title, const std::vector<std::string>& lines) {
  if (lines.empty()) {
    return "";
  }
  std::string text = fmt::format("\n  {} ({}):", title, lines.size());
  for (std::size_t i = 0; i < std::min(lines.size(), kListed); ++i) {
    text += "\n    " + lines[i];
  }
  if (lines.size() > kListed) {
    text += fmt::format("\n    … and {} more", lines.size() - kListed);
  }
  return text;
}

[[noreturn]] void fail_with(const Difference& difference, const TensorFile& file, std::size_t expected) {
  const auto arch = file.metadata().find(metadata_key::kArch);
  const std::string of = arch == file.metadata().end() ? "" : fmt::format(" (its metadata says {})", arch->second);
  std::string text = fmt::format(
      "{}: its weights{} do not fit this network: of {} tensors {} are missing and {} have another shape or type, and "
      "{} of the file are not wanted",
      file.source(), of, expected, difference.missing.size(), difference.different.size(),
      difference.unexpected.size());
  text += listed("missing", difference.missing);
  text += listed("different", difference.different);
  text += listed("unexpected", difference.unexpected);
  throw Error(text);
}

// Empty when the tensor fits, else a line for the difference.
std::string misfit(const ExpectedTensor& expected, const TensorInfo& stored) {
  if (is_counter(expected.name)) {  // whole, or as a float where all of a file was converted
    return stored.elements() == 1 ? ""
                                  : fmt::format("{}: stored {} {}, wanted one number", expected.name,
                                                name_of(stored.type), describe(stored.shape));
  }
  const bool fits = is_float(stored.type) && stored.shape == expected.shape;
  return fits ? ""
              : fmt::format("{}: stored {} {}, wanted float {}", expected.name, name_of(stored.type),
                            describe(stored.shape), describe(expected.shape));
}

// Whether a classifier tensor differs from the expected one in nothing but the number of labels, or is absent.
bool is_other_label_count(const ExpectedTensor& expected, const TensorInfo* stored) {
  if (stored == nullptr) {
    return true;
  }
  TensorShape shape = stored->shape;
  if (shape.empty() || shape.size() != expected.shape.size() || !is_float(stored->type)) {
    return false;
  }
  shape[0] = expected.shape[0];
  return shape == expected.shape;
}

class Matching {
 public:
  Matching(const TensorFile& file, std::span<const ExpectedTensor> expected, const TensorNames& names)
      : file_(file), expected_(expected), names_(names) {
    for (const ExpectedTensor& e : expected) {
      wanted_.insert(e.name);
    }
  }

  LoadPlan plan(LoadPolicy policy) {
    collect();
    plan_.new_classifier = policy == LoadPolicy::kAllowNewClassifier && wants_new_classifier();
    if (plan_.new_classifier) {
      plan_.notes.push_back(new_classifier_note());
    }
    for (const ExpectedTensor& e : expected_) {
      plan_.tensors.push_back(tensor_for(e));
    }
    for (const auto& [name, tensor] : stored_) {
      if (!wanted_.contains(name) && !is_counter(name)) {
        difference_.unexpected.push_back(fmt::format("{} {}", tensor->name, describe(tensor->shape)));
      }
    }
    if (!difference_.none()) {
      fail_with(difference_, file_, expected_.size());
    }
    return std::move(plan_);
  }

 private:
  // Fills stored_, in the file's order.
  void collect() {
    std::size_t renamed = 0;
    std::string example;
    for (const TensorInfo& tensor : file_.tensors()) {
      if (is_own(tensor.name)) {
        plan_.own.push_back(&tensor);
        continue;
      }
      const std::string name = wanted_.contains(tensor.name) ? tensor.name : names_.canonical(tensor.name);
      const TensorInfo* other = find(name);
      check(other == nullptr, "{}: tensors '{}' and '{}' both stand for '{}'", file_.source(),
            other != nullptr ? other->name : "", tensor.name, name);
      at_[name] = stored_.size();
      stored_.emplace_back(name, &tensor);
      if (name != tensor.name && renamed++ == 0) {
        example = fmt::format("'{}' as '{}'", tensor.name, name);
      }
    }
    if (renamed > 0) {
      plan_.notes.push_back(
          fmt::format("{} of {} tensors were read under other names, such as {}", renamed, stored_.size(), example));
    }
  }

  // The stored tensor for an expected one, or null. What is wrong is added to difference_.
  const TensorInfo* tensor_for(const ExpectedTensor& e) {
    if (plan_.new_classifier && is_classifier(e)) {
      return nullptr;
    }
    const TensorInfo* tensor = find(e.name);
    if (tensor == nullptr && !is_counter(e.name)) {
      difference_.missing.push_back(fmt::format("{} {}", e.name, describe(e.shape)));
    }
    if (const std::string line = tensor != nullptr ? misfit(e, *tensor) : ""; !line.empty()) {
      difference_.different.push_back(line);
    }
    return tensor;
  }

  bool wants_new_classifier() const {
    bool misfits = false;
    for (const ExpectedTensor& e : expected_) {
      if (is_classifier(e)) {
        const TensorInfo* tensor = find(e.name);
        if (!is_other_label_count(e, tensor)) {
          return false;
        }
        misfits = misfits || tensor == nullptr || tensor->shape != e.shape;
      }
    }
    return misfits;
  }

  std::string new_classifier_note() const {
    for (const ExpectedTensor& e : expected_) {
      const TensorInfo* tensor = is_classifier(e) ? find(e.name) : nullptr;
      if (tensor != nullptr) {
        return fmt::format("the stored classifier has {} outputs and this network {}: the classifier starts anew",
                           tensor->shape[0], e.shape[0]);
      }
    }
    return "the file holds no classifier: the classifier starts anew";
  }

  bool is_classifier(const ExpectedTensor& e) const { return e.name.starts_with(names_.classifier); }

  const TensorInfo* find(const std::string& name) const {
    const auto found = at_.find(name);
    return found == at_.end() ? nullptr : stored_[found->second].second;
  }

  const TensorFile& file_;
  std::span<const ExpectedTensor> expected_;
  const TensorNames& names_;
  std::set<std::string_view> wanted_;
  // Tensors of the file under the names that the network has for them, and where each name is.
  std::vector<std::pair<std::string, const TensorInfo*>> stored_;
  std::unordered_map<std::string, std::size_t> at_;
  LoadPlan plan_;
  Difference difference_;
};

}  // namespace

LoadPlan match_tensors(const TensorFile& file, std::span<const ExpectedTensor> expected, const TensorNames& names,
                       LoadPolicy policy) {
  return Matching(file, expected, names).plan(policy);
}

void check_finite(const TensorFile& file) {
  for (const TensorInfo& tensor : file.tensors()) {
    if (!is_float(tensor.type) || tensor.name.starts_with(kProgressPrefix)) {  // the best loss of none is infinite
      continue;
    }
    for (const double value : tensor.to_float64()) {
      check(std::isfinite(value), "{}: '{}' holds {}; weights, statistics and an optimiser's state must be finite",
            file.source(), tensor.name, value);
    }
  }
}

}  // namespace densetree
