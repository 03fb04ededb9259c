#include "tests/kernels/op_case.h"

#include <cmath>
#include <cstring>
#include <map>
#include <random>

#include "kernels/core/bfloat16.h"
#include "kernels/cpu/instruction_sets.h"

namespace densetree::test {

namespace {
constexpr std::size_t kGuard = 256;  // bytes; a multiple of any alignment that allocate() promises
constexpr unsigned char kFill = 0xFF;
constexpr double kTiny = 1e-36;  // results below fp32's normal range are as good as zero
}  // namespace

std::vector<std::string> available_devices() {
  std::vector<std::string> names;
  for (const DeviceStatus& status : list_devices()) {
    if (status.available) names.push_back(status.name);
  }
  for (const cpu::InstructionSet& set : cpu::instruction_sets()) {
    if (set.supported && &set != &cpu::best_instruction_set()) names.push_back(fmt::format("cpu:{}", set.name));
  }
  return names;
}

Device& device_named(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Device>> open;
  std::unique_ptr<Device>& device = open[name];
  if (!device) device = make_device(name);
  return *device;
}

std::string device_label(const testing::TestParamInfo<std::string>& info) {
  std::string label = info.param;
  for (char& c : label) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return label;
}

// ---- Data ----------------------------------------------------------------------------------------

Values random_values(std::int64_t count, unsigned seed, double low, double high) {
  std::mt19937 engine(seed);
  Values values(static_cast<std::size_t>(count));
  for (double& v : values) v = low + (high - low) * (engine() * 0x1p-32);
  return rounded(values);
}

Values rounded(Values values) {
  for (double& v : values) v = static_cast<float>(v);
  return values;
}

Values rounded_to(DType type, Values values) {
  for (double& v : values) {
    const auto wide = static_cast<float>(v);
    v = type == DType::kBFloat16 ? float_of_bfloat16(bfloat16_bits(wide)) : wide;
  }
  return values;
}

Values bounded(Values values, double factor, double least) {
  for (double& v : values) v = factor * std::abs(v) + least;
  return values;
}

std::vector<float> to_floats(const Values& values) {
  return {values.begin(), values.end()};
}
Values to_doubles(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

Values plus(Values a, const Values& b, double factor) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += factor * b[i];
  return a;
}

Values times(Values a, double factor) {
  for (double& v : a) v *= factor;
  return a;
}

// ---- Device memory -------------------------------------------------------------------------------

Memory::Memory(Device& device, std::size_t bytes)
    : device_(device), bytes_(bytes), base_(static_cast<char*>(device.allocate(bytes + 2 * kGuard))) {
  device_.fill(base_, kFill, bytes_ + 2 * kGuard);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(base_) % 64, 0u) << "allocate() promises 64-byte alignment";
}

Memory::~Memory() {
  device_.release(base_);
}

void* Memory::data() const {
  return base_ + kGuard;
}

void Memory::upload(const void* from) const {
  if (bytes_ > 0) device_.upload(data(), from, bytes_);
}

void Memory::download(void* to) const {
  if (bytes_ > 0) device_.download(to, data(), bytes_);
}

void Memory::expect_guards() const {
  std::vector<unsigned char> bands(2 * kGuard);
  device_.download(bands.data(), base_, kGuard);
  device_.download(bands.data() + kGuard, base_ + kGuard + bytes_, kGuard);
  for (std::size_t i = 0; i < bands.size(); ++i) {
    if (bands[i] != kFill) {
      ADD_FAILURE() << "memory " << (i < kGuard ? "before" : "after") << " an array of " << bytes_
                    << " bytes was written, at byte " << i % kGuard << " of the guard";
      return;
    }
  }
}

// ---- Tensors -------------------------------------------------------------------------------------

std::string Placement::describe() const {
  return fmt::format("{} {} with {} channels before and {} after", name_of(type), name_of(layout), before, after);
}

std::vector<Placement> placements(const Device& device, Use use) {
  const Layout layout = device.layout(use);
  return {{layout, 0, 0}, {layout, 8, 0}, {layout, 0, 5}, {layout, 24, 8}, {layout, 16, 16}};
}

