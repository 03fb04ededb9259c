// NumPy's array files: their headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace densetree::data {

// Where the data begin, their element type, shape. Format 1.0, 2.0 or 3.0.
struct NpyHeader {
  std::size_t offset = 0;
  std::string descr;  // "|u1"
  std::vector<std::int64_t> shape;
};
// Throws Error naming `source` on anything but a C-ordered array with a header as NumPy writes it.
NpyHeader parse_npy_header(std::span<const std::byte> file, const std::string& source);

// The head of a file, format 1.0, in C order: descr is NumPy's name of the type, as "|u1" or "<f4".
std::string npy_header(std::string_view descr, std::span<const std::size_t> shape);

}  // namespace densetree::data
