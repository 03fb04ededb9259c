#include "tests/nn/trace_error.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace densetree::test {
namespace {

using Values = std::vector<double>;

double squared_distance(const Values& a, const Values& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += (a[i] - b[i]) * (a[i] - b[i]);
  }
  return sum;
}
double squared_norm(const Values& a) {
  return squared_distance(a, Values(a.size(), 0.0));
}

// Largest |got − want| over the largest |want|. NaN where got has one: comparisons with a limit then fail.
double far(const Values& got, const Values& want) {
  EXPECT_EQ(got.size(), want.size());
  double difference = 0, largest = 0;
  for (std::size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    const double d = std::abs(got[i] - want[i]);
    difference = d <= difference ? difference : d;
    largest = std::max(largest, std::abs(want[i]));
  }
  return difference / largest;
}

Values flat(const nlohmann::json& values) {
  if (!values.is_array()) {
    return {values.get<double>()};
  }
  Values result;
  for (const nlohmann::json& value : values) {
    const Values part = flat(value);
    result.insert(result.end(), part.begin(), part.end());
  }
  return result;
}

// Keeps the larger; NaN stays.
void raise(double& worst, double value) {
  worst = value <= worst ? worst : value;
}

double median(Values values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;  // as numpy
}

struct OffCount {
  double limit;  // 5 % of the learning rate
  std::int64_t off = 0, all = 0;
  void add(double got, double want) {
    off += !(std::abs(got - want) <= limit);
    ++all;
  }
  double share() const { return static_cast<double>(off) / static_cast<double>(all); }
};

void losses(const nn::Trace& got, const nlohmann::json& stored, const ReferenceCase& c, TraceError& error) {
  const Values want = flat(stored.at("loss"));
  for (int k = 0; k < c.steps; ++k) {
    raise(error.measures["loss"], far(got.at(fmt::format("step{}.loss", k)).values, {want.at(k)}));
  }
  error.measures["eval_logits"] = far(got.at("eval.logits").values, flat(stored.at("eval_logits")));
}

}  // namespace

TraceError full_error(const nn::Trace& got, const TensorFile& want, const ReferenceCase& c) {
  TraceError error;
  auto& m = error.measures;
  OffCount off{0.05 * c.lr};
  Values relative;
  double grads = 0, grad_errors = 0;
  for (const TensorInfo& tensor : want.tensors()) {
    const std::string& name = tensor.name;
    const Values& values = got.at(name).values;
    if (name.ends_with("num_batches_tracked")) {  // a scalar; numpy wrote it as an array of one
      EXPECT_EQ(values, Values{static_cast<double>(tensor.to_int64().at(0))}) << name;
      continue;
    }
    EXPECT_EQ(got.at(name).shape, tensor.shape) << name;
    const Values expected = tensor.to_float64();
    if (name.starts_with("grad.")) {
      const double difference = squared_distance(values, expected), norm = squared_norm(expected);
      relative.push_back(std::sqrt(difference / std::max(norm, 1e-300)));
      grads += norm, grad_errors += difference;
    } else if (name.starts_with("step")) {
      raise(m[name.ends_with(".loss") ? "loss" : "logits"], far(values, expected));
    } else if (name == "eval.logits") {
      m["eval_logits"] = far(values, expected);
    } else if (name.find("running") != std::string::npos) {
      raise(m["running"], far(values, expected));
    } else {
      for (std::size_t i = 0; i < expected.size(); ++i) {
        off.add(values[i], expected[i]);
      }
    }
  }
  EXPECT_EQ(got.size(), want.tensors().size()) << "the trace has tensors that the reference lacks";
  m["grad_total"] = std::sqrt(grad_errors / grads);
  m["grad_median"] = median(relative);
  m["weights_off"] = off.share();
  return error;
}

TraceError summary_error(const nn::Trace& got, const nlohmann::json& summary, const ReferenceCase& c) {
  TraceError error;
  auto& m = error.measures;
  losses(got, summary, c, error);
  m["logits"] = far(got.at("step0.logits").values, flat(summary.at("logits")));

  double norms = 0, norm_errors = 0, first_errors = 0;
  for (const auto& [name, brief] : summary.at("grad").items()) {
    const Values& values = got.at("grad." + name).values;
    const double norm = brief.at("l2");
    const Values first = flat(brief.at("first"));
    norms += norm * norm;
    norm_errors += std::pow(std::sqrt(squared_norm(values)) - norm, 2);
    first_errors += squared_distance(first, values) * static_cast<double>(values.size() / first.size());
  }
  m["grad_norms"] = std::sqrt(norm_errors / norms);
  m["grad_total"] = std::sqrt(first_errors / norms);

  OffCount off{0.05 * c.lr};
  for (const auto& [name, brief] : summary.at("final").items()) {
    const Values& values = got.at("final." + name).values;
    const Values first = flat(brief.at("first"));
    if (name.find("running") == std::string::npos) {
      for (std::size_t i = 0; i < first.size(); ++i) {
        off.add(values[i], first[i]);
      }
      continue;
    }
    Values padded = first, same(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(first.size()));
    const double typical = brief.at("l2").get<double>() / std::sqrt(static_cast<double>(values.size()));
    padded.push_back(typical), same.push_back(typical);
    raise(m["running"], far(same, padded));
  }
  m["weights_off"] = off.share();
  error.samples = off.all;
  return error;
}

