#include "tests/nn/allocation_counter.h"

#include <link.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define DENSETREE_COUNTS_ALLOCATIONS 1
#else
#define DENSETREE_COUNTS_ALLOCATIONS 0
#endif

namespace {
std::atomic<std::int64_t> count{0}, cpp_count{0}, onednn_count{0}, in_use{0};

// The addresses of oneDNN's code. Found before main(): nothing that is counted runs earlier.
struct Range {
  std::uintptr_t begin = 0, end = 0;
} onednn;

int find_onednn(dl_phdr_info* library, std::size_t, void*) {
  if (std::strstr(library->dlpi_name, "libdnnl") == nullptr) {
    return 0;
  }
  for (int i = 0; i < library->dlpi_phnum; ++i) {
    const auto& segment = library->dlpi_phdr[i];
    if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0) {
      onednn = {library->dlpi_addr + segment.p_vaddr, library->dlpi_addr + segment.p_vaddr + segment.p_memsz};
    }
  }
  return 1;
}
const int kFound = dl_iterate_phdr(find_onednn, nullptr);

void count_one(const void* caller) {
  ++count;
  ++in_use;
  const auto address = reinterpret_cast<std::uintptr_t>(caller);
  onednn_count += address >= onednn.begin && address < onednn.end;
}
}  // namespace

namespace densetree::test {

bool counts_allocations() {
  return DENSETREE_COUNTS_ALLOCATIONS != 0 && kFound != 0;
}
std::int64_t allocations() {
  return count.load();
}
std::int64_t cpp_allocations() {
  return cpp_count.load();
}
std::int64_t onednn_allocations() {
  return onednn_count.load();
}
std::int64_t blocks_in_use() {
  return in_use.load();
}

}  // namespace densetree::test

#if DENSETREE_COUNTS_ALLOCATIONS
extern "C" {

// glibc's own, which its manual names for programs that replace malloc.
// NOLINTBEGIN(bugprone-reserved-identifier, readability-identifier-naming)
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t number, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void* memory);
// NOLINTEND(bugprone-reserved-identifier, readability-identifier-naming)

void* malloc(std::size_t size) {
  count_one(__builtin_return_address(0));
  return __libc_malloc(size);
}
void* calloc(std::size_t number, std::size_t size) {
  count_one(__builtin_return_address(0));
  return __libc_calloc(number, size);
}
void* realloc(void* memory, std::size_t size) {
  count_one(__builtin_return_address(0));
  in_use -= memory != nullptr;  // one block for another
  return __libc_realloc(memory, size);
}
void* memalign(std::size_t alignment, std::size_t size) {
  count_one(__builtin_return_address(0));
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  count_one(__builtin_return_address(0));
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  count_one(__builtin_return_address(0));
  *memory = __libc_memalign(alignment, size);
  return *memory ? 0 : ENOMEM;
}
void free(void* memory) {
  in_use -= memory != nullptr;
  __libc_free(memory);
}

}  // extern "C"

void* operator new(std::size_t size) {
  ++cpp_count;
  count_one(__builtin_return_address(0));
  if (void* memory = __libc_malloc(size)) {
    return memory;
  }
  throw std::bad_alloc();
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  ++cpp_count;
  count_one(__builtin_return_address(0));
  if (void* memory = __libc_memalign(static_cast<std::size_t>(alignment), size)) {
    return memory;
  }
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  free(memory);
}
#endif
