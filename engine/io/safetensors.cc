#include "engine/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "kernels/core/bfloat16.h"
#include "kernels/core/error.h"

namespace densetree {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian, as is this reader");

namespace {

using nlohmann::json;

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // as the format's own library
constexpr std::size_t kMaxDimensions = 16;
constexpr int kMaxDepth = 3;  // the header, a tensor's object, its arrays
constexpr const char* kMetadataKey = "__metadata__";

struct TypeName {
  TensorType type;
  const char* name;
  std::size_t bytes;
};
constexpr TypeName kTypes[] = {
    {TensorType::kFloat64, "F64", 8},   {TensorType::kFloat32, "F32", 4}, {TensorType::kFloat16, "F16", 2},
    {TensorType::kBFloat16, "BF16", 2}, {TensorType::kInt64, "I64", 8},   {TensorType::kInt32, "I32", 4},
    {TensorType::kUInt8, "U8", 1},      {TensorType::kBool, "BOOL", 1},
};

// Where a tensor's bytes lie, counted from the end of the header.
struct Extent {
  std::uint64_t begin = 0, end = 0;
};
struct Entry {
  TensorInfo info;
  Extent extent;
};

// Names come from the file: keep messages on one line and short.
std::string printable(std::string_view name) {
  constexpr std::size_t kMaxShown = 100;
  std::string shown(name.substr(0, kMaxShown));
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < 0x20) {
      c = '?';
    }
  }
  return name.size() > kMaxShown ? shown + "…" : shown;
}

// The header's text, its length checked against the file.
std::string_view header_text(std::string_view file, const std::string& source) {
  check(file.size() >= kLengthBytes,
        "{}: {} bytes are too few for a safetensors file, which begins with the 8-byte length of its header", source,
        file.size());
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  check(length <= kMaxHeaderBytes,
        "{}: claims a header of {} bytes; a safetensors header has at most {}, so this is another kind of file or a "
        "damaged one",
        source, length, kMaxHeaderBytes);
  const std::uint64_t rest = file.size() - kLengthBytes;
  check(length <= rest, "{}: its header takes {} bytes and only {} are there: the file is cut short, {} bytes missing",
        source, length, rest, length - rest);
  return file.substr(kLengthBytes, length);
}

// Parses the header. JSON libraries keep the last of two equal keys; here a second one is an Error, as is depth.
json parse_header(std::string_view text, const std::string& source) {
  check(text.starts_with('{'), "{}: its header is not a JSON object, so this is no safetensors file", source);
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) {
      check(depth < kMaxDepth, "{}: its header nests deeper than {} levels; a safetensors header does not", source,
            kMaxDepth);
    }
    if (event == json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      check(keys.back().insert(key).second, "{}: its header holds the name '{}' twice", source, printable(key));
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), watch);
  } catch (const json::exception& error) {
    fail("{}: its header is not valid JSON: {}", source, printable(error.what()));
  }
}