TraceError sketch_error(const nn::Trace& got, const nlohmann::json& stored, const std::vector<ExpectedTensor>& state,
                        const ReferenceCase& c) {
  TraceError error;
  auto& m = error.measures;
  losses(got, stored, c, error);
  for (int k = 0; k < c.steps; ++k) {
    raise(m["logits"], far(got.at(fmt::format("step{}.logits", k)).values, flat(stored.at("logits").at(k))));
  }

  constexpr int kSums = 4;
  const auto stride = stored.at("stride").get<std::size_t>();
  const Values final_values = flat(stored.at("final"));
  OffCount off{0.05 * c.lr};
  double norms = 0, norm_errors = 0, sum_errors = 0;
  std::size_t parameter = 0, running = 0, laid = 0;
  for (std::size_t t = 0; t < state.size(); ++t) {
    const std::string& name = state[t].name;
    const Values& after = got.at("final." + name).values;
    if (name.ends_with("num_batches_tracked")) {
      EXPECT_EQ(after, Values{static_cast<double>(c.steps)}) << name;
    } else if (name.find("running") != std::string::npos) {
      const Values want = flat(stored.at("running").at(running++));  // [largest, spots…]
      const std::size_t step = std::max<std::size_t>(1, after.size() / 6);
      for (std::size_t i = 1; i < want.size(); ++i) {
        raise(m["running"], std::abs(after.at((i - 1) * step) - want[i]) / want[0]);
      }
    } else {
      const Values& gradient = got.at("grad." + name).values;
      const Values want = flat(stored.at("grad").at(parameter++));  // [norm, sums…]
      Values sums(kSums, 0.0);
      for (std::size_t i = 0; i < gradient.size(); ++i) {
        const std::uint64_t bits = splitmix64((static_cast<std::uint64_t>(t) << 32) + i) >> 60;
        for (int j = 0; j < kSums; ++j) {
          sums[j] += bits >> j & 1 ? -gradient[i] : gradient[i];
        }
      }
      norms += want[0] * want[0];
      norm_errors += std::pow(std::sqrt(squared_norm(gradient)) - want[0], 2);
      sum_errors += squared_distance(sums, {want.begin() + 1, want.end()}) / kSums;
      for (std::size_t i = (stride - laid % stride) % stride; i < after.size(); i += stride) {
        off.add(after[i], final_values.at((laid + i) / stride));
      }
      laid += after.size();
    }
  }
  EXPECT_EQ(parameter, stored.at("grad").size());
  EXPECT_EQ(running, stored.at("running").size());
  EXPECT_EQ(static_cast<std::size_t>(off.all), final_values.size());
  m["grad_norms"] = std::sqrt(norm_errors / norms);
  m["grad_total"] = std::sqrt(sum_errors / norms);
  m["weights_off"] = off.share();
  error.samples = off.all;
  return error;
}

namespace {
double error_of(const std::string& measure, const nlohmann::json& pytorch) {
  return pytorch.at(measure == "grad_norms" ? "grad_total" : measure);
}
}  // namespace

double limit_of(const std::string& measure, const nlohmann::json& pytorch, std::int64_t samples) {
  static const std::map<std::string, double> floors{{"loss", 1e-6},        {"logits", 1e-5},      {"grad_total", 1e-5},
                                                    {"grad_norms", 1e-5},  {"grad_median", 1e-5}, {"running", 1e-5},
                                                    {"eval_logits", 1e-4}, {"weights_off", 1e-4}};
  const double limit = std::max(3 * error_of(measure, pytorch), floors.at(measure));
  if (measure == "weights_off" && samples > 0) {
    const double expected = limit * static_cast<double>(samples);
    return (expected + 3 * std::sqrt(expected)) / static_cast<double>(samples);
  }
  return limit;
}

std::vector<std::string> beyond(const TraceError& error, const nlohmann::json& pytorch,
                                const std::map<std::string, double>& conditioning) {
  EXPECT_GE(error.measures.size(), 7u);
  std::vector<std::string> found;
  for (const auto& [measure, value] : error.measures) {
    double limit = limit_of(measure, pytorch, error.samples);
    if (const auto moved = conditioning.find(measure); moved != conditioning.end()) {
      limit = std::max(limit, kConditioning * moved->second);
    }
    if (!(value <= limit)) {
      found.push_back(fmt::format("{} is {:.3g}, beyond {:.3g}; PyTorch in float32 is off by {:.3g}", measure, value,
                                  limit, error_of(measure, pytorch)));
    }
    testing::Test::RecordProperty(measure, fmt::format("{:.3g}", value));
  }
  return found;
}

}  // namespace densetree::test
