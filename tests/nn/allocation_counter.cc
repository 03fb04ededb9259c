#include "tests/nn/allocation_counter.h"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define DENSETREE_COUNTS_ALLOCATIONS 1
#else
#define DENSETREE_COUNTS_ALLOCATIONS 0
#endif

namespace {
std::atomic<std::int64_t> count{0}, cpp_count{0};
}

namespace densetree::test {

bool counts_allocations() {
  return DENSETREE_COUNTS_ALLOCATIONS;
}
std::int64_t allocations() {
  return count.load();
}
std::int64_t cpp_allocations() {
  return cpp_count.load();
}

}  // namespace densetree::test

#if DENSETREE_COUNTS_ALLOCATIONS
extern "C" {

// glibc's own, which its manual names for programs that replace malloc.
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t number, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void* memory);

void* malloc(std::size_t size) {
  ++count;
  return __libc_malloc(size);
}
void* calloc(std::size_t number, std::size_t size) {
  ++count;
  return __libc_calloc(number, size);
}
void* realloc(void* memory, std::size_t size) {
  ++count;
  return __libc_realloc(memory, size);
}
void* memalign(std::size_t alignment, std::size_t size) {
  ++count;
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return memalign(alignment, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  *memory = memalign(alignment, size);
  return *memory ? 0 : ENOMEM;
}
void free(void* memory) {
  __libc_free(memory);
}

}  // extern "C"

void* operator new(std::size_t size) {
  ++cpp_count;
  if (void* memory = malloc(size)) {
    return memory;
  }
  throw std::bad_alloc();
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  ++cpp_count;
  if (void* memory = memalign(static_cast<std::size_t>(alignment), size)) {
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