Tensor::Tensor(Device& device, const Shape& shape, const Placement& placement)
    : before_(static_cast<std::size_t>(storage_elements(
                  {shape.n, placement.before + shape.c + placement.after, shape.h, shape.w}, placement.layout)) *
                  size_of(placement.type),
              std::byte{0xFF}),
      memory_(device, before_.size()) {
  const std::int64_t total = placement.before + shape.c + placement.after;
  view_ = make_view(memory_.data(), {shape.n, total, shape.h, shape.w}, placement.layout, placement.type)
              .slice(placement.before, shape.c);
}

Tensor::Tensor(Device& device, const Shape& shape, const Placement& placement, const Values& nchw)
    : Tensor(device, shape, placement) {
  write(nchw);
}

namespace {

// Calls lane(index in storage, index in NCHW values, or -1 for a padding lane of a whole view).
template <class Lane>
void for_each_lane(const View& view, const void* storage, const Lane& lane) {
  const std::ptrdiff_t start = (static_cast<const char*>(view.data) - static_cast<const char*>(storage)) /
                               static_cast<std::ptrdiff_t>(size_of(view.dtype));
  for (std::int64_t n = 0; n < view.n; ++n)
    for (std::int64_t c = 0; c < view.padded_channels(); ++c)
      for (std::int64_t p = 0; p < view.pixels(); ++p) {
        lane(static_cast<std::size_t>(start + view.offset(n, c, p)),
             c < view.c ? (n * view.c + c) * view.pixels() + p : -1);
      }
}

}  // namespace

void Tensor::write(const Values& nchw) {
  ASSERT_EQ(nchw.size(), static_cast<std::size_t>(view_.shape().elements()));
  const std::size_t size = size_of(view_.dtype);
  for_each_lane(view_, memory_.data(), [&](std::size_t i, std::ptrdiff_t value) {
    const float wide = value < 0 ? 0.0f : static_cast<float>(nchw[static_cast<std::size_t>(value)]);
    const std::uint16_t narrow = bfloat16_bits(wide);
    std::memcpy(&before_[i * size], size == sizeof(float) ? static_cast<const void*>(&wide) : &narrow, size);
  });
  memory_.upload(before_.data());
}

std::vector<std::byte> Tensor::storage() const {
  std::vector<std::byte> now(before_.size());
  memory_.download(now.data());
  return now;
}

double Tensor::element(const std::vector<std::byte>& storage, std::size_t i) const {
  if (view_.dtype == DType::kBFloat16) {
    std::uint16_t narrow;
    std::memcpy(&narrow, &storage[i * sizeof(narrow)], sizeof(narrow));
    return float_of_bfloat16(narrow);
  }
  float wide;
  std::memcpy(&wide, &storage[i * sizeof(wide)], sizeof(wide));
  return wide;
}

Values Tensor::read() const {
  const std::vector<std::byte> now = storage();
  Values nchw(static_cast<std::size_t>(view_.shape().elements()));
  for_each_lane(view_, memory_.data(), [&](std::size_t i, std::ptrdiff_t value) {
    if (value >= 0) nchw[static_cast<std::size_t>(value)] = element(now, i);
  });
  return nchw;
}

void Tensor::expect_clean() const {
  memory_.expect_guards();
  const std::vector<std::byte> now = storage();
  const std::size_t size = size_of(view_.dtype);
  std::vector<char> mine(now.size() / size, 0);
  std::size_t padding = 0, neighbours = 0;
  for_each_lane(view_, memory_.data(), [&](std::size_t i, std::ptrdiff_t value) {
    mine[i] = 1;
    padding += value < 0 && element(now, i) != 0;
  });
  for (std::size_t i = 0; i < mine.size(); ++i) {
    neighbours += !mine[i] && std::memcmp(&now[i * size], &before_[i * size], size) != 0;
  }
  EXPECT_EQ(padding, 0u) << "padding lanes of a whole tensor have to be written as zeros";
  EXPECT_EQ(neighbours, 0u) << "elements of channels beside the slice were written";
}

