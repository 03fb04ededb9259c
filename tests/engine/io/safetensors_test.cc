#include "engine/io/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>

#include "engine/io/file.h"
#include "kernels/core/error.h"
#include "tests/shared_data.h"

namespace densetree {
namespace {

namespace fs = std::filesystem;

class Safetensors : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              (std::string("safetensors_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    path_ = folder_ / "t.safetensors";
  }
  void TearDown() override { fs::remove_all(folder_); }

  void spill(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  // A file of this header, a length that fits it, and `data_bytes` zeros.
  void put(const std::string& header, std::size_t data_bytes) { put_raw(header.size(), header, data_bytes); }
  void put_raw(std::uint64_t length, const std::string& header, std::size_t data_bytes) {
    std::string text(reinterpret_cast<const char*>(&length), sizeof length);
    spill(text + header + std::string(data_bytes, '\0'));
  }
  // Opening the file fails with a message that names the file and holds `wanted`.
  void expect_refused(const std::string& wanted) {
    try {
      TensorFile::open(path_);
      ADD_FAILURE() << "opened, but should say: " << wanted;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(wanted), std::string::npos)
          << error.what() << "\nshould say: " << wanted;
      EXPECT_NE(std::string(error.what()).find("t.safetensors"), std::string::npos) << error.what();
    }
  }

  fs::path folder_, path_;
};

TEST_F(Safetensors, ReadsBackWhatWasWrittenInOrder) {
  const std::vector<float> z = {1.5f, -2, 3, std::numeric_limits<float>::infinity(), 0, -0.0f};
  const std::vector<std::int64_t> a = {-7};
  const std::vector<double> empty;
  TensorWriter writer;
  writer.add("z \"quoted\" ü", TensorType::kFloat32, {2, 3}, z.data());
  writer.add("a", TensorType::kInt64, {}, a.data());
  writer.add("none", TensorType::kFloat64, {0, 4}, empty.data());
  writer.set_metadata("arch", "densenet121");
  writer.set_metadata("labels", "[\"Mass\"]");
  writer.write(path_);

  const TensorFile file = TensorFile::open(path_);
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.tensors()[0].name, "z \"quoted\" ü");
  EXPECT_EQ(file.at("a").shape, TensorShape{});
  EXPECT_EQ(file.at("a").to_int64(), a);
  EXPECT_EQ(file.at("none").elements(), 0);
  EXPECT_EQ(file.tensors()[0].to_float32(), z);
  EXPECT_EQ(file.tensors()[0].shape, (TensorShape{2, 3}));
  EXPECT_EQ(file.metadata().at("arch"), "densenet121");
  EXPECT_EQ(file.metadata().size(), 2u);
  EXPECT_EQ(file.find("b"), nullptr);
  EXPECT_THROW(file.at("b"), Error);

  std::uint64_t length = 0;
  const std::string text = read_file(path_);
  std::memcpy(&length, text.data(), sizeof length);
  EXPECT_EQ(length % 8, 0u);
}

TEST_F(Safetensors, CopiesTheReferenceTensorForTensor) {
  const std::vector<std::string> files = {"weights", "batch", "trace"};
  for (const std::string& name : files) {
    const fs::path path = fs::path("reference/tiny-mse") / (name + ".safetensors");
    DENSETREE_NEEDS_SHARED(path);
    const TensorFile file = TensorFile::open(shared_folder() / path);
    TensorWriter writer;
    for (const TensorInfo& t : file.tensors()) {
      writer.add(t.name, t.type, t.shape, t.bytes.data());
    }
    writer.write(path_);
    const TensorFile copy = TensorFile::open(path_);
    ASSERT_EQ(copy.tensors().size(), file.tensors().size());
    for (std::size_t i = 0; i < file.tensors().size(); ++i) {
      const TensorInfo &a = file.tensors()[i], &b = copy.tensors()[i];
      EXPECT_EQ(a.name, b.name);
      EXPECT_EQ(a.type, b.type);
      EXPECT_EQ(a.shape, b.shape);
      EXPECT_EQ(std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()), 0);
    }
  }
}

TEST_F(Safetensors, ReadsTheReferenceTrace) {
  DENSETREE_NEEDS_SHARED("reference/tiny-mse/trace.safetensors");
  const TensorFile trace = TensorFile::open(shared_folder() / "reference/tiny-mse/trace.safetensors");
  EXPECT_EQ(trace.tensors()[0].name, "step0.loss");
  EXPECT_EQ(trace.at("step0.logits").shape, (TensorShape{4, 13}));
  EXPECT_DOUBLE_EQ(trace.at("step0.loss").to_float64()[0], 0.2798699059482873);
  EXPECT_EQ(trace.at("final.features.norm0.num_batches_tracked").to_int64(), std::vector<std::int64_t>{3});
  const TensorFile batch = TensorFile::open(shared_folder() / "reference/tiny-mse/batch.safetensors");
  for (const float y : batch.at("y").to_float32()) {
    EXPECT_TRUE(y == 0 || y == 1);
  }
}

