// XXH64 of xxHash, a 64-bit checksum fast enough for gigabytes; `xxhsum -H64` prints the same. It finds damage, not
// forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace densetree::data {

std::uint64_t xxh64(std::span<const std::byte> bytes);
std::uint64_t xxh64(std::string_view text);
std::string hash_text(std::uint64_t hash);  // 16 hexadecimal digits, as xxhsum prints them

}  // namespace densetree::data
