#include "data/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

namespace densetree::data {

std::uint64_t xxh64(std::span<const std::byte> bytes) {
  return XXH64(bytes.data(), bytes.size(), 0);
}

std::uint64_t xxh64(std::string_view text) {
  return xxh64(std::as_bytes(std::span(text)));
}

std::string hash_text(std::uint64_t hash) {
  return fmt::format("{:016x}", hash);
}

}  // namespace densetree::data