void Tensor::expect_unchanged() const {
  memory_.expect_guards();
  EXPECT_TRUE(storage() == before_) << "an operation wrote a tensor that it only reads";
}

// ---- Operations ----------------------------------------------------------------------------------

std::unique_ptr<Kernel> prepared(Device& device, const Operation& operation) {
  std::vector<Refusal> refusals;
  auto kernel = device.prepare(operation, &refusals);
  std::string reasons;
  for (const Refusal& refusal : refusals) {
    reasons += fmt::format("; {}: {}", refusal.implementation, refusal.reason);
  }
  check(kernel != nullptr, "{}: nothing computes it{}", name_of(operation), reasons);
  return kernel;
}

void run(Device& device, Kernel& kernel, const Operation& operation) {
  if (kernel.workspace_bytes() == 0) {
    return kernel.run(operation, nullptr);
  }
  const Memory workspace(device, kernel.workspace_bytes());
  kernel.run(operation, workspace.data());
  workspace.expect_guards();
}

void run(Device& device, const Operation& operation) {
  run(device, *prepared(device, operation), operation);
}

// ---- Comparison ----------------------------------------------------------------------------------

void expect_close(const Values& actual, const Values& expected, const Values& tolerance, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  ASSERT_EQ(actual.size(), tolerance.size()) << what;
  std::size_t worst = 0, wrong = 0;
  double worst_ratio = -1;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const bool same = actual[i] == expected[i] || (std::isnan(actual[i]) && std::isnan(expected[i]));
    double ratio = same ? 0 : std::abs(actual[i] - expected[i]) / (tolerance[i] + kTiny);
    if (std::isnan(ratio)) ratio = INFINITY;
    wrong += ratio > 1;
    if (ratio > worst_ratio) worst_ratio = ratio, worst = i;
  }
  if (std::getenv("DENSETREE_SHOW_ERRORS"))
    fmt::print("{}: worst error is {:.3f} of the tolerance\n", what, worst_ratio);
  if (wrong > 0) {
    ADD_FAILURE() << fmt::format(
        "{}: {} of {} elements are off; the worst, element {}, is {:.9g} instead of {:.9g}, "
        "{:.3g} times the tolerance of {:.3g}",
        what, wrong, actual.size(), worst, actual[worst], expected[worst], worst_ratio, tolerance[worst]);
  }
}

void expect_close(const Values& actual, const Values& expected, double tolerance, const std::string& what) {
  expect_close(actual, expected, Values(expected.size(), tolerance), what);
}

void expect_error(const std::function<void()>& call, const std::string& word) {
  try {
    call();
    ADD_FAILURE() << "no Error; one that says '" << word << "' was expected";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(word), std::string::npos)
        << "the message is '" << error.what() << "' and does not say '" << word << "'";
  }
}

void expect_refused(Device& device, const Operation& operation) {
  expect_error([&] { run(device, operation); }, fmt::format("{}: ", name_of(operation)));
}

// ---- Gradients -----------------------------------------------------------------------------------

double directional_difference(const std::function<double(const Values&)>& f, const Values& x, const Values& d,
                              double h) {
  return (f(rounded(plus(x, d, h))) - f(rounded(plus(x, d, -h)))) / (2 * h);
}

void expect_directional(const std::function<double(const Values&)>& f, const Values& x, const Values& gradient,
                        double h, double tolerance, const std::string& what) {
  // A direction aligned with the gradient's signs, so that the derivative is large beside rounding errors, and
  // uneven, so that gradients in the wrong places do not cancel.
  Values d = random_values(static_cast<std::int64_t>(x.size()), 77, 0.25, 1);
  double scale = 0;
  for (std::size_t i = 0; i < d.size(); ++i) {
    d[i] = i % 3 == 0 ? -d[i] : std::copysign(d[i], gradient[i]);
    scale += std::abs(gradient[i] * d[i]);
  }
  EXPECT_NEAR(directional_difference(f, x, d, h), dot(gradient, d), tolerance * scale) << what;
}

}  // namespace densetree::test
