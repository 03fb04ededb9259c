// Named tensors in one file, in the safetensors format: 8 bytes of header length, a JSON header with each tensor's
// type, shape and place, then the bytes. Weights, checkpoints, batches and traces are all kept this way.
//
// The reader maps the file and trusts nothing in it: every length, name, shape and offset is checked before a tensor
// is handed out, and what does not add up is an Error that names the file, the tensor and what is wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/io/file.h"

namespace densetree {

// Element types of the format that this project reads and writes; little-endian, as the format wants.
enum class TensorType : std::uint8_t { kFloat64, kFloat32, kFloat16, kBFloat16, kInt64, kInt32, kUInt8, kBool };
std::size_t size_of(TensorType type);  // bytes
const char* name_of(TensorType type);  // the format's name: "F32"

using TensorShape = std::vector<std::int64_t>;
std::string describe(const TensorShape& shape);  // "[64, 3, 7, 7]"

struct TensorInfo {
  std::string name;
  TensorType type = TensorType::kFloat32;
  TensorShape shape;                 // empty: a scalar
  std::span<const std::byte> bytes;  // in the mapped file, in C order, not necessarily aligned

  std::int64_t elements() const;
  // Values converted element by element; float types only (F64, F32, F16, BF16), else an Error naming the tensor.
  std::vector<float> to_float32() const;
  std::vector<double> to_float64() const;
  void copy_float32(std::span<float> out) const;  // out must hold elements()
  // I64, I32, U8 and BOOL, else an Error.
  std::vector<std::int64_t> to_int64() const;
};

class TensorFile {
 public:
  // Maps and checks the file. The tensors' bytes stay valid as long as this object lives (moving it is fine).
  static TensorFile open(const std::filesystem::path& path);

  const std::string& source() const { return source_; }                // for messages
  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // in the order of their bytes
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const TensorInfo* find(std::string_view name) const;  // null when absent
  const TensorInfo& at(std::string_view name) const;    // Error naming the file when absent

 private:
  explicit TensorFile(const std::filesystem::path& path) : file_(path), source_(path.string()) {}

  MappedFile file_;
  std::string source_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

// Collects tensors and writes them whole or not at all. Their order is kept.
class TensorWriter {
 public:
  void set_metadata(const std::string& key, const std::string& value) { metadata_[key] = value; }
  // `data` holds the shape's elements in C order and must stay alive until write(). A second tensor of the same name,
  // the reserved name "__metadata__" or a negative dimension is an Error.
  void add(const std::string& name, TensorType type, const TensorShape& shape, const void* data);
  void write(AtomicFile& file) const;  // and commits it
  void write(const std::filesystem::path& path) const;

 private:
  std::string header() const;

  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::size_t> index_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace densetree