TEST_F(Safetensors, PythonReadsWhatWeWrite) {
  if (std::system("/usr/bin/python3 -c 'import json, struct' 2>/dev/null") != 0) {
    GTEST_SKIP() << "needs python3";
  }
  const std::vector<float> values = {0.25f, 8, -3};
  TensorWriter writer;
  writer.add("a", TensorType::kFloat32, {3}, values.data());
  writer.set_metadata("k", "v");
  writer.write(path_);
  const std::string script = R"(import json, struct, sys
b = open(sys.argv[1], 'rb').read()
n, = struct.unpack('<Q', b[:8])
h = json.loads(b[8:8 + n])
assert h['__metadata__'] == {'k': 'v'}, h
assert h['a'] == {'dtype': 'F32', 'shape': [3], 'data_offsets': [0, 12]}, h
assert struct.unpack('<3f', b[8 + n:]) == (0.25, 8, -3)
)";
  write_file(folder_ / "read.py", script);
  const std::string command = "/usr/bin/python3 '" + (folder_ / "read.py").string() + "' '" + path_.string() + "'";
  EXPECT_EQ(std::system(command.c_str()), 0);
}

TEST_F(Safetensors, ConvertsHalfPrecision) {
  // 1, -2, smallest subnormal, largest, infinity, NaN, -0
  const std::vector<std::uint16_t> half = {0x3C00, 0xC000, 0x0001, 0x7BFF, 0x7C00, 0x7E00, 0x8000};
  const std::vector<std::uint16_t> brain = {0x3F80, 0xC000, 0x0001, 0x7F7F, 0x7F80, 0x7FC0, 0x8000};
  const std::uint8_t odd = 1;  // the bytes behind it are not aligned
  TensorWriter writer;
  writer.add("odd", TensorType::kUInt8, {1}, &odd);
  writer.add("half", TensorType::kFloat16, {7}, half.data());
  writer.add("brain", TensorType::kBFloat16, {7}, brain.data());
  writer.write(path_);
  const TensorFile file = TensorFile::open(path_);
  const auto h = file.at("half").to_float64();
  EXPECT_EQ(h[0], 1);
  EXPECT_EQ(h[1], -2);
  EXPECT_EQ(h[2], 0x1p-24);
  EXPECT_EQ(h[3], 65504);
  EXPECT_TRUE(std::isinf(h[4]));
  EXPECT_TRUE(std::isnan(h[5]));
  EXPECT_TRUE(std::signbit(h[6]) && h[6] == 0);
  const auto b = file.at("brain").to_float32();
  EXPECT_EQ(b[0], 1);
  EXPECT_EQ(b[1], -2);
  EXPECT_EQ(b[2], 0x1p-133f);
  EXPECT_EQ(b[3], 0x1.fep127f);
  EXPECT_TRUE(std::isinf(b[4]));
  EXPECT_TRUE(std::isnan(b[5]));
  EXPECT_THROW(file.at("odd").to_float32(), Error);
  EXPECT_THROW(file.at("half").to_int64(), Error);
  EXPECT_EQ(file.at("odd").to_int64(), std::vector<std::int64_t>{1});
  std::vector<float> small(3);
  EXPECT_THROW(file.at("half").copy_float32(small), Error);
}

TEST_F(Safetensors, RefusesHeadersThatAreNone) {
  spill("");
  EXPECT_THROW(TensorFile::open(path_), Error);
  spill("abc");
  expect_refused("too few");
  put_raw(std::uint64_t{1} << 62, "{}", 0);
  expect_refused("at most 100000000");
  put_raw(50, "{}", 8);
  expect_refused("cut short, 40 bytes missing");
  put("[]", 0);
  expect_refused("not a JSON object");
  put("{\"a\":", 0);
  expect_refused("not valid JSON");
  put("{} x", 0);
  expect_refused("not valid JSON");
  put("{\"\xff\":{}}", 0);
  expect_refused("not valid JSON");
  put(std::string(1, '{') + "\"a\":" + std::string(1'000'000, '['), 0);
  expect_refused("nests deeper");
  std::string objects = "{";
  for (int i = 0; i < 100'000; ++i) {
    objects += "\"a\":{";
  }
  put(objects, 0);
  expect_refused("nests deeper");
}

TEST_F(Safetensors, AcceptsEmptyAndPaddedHeaders) {
  put("{}      ", 0);
  EXPECT_TRUE(TensorFile::open(path_).tensors().empty());
  put(R"({"__metadata__":{}})", 0);
  EXPECT_TRUE(TensorFile::open(path_).metadata().empty());
}

