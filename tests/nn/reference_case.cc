#include "tests/nn/reference_case.h"

#include <nlohmann/json.hpp>

namespace densetree::test {
namespace {

constexpr std::uint64_t kX = 60000, kY = 60001;  // the batch's t

std::vector<float> initial_values(const ReferenceCase& c, const ExpectedTensor& tensor, std::uint64_t t) {
  std::int64_t elements = 1;
  for (const std::int64_t extent : tensor.shape) {
    elements *= extent;
  }
  const std::string& name = tensor.name;
  std::vector<float> values(elements, name.ends_with("running_var") ? 1.0f : 0.0f);
  if (name.find("running") != std::string::npos) {
    return values;
  }
  const bool matrix = tensor.shape.size() > 1;
  const bool scale = !matrix && name.find("norm") != std::string::npos && name.ends_with("weight");
  const double bound = matrix ? std::sqrt(6.0 / static_cast<double>(elements / tensor.shape[0])) : 0.1;
  for (std::int64_t i = 0; i < elements; ++i) {
    const double u = formula(c.seed, t, i);
    values[i] = static_cast<float>(scale ? 0.5 + u : (2 * u - 1) * bound);
  }
  return values;
}

}  // namespace

ReferenceCase ReferenceCase::from(const nlohmann::json& a) {
  const std::string model = a.value("model", "");
  const std::string arch = model == "tiny" ? "growth=8,blocks=2-3-4-2,init=16" : a.value("arch", model);
  const std::string loss = a.at("loss");
  return {.arch = nn::parse_architecture(arch),
          .labels = a.at("labels"),
          .size = a.at("size"),
          .batch = a.at("batch"),
          .steps = a.at("steps"),
          .seed = a.at("seed"),
          .lr = a.at("lr"),
          .loss = loss == "bce" ? LossKind::kBce : LossKind::kMse};
}

nn::TraceOptions ReferenceCase::trace_options(nn::MemoryMode memory) const {
  return {.arch = arch, .loss = loss, .memory = memory, .lr = static_cast<float>(lr), .steps = steps, .poison = true};
}

std::uint64_t splitmix64(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

double formula(std::uint64_t seed, std::uint64_t t, std::uint64_t i) {
  return static_cast<double>(splitmix64((seed << 48) + (t << 32) + i) >> 11) * 0x1p-53;
}

std::vector<ExpectedTensor> state_of(const ReferenceCase& c, Device& device) {
  const nn::Model model(device, {.arch = c.arch,
                                 .labels = c.labels,
                                 .batch_size = 1,
                                 .image_size = c.size,
                                 .training = false,
                                 .positive_weights = {}});
  return model.expected_tensors();
}

void write_weights(const ReferenceCase& c, Device& device, const std::filesystem::path& path, std::uint64_t nudge) {
  const std::vector<ExpectedTensor> tensors = state_of(c, device);
  const std::int64_t zero = 0;
  std::vector<std::vector<float>> values(tensors.size());
  TensorWriter writer;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    if (tensors[t].name.ends_with("num_batches_tracked")) {
      writer.add(tensors[t].name, TensorType::kInt64, {}, &zero);
    } else {
      values[t] = initial_values(c, tensors[t], t);
      for (std::size_t i = 0; i < values[t].size() && nudge != 0; ++i) {
        const double u = formula(nudge, t, i);
        const float to = u < 1.0 / 3 ? -INFINITY : INFINITY;
        values[t][i] = u < 2.0 / 3 ? std::nextafter(values[t][i], to) : values[t][i];
      }
      writer.add(tensors[t].name, TensorType::kFloat32, tensors[t].shape, values[t].data());
    }
  }
  writer.write(path);
}

void write_batch(const ReferenceCase& c, const std::filesystem::path& path) {
  std::vector<float> x(c.batch * kInputChannels * c.size * c.size), y(c.batch * c.labels);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(2 * formula(c.seed, kX, i) - 1);
  }
  for (std::size_t i = 0; i < y.size(); ++i) {
    y[i] = formula(c.seed, kY, i) < 0.3 ? 1.0f : 0.0f;
  }
  TensorWriter writer;
  writer.add("x", TensorType::kFloat32, {c.batch, kInputChannels, c.size, c.size}, x.data());
  writer.add("y", TensorType::kFloat32, {c.batch, c.labels}, y.data());
  writer.write(path);
}

FormulaFiles::FormulaFiles(const ReferenceCase& c, Device& device, std::uint64_t nudge) : case_(c), device_(device) {
  write_weights(c, device, folder_ / "weights.safetensors", nudge);
  write_batch(c, folder_ / "batch.safetensors");
}

nn::Trace FormulaFiles::trace(nn::MemoryMode memory) const {
  return nn::run_trace(device_, case_.trace_options(memory), TensorFile::open(folder_ / "weights.safetensors"),
                       TensorFile::open(folder_ / "batch.safetensors"));
}

}  // namespace densetree::test
