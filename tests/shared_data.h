// Where the shared reference traces and X-rays lie: $DENSETREE_SHARED, else ../shared beside the checkout.
// Tests that need them skip, saying so, where they are not there.
#pragma once

#include <cstdlib>
#include <filesystem>

#define DENSETREE_NEEDS_SHARED(path)                                              \
  if (!std::filesystem::exists(::densetree::shared_folder() / (path))) {          \
    GTEST_SKIP() << "needs " << (::densetree::shared_folder() / (path)).string(); \
  }

namespace densetree {

inline std::filesystem::path shared_folder() {
  const char* set = std::getenv("DENSETREE_SHARED");
  return set ? std::filesystem::path(set) : std::filesystem::path(DENSETREE_SOURCE_DIR).parent_path() / "shared";
}

}  // namespace densetree
