// Safetensors files made of names and shapes, for tests of what reads them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/load_plan.h"

namespace densetree {

class TensorFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("tensors_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    path_ = folder_ / "w.safetensors";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // A file of float tensors filled with their position, and int64 counters.
  TensorFile file_of(const std::vector<ExpectedTensor>& tensors,
                     const std::map<std::string, std::string>& metadata = {}) {
    std::vector<std::vector<float>> values;
    const std::int64_t counter = 5;
    TensorWriter writer;
    for (const ExpectedTensor& t : tensors) {
      std::int64_t elements = 1;
      for (const std::int64_t d : t.shape) {
        elements *= d;
      }
      const bool counts = t.name.ends_with("num_batches_tracked");
      values.emplace_back(static_cast<std::size_t>(elements), static_cast<float>(values.size()));
      writer.add(t.name, counts ? TensorType::kInt64 : TensorType::kFloat32, t.shape,
                 counts ? static_cast<const void*>(&counter) : values.back().data());
    }
    for (const auto& [key, value] : metadata) {
      writer.set_metadata(key, value);
    }
    writer.write(path_);
    return TensorFile::open(path_);
  }

  std::filesystem::path folder_, path_;
};

inline void expect_says(const std::string& text, const std::string& wanted) {
  EXPECT_NE(text.find(wanted), std::string::npos) << text << "\nshould say: " << wanted;
}

// A small network, with a tensor of every kind.
inline const std::vector<ExpectedTensor>& network() {
  static const std::vector<ExpectedTensor> tensors = {
      {"features.conv0.weight", {4, 3, 7, 7}},
      {"features.norm0.weight", {4}},
      {"features.norm0.num_batches_tracked", {}},
      {"features.denseblock1.denselayer1.norm1.weight", {4}},
      {"features.denseblock1.denselayer1.conv2.weight", {2, 8, 3, 3}},
      {"features.transition1.norm.weight", {6}},
      {"classifier.weight", {14, 6}},
      {"classifier.bias", {14}},
  };
  return tensors;
}

}  // namespace densetree