std::map<std::string, std::string> parse_metadata(const json& value, const std::string& source) {
  check(value.is_object(), "{}: __metadata__ is not a JSON object of strings", source);
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    check(text.is_string(), "{}: metadata '{}' is not a string", source, printable(key));
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

// Elements × bytes of one, or an Error where that does not fit in 63 bits or a dimension is negative.
std::uint64_t bytes_of(const TensorShape& shape, TensorType type, const std::string& where) {
  std::int64_t bytes = static_cast<std::int64_t>(size_of(type));
  bool empty = false;
  for (const std::int64_t d : shape) {
    check(d >= 0, "{}: shape {} has a negative dimension", where, describe(shape));
    empty = empty || d == 0;
  }
  for (const std::int64_t d : shape) {
    check(empty || !__builtin_mul_overflow(bytes, d, &bytes), "{}: shape {} is larger than any memory", where,
          describe(shape));
  }
  return empty ? 0 : static_cast<std::uint64_t>(bytes);
}

TensorType parse_type(const json& entry, const std::string& where) {
  check(entry.contains("dtype") && entry["dtype"].is_string(), "{} has no dtype", where);
  const auto& name = entry["dtype"].get_ref<const std::string&>();
  for (const TypeName& known : kTypes) {
    if (name == known.name) {
      return known.type;
    }
  }
  fail("{} has dtype '{}'; known are F64, F32, F16, BF16, I64, I32, U8 and BOOL", where, printable(name));
}

TensorShape parse_shape(const json& entry, const std::string& where) {
  check(entry.contains("shape") && entry["shape"].is_array(), "{} has no shape", where);
  const json& list = entry["shape"];
  check(list.size() <= kMaxDimensions, "{} has {} dimensions; at most {} make sense", where, list.size(),
        kMaxDimensions);
  TensorShape shape;
  for (const json& d : list) {
    const bool ok = d.is_number_unsigned() &&
                    d.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    check(ok, "{} has the dimension {}; dimensions are whole numbers from 0", where, printable(d.dump()));
    shape.push_back(d.get<std::int64_t>());
  }
  return shape;
}

Extent parse_extent(const json& entry, const std::string& where) {
  const bool present = entry.contains("data_offsets") && entry["data_offsets"].is_array() &&
                       entry["data_offsets"].size() == 2 && entry["data_offsets"][0].is_number_unsigned() &&
                       entry["data_offsets"][1].is_number_unsigned();
  check(present, "{} has no data_offsets of two whole numbers from 0", where);
  const Extent extent{entry["data_offsets"][0].get<std::uint64_t>(), entry["data_offsets"][1].get<std::uint64_t>()};
  check(extent.begin <= extent.end, "{} has data_offsets [{}, {}]: it ends before it begins", where, extent.begin,
        extent.end);
  return extent;
}

Entry parse_entry(const std::string& name, const json& entry, const std::string& source) {
  const std::string where = fmt::format("{}: tensor '{}'", source, printable(name));
  check(entry.is_object(), "{} is not described by a JSON object", where);
  Entry parsed;
  parsed.info.name = name;
  parsed.info.type = parse_type(entry, where);
  parsed.info.shape = parse_shape(entry, where);
  parsed.extent = parse_extent(entry, where);
  const std::uint64_t wanted = bytes_of(parsed.info.shape, parsed.info.type, where);
  check(parsed.extent.end - parsed.extent.begin == wanted,
        "{} is {} {} and takes {} bytes, but its data_offsets [{}, {}] hold {}", where, name_of(parsed.info.type),
        describe(parsed.info.shape), wanted, parsed.extent.begin, parsed.extent.end,
        parsed.extent.end - parsed.extent.begin);
  return parsed;
}

// Sorts by place and checks that the tensors fill `available` bytes exactly, each byte belonging to one of them.
void check_layout(std::vector<Entry>& entries, std::uint64_t available, const std::string& source) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.extent.begin, a.extent.end, a.info.name) < std::tie(b.extent.begin, b.extent.end, b.info.name);
  });
  std::uint64_t end = 0;
  for (const Entry& entry : entries) {
    const std::string name = printable(entry.info.name);
    check(entry.extent.begin >= end, "{}: tensor '{}' begins at byte {}, inside the tensor before it, which ends at {}",
          source, name, entry.extent.begin, end);
    check(entry.extent.begin == end, "{}: tensor '{}' begins at byte {}, leaving a hole after {}", source, name,
          entry.extent.begin, end);
    end = entry.extent.end;
  }
  check(end <= available,
        "{}: its tensors take {} bytes and only {} are there: the file is cut short, {} bytes missing", source, end,
        available, end - available);
  check(end == available, "{}: {} bytes follow its last tensor; they belong to nothing", source, available - end);
}

double half_to_double(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  double value = 0;
  if (exponent == 31) {
    value = mantissa ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
  } else {
    value = exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
  }
  return bits & 0x8000 ? -value : value;
}

// out[i] = convert(i-th T of bytes); the bytes need no alignment.
template <class T, class Out, class Convert>
void convert_all(std::span<const std::byte> bytes, std::span<Out> out, Convert convert) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    out[i] = static_cast<Out>(convert(value));
  }
}

template <class Out>
void convert_float(const TensorInfo& tensor, std::span<Out> out) {
  check(static_cast<std::int64_t>(out.size()) == tensor.elements(), "tensor '{}' has {} elements, not {}", tensor.name,
        tensor.elements(), out.size());
  const auto same = [](auto value) { return value; };
  switch (tensor.type) {
    case TensorType::kFloat64:
      return convert_all<double>(tensor.bytes, out, same);
    case TensorType::kFloat32:
      return convert_all<float>(tensor.bytes, out, same);
    case TensorType::kFloat16:
      return convert_all<std::uint16_t>(tensor.bytes, out, half_to_double);
    case TensorType::kBFloat16:
      return convert_all<std::uint16_t>(tensor.bytes, out, float_of_bfloat16);
    default:
      fail("tensor '{}' is {}; a float type is wanted here", printable(tensor.name), name_of(tensor.type));
  }
}

}  // namespace