TEST_F(Safetensors, RefusesEntriesThatDoNotAddUp) {
  const auto one = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"w":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  const auto refused = [&](const std::string& header, std::size_t bytes, const std::string& wanted) {
    SCOPED_TRACE(header);
    put(header, bytes);
    expect_refused(wanted);
  };
  refused(R"({"w":3})", 0, "'w' is not described by a JSON object");
  refused(R"({"w":{}})", 0, "'w' has no dtype");
  refused(one("7", "[1]", "[0,4]"), 4, "has no dtype");
  refused(one("\"F31\"", "[1]", "[0,4]"), 4, "dtype 'F31'");
  refused(one("\"F32\"", "1", "[0,4]"), 4, "has no shape");
  refused(one("\"F32\"", "[-1]", "[0,4]"), 4, "dimension -1");
  refused(one("\"F32\"", "[1.5]", "[0,4]"), 4, "dimension 1.5");
  refused(one("\"F32\"", "[18446744073709551615]", "[0,4]"), 4, "dimension 18446744073709551615");
  refused(one("\"F32\"", "[4611686018427387904, 4]", "[0,4]"), 4, "larger than any memory");
  refused(one("\"F32\"", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "17 dimensions");
  refused(one("\"F32\"", "[1]", "[0]"), 4, "no data_offsets");
  refused(one("\"F32\"", "[1]", "[-4,0]"), 4, "no data_offsets");
  refused(one("\"F32\"", "[1]", "[4,0]"), 4, "ends before it begins");
  refused(one("\"F32\"", "[2]", "[0,4]"), 4, "takes 8 bytes");
  refused(one("\"F64\"", "[1]", "[0,4]"), 4, "takes 8 bytes");
  refused(one("\"F32\"", "[2]", "[0,8]"), 5, "cut short, 3 bytes missing");
  refused(one("\"F32\"", "[1]", "[0,4]"), 9, "5 bytes follow its last tensor");
  refused(one("\"F32\"", "[1]", "[8,12]"), 12, "hole");
  refused(one("\"U8\"", "[0]", "[18446744073709551615,18446744073709551615]"), 0, "hole");
}

TEST_F(Safetensors, RefusesOverlapsHolesAndTwins) {
  const auto entry = [](const std::string& name, int begin, int end) {
    return fmt::format(R"("{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", name, end - begin, begin, end);
  };
  put("{" + entry("a", 0, 4) + "," + entry("b", 2, 6) + "}", 6);
  expect_refused("'b' begins at byte 2, inside the tensor before it");
  put("{" + entry("a", 0, 4) + "," + entry("b", 5, 6) + "}", 6);
  expect_refused("'b' begins at byte 5, leaving a hole after 4");
  put("{" + entry("a", 0, 4) + "," + entry("a", 4, 6) + "}", 6);
  expect_refused("the name 'a' twice");
  put(R"({"a":{"dtype":"U8","dtype":"F32","shape":[4],"data_offsets":[0,4]}})", 4);
  expect_refused("the name 'dtype' twice");
  put(R"({"__metadata__":{"k":1}})", 0);
  expect_refused("metadata 'k' is not a string");
  put(R"({"__metadata__":[]})", 0);
  expect_refused("__metadata__");
  put("{" + entry("b", 4, 6) + "," + entry("empty", 4, 4) + "," + entry("a", 0, 4) + "}", 6);
  const TensorFile file = TensorFile::open(path_);  // any order in the header is fine
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.tensors()[2].name, "b");
}

// Every prefix of a good file and every single wrong byte of its header either opens or is an Error, and never crashes.
TEST_F(Safetensors, SurvivesTearsAndFlips) {
  const std::vector<float> values(6, 1.0f);
  TensorWriter writer;
  writer.add("first", TensorType::kFloat32, {2, 2}, values.data());
  writer.add("second", TensorType::kFloat32, {2}, values.data());
  writer.write(path_);
  const std::string good = read_file(path_);
  for (std::size_t size = 0; size < good.size(); ++size) {
    spill(good.substr(0, size));
    EXPECT_THROW(TensorFile::open(path_), Error) << size;
  }
  for (std::size_t at = 0; at < good.size() - 24; ++at) {
    for (const char flip : {'\x01', '\x80', '\x10'}) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ flip);
      spill(bad);
      try {
        TensorFile::open(path_);
      } catch (const Error&) {
      }
    }
  }
}

TEST_F(Safetensors, WriterRefusesBadInputAndLeavesNothing) {
  const float value = 0;
  TensorWriter writer;
  writer.add("a", TensorType::kFloat32, {1}, &value);
  EXPECT_THROW(writer.add("a", TensorType::kFloat32, {1}, &value), Error);
  EXPECT_THROW(writer.add("__metadata__", TensorType::kFloat32, {1}, &value), Error);
  EXPECT_THROW(writer.add("b", TensorType::kFloat32, {-1}, &value), Error);
  TensorWriter wrong_text;
  wrong_text.add("\xff", TensorType::kFloat32, {1}, &value);
  EXPECT_THROW(wrong_text.write(path_), Error);
  EXPECT_TRUE(fs::is_empty(folder_));
  EXPECT_THROW(writer.write(folder_ / "absent" / "t.safetensors"), Error);
}

}  // namespace
}  // namespace densetree
