// "Any device, one test": a case declares shapes, layouts and tolerance once and runs on every device present.
//
//   class PoolingTest : public OpTest {};
//   TEST_P(PoolingTest, Average) {
//     Tensor x(device(), shape, {Layout::kSlabs16, 8, 4}, values);     // a slice with 8 channels before and 4 after
//     Tensor y(device(), out_shape, {Layout::kSlabs16});
//     run(device(), op::AveragePool{.kernel = 2, .x = x, .y = y});
//     expect_close(y.read(), expected, tolerance);
//     y.expect_clean();
//   }
//   RUN_ON_DEVICES(PoolingTest);
//
// Everything a test hands to a device lies between guard bands, outputs and neighbour channels start as NaN of a
// known bit pattern, and workspace as NaN, so that stray reads and writes show.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/device.h"
#include "tests/kernels/reference.h"

namespace densetree::test {

using reference::Values;

inline constexpr double kEps = 0x1p-23;  // of fp32: rounding errs by at most half of it

// All that open here, and the CPU with each instruction set that this processor has.
std::vector<std::string> available_devices();
// One device of that name, opened on first use and kept.
Device& device_named(const std::string& name);

class OpTest : public testing::TestWithParam<std::string> {
 protected:
  Device& device() const { return device_named(GetParam()); }
};
std::string device_label(const testing::TestParamInfo<std::string>& info);  // "cuda:0" -> "cuda_0"
#define RUN_ON_DEVICES(suite) INSTANTIATE_TEST_SUITE_P(Any, suite, testing::ValuesIn(available_devices()), device_label)

// ---- Data: values that fp32 holds exactly ---------------------------------------------------------
Values random_values(std::int64_t count, unsigned seed, double low = -1, double high = 1);
Values rounded(Values values);                               // to fp32
Values rounded_to(DType type, Values values);                // to fp32 or bf16
Values bounded(Values values, double factor, double least);  // factor·|value| + least, for tolerances
std::vector<float> to_floats(const Values& values);
Values to_doubles(const std::vector<float>& values);
double dot(const Values& a, const Values& b);
Values plus(Values a, const Values& b, double factor = 1);  // a + factor·b
Values times(Values a, double factor);                      // for tolerances

// ---- Device memory --------------------------------------------------------------------------------
// Bytes of device memory between two guard bands, released at the end; all of it starts as 0xFF (NaN).
class Memory {
 public:
  Memory(Device& device, std::size_t bytes);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* data() const;
  void upload(const void* from) const;
  void download(void* to) const;
  void expect_guards() const;  // the bands are as they were

 private:
  Device& device_;
  std::size_t bytes_;
  char* base_;
};

// An array of T in device memory. Starts as 0xFF bytes, or as `values`.
template <class T>
class Array {
 public:
  Array(Device& device, std::size_t count) : count_(count), memory_(device, count * sizeof(T)) {}
  Array(Device& device, const std::vector<T>& values) : Array(device, values.size()) { memory_.upload(values.data()); }

  T* data() const { return static_cast<T*>(memory_.data()); }
  operator densetree::Array<T>() const { return {data(), static_cast<std::int64_t>(count_)}; }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    memory_.download(values.data());
    memory_.expect_guards();
    return values;
  }

 private:
  std::size_t count_;
  Memory memory_;
};

// The same for floats, from and to float64.
class Floats : public Array<float> {
 public:
  Floats(Device& device, std::int64_t count) : Array(device, static_cast<std::size_t>(count)) {}
  Floats(Device& device, const Values& values) : Array(device, to_floats(values)) {}
  Values read() const { return to_doubles(Array::read()); }
  std::vector<float> bits() const { return Array::read(); }
};

// Where a tensor lies: a whole one, or a slice with channels before and after it in the same memory.
struct Placement {
  Layout layout = Layout::kPlanar;
  std::int64_t before = 0, after = 0;
  DType type = DType::kFloat32;
  std::string describe() const;
};
// Whole, and slices at aligned and unaligned channels, in the layout the device gives for that use.
std::vector<Placement> placements(const Device& device, Use use);

// A tensor of fp32 or bf16 in device memory, seen through a View of `shape`. Without values it starts as NaN
// everywhere, as do the channels beside a slice always; written values come with zeros in the padding of a whole
// tensor.
class Tensor {
 public:
  Tensor(Device& device, const Shape& shape, const Placement& placement);
  Tensor(Device& device, const Shape& shape, const Placement& placement, const Values& nchw);

  const View& view() const { return view_; }
  operator densetree::Tensor() const { return view_; }
  View slice(std::int64_t begin, std::int64_t count) const { return view_.slice(begin, count); }
  void write(const Values& nchw);
  Values read() const;
  // After an operation wrote the view: neighbours and guards are as they were, padding lanes are zero.
  void expect_clean() const;
  // After an operation only read it: all bits are as they were.
  void expect_unchanged() const;

 private:
  // What lies in memory, and its elements.
  std::vector<std::byte> storage() const;
  double element(const std::vector<std::byte>& storage, std::size_t i) const;

  std::vector<std::byte> before_;  // storage as last written by the test
  Memory memory_;
  View view_;
};

// ---- Operations -----------------------------------------------------------------------------------
// The device's kernel for it. Throws Error with the refusals where there is none.
std::unique_ptr<Kernel> prepared(Device& device, const Operation& operation);
// In a workspace of exactly the bytes that the kernel asks for, full of NaN; checks that it kept to them. Waits only
// where there is such.
void run(Device& device, Kernel& kernel, const Operation& operation);
void run(Device& device, const Operation& operation);

// ---- Comparison -----------------------------------------------------------------------------------
// |actual − expected| <= tolerance + tiny for each element; NaN equals NaN alone. One message names the worst element.
void expect_close(const Values& actual, const Values& expected, const Values& tolerance, const std::string& what);
void expect_close(const Values& actual, const Values& expected, double tolerance, const std::string& what);

// That `call` throws Error with a message that contains `word`.
void expect_error(const std::function<void()>& call, const std::string& word);
// That running it throws Error, and that the message says of which operation.
void expect_refused(Device& device, const Operation& operation);

// ---- Gradients ------------------------------------------------------------------------------------
// (f(x + h·d) − f(x − h·d)) / 2h, x ± h·d rounded to fp32 as a device would see it.
double directional_difference(const std::function<double(const Values&)>& f, const Values& x, const Values& d,
                              double h);
// gradient·d agrees with that difference within `tolerance` of Σ |gradient·d|.
void expect_directional(const std::function<double(const Values&)>& f, const Values& x, const Values& gradient,
                        double h, double tolerance, const std::string& what);

}  // namespace densetree::test