std::size_t size_of(TensorType type) {
  return kTypes[static_cast<std::size_t>(type)].bytes;
}
const char* name_of(TensorType type) {
  return kTypes[static_cast<std::size_t>(type)].name;
}
std::string describe(const TensorShape& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::int64_t TensorInfo::elements() const {
  std::int64_t count = 1;
  for (const std::int64_t d : shape) {
    count *= d;
  }
  return count;
}

std::vector<float> TensorInfo::to_float32() const {
  std::vector<float> values(static_cast<std::size_t>(elements()));
  convert_float<float>(*this, values);
  return values;
}

std::vector<double> TensorInfo::to_float64() const {
  std::vector<double> values(static_cast<std::size_t>(elements()));
  convert_float<double>(*this, values);
  return values;
}

void TensorInfo::copy_float32(std::span<float> out) const {
  convert_float<float>(*this, out);
}

std::vector<std::int64_t> TensorInfo::to_int64() const {
  std::vector<std::int64_t> values(static_cast<std::size_t>(elements()));
  const std::span<std::int64_t> out(values);
  const auto same = [](auto value) { return value; };
  switch (type) {
    case TensorType::kInt64:
      convert_all<std::int64_t>(bytes, out, same);
      break;
    case TensorType::kInt32:
      convert_all<std::int32_t>(bytes, out, same);
      break;
    case TensorType::kUInt8:
    case TensorType::kBool:
      convert_all<std::uint8_t>(bytes, out, same);
      break;
    default:
      fail("tensor '{}' is {}; a whole-number type is wanted here", printable(name), name_of(type));
  }
  return values;
}

TensorFile TensorFile::open(const std::filesystem::path& path) {
  TensorFile result(path);
  const std::string& source = result.source_;
  const std::string_view text = header_text(result.file_.text(), source);
  const json header = parse_header(text, source);
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadataKey) {
      result.metadata_ = parse_metadata(value, source);
    } else {
      entries.push_back(parse_entry(name, value, source));
    }
  }
  const auto data = result.file_.bytes().subspan(kLengthBytes + text.size());
  check_layout(entries, data.size(), source);
  for (Entry& entry : entries) {
    entry.info.bytes = data.subspan(entry.extent.begin, entry.extent.end - entry.extent.begin);
    result.index_[entry.info.name] = result.tensors_.size();
    result.tensors_.push_back(std::move(entry.info));
  }
  return result;
}

const TensorInfo* TensorFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

const TensorInfo& TensorFile::at(std::string_view name) const {
  const TensorInfo* tensor = find(name);
  check(tensor != nullptr, "{}: has no tensor '{}' among its {}", source_, name, tensors_.size());
  return *tensor;
}

void TensorWriter::add(const std::string& name, TensorType type, const TensorShape& shape, const void* data) {
  check(name != kMetadataKey, "a tensor cannot be called '{}': the format keeps that name for itself", kMetadataKey);
  check(index_.emplace(name, tensors_.size()).second, "tensor '{}' is written twice to one file", name);
  const std::uint64_t bytes = bytes_of(shape, type, fmt::format("tensor '{}'", name));
  tensors_.push_back({name, type, shape, {static_cast<const std::byte*>(data), bytes}});
}

// Keys in the order of the tensors, padded with blanks so that the bytes begin at a multiple of 8.
std::string TensorWriter::header() const {
  std::string text = "{";
  if (!metadata_.empty()) {
    text += fmt::format("\"{}\":{}", kMetadataKey, json(metadata_).dump());
  }
  std::uint64_t at = 0;
  for (const TensorInfo& tensor : tensors_) {
    const json entry = {
        {"dtype", name_of(tensor.type)}, {"shape", tensor.shape}, {"data_offsets", {at, at + tensor.bytes.size()}}};
    text += fmt::format("{}{}:{}", text.size() > 1 ? "," : "", json(tensor.name).dump(), entry.dump());
    at += tensor.bytes.size();
  }
  text += "}";
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

void TensorWriter::write(AtomicFile& file) const {
  std::string text;
  try {
    text = header();
  } catch (const json::exception& error) {
    fail("{}: a tensor's name or the metadata is not valid UTF-8: {}", file.path().string(), error.what());
  }
  check(text.size() <= kMaxHeaderBytes, "{}: a header of {} bytes is more than the format's {}", file.path().string(),
        text.size(), kMaxHeaderBytes);
  const std::uint64_t length = text.size();
  file.write(&length, sizeof length);
  file.write(text);
  for (const TensorInfo& tensor : tensors_) {
    file.write(tensor.bytes.data(), tensor.bytes.size());
  }
  file.commit();
}

void TensorWriter::write(const std::filesystem::path& path) const {
  AtomicFile file(path);
  write(file);
}

}  // namespace densetree
