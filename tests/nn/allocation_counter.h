// Counts every allocation of the whole program: malloc and its relatives are replaced in this test program, so that
// operator new, the C++ library, OpenMP and oneDNN are all counted. Those that oneDNN's code asks for are told apart by
// the address they are asked from. Sanitizers bring their own malloc; there nothing is counted.
#pragma once

#include <cstdint>

namespace densetree::test {

bool counts_allocations();
// malloc, calloc, realloc, aligned_alloc, posix_memalign and memalign calls so far, of all threads.
std::int64_t allocations();
// Of these the ones that C++ made by operator new. A GPU's driver allocates by malloc whenever it likes.
std::int64_t cpp_allocations();
// Of all of them the ones that oneDNN asked for.
std::int64_t onednn_allocations();
// Blocks that were taken and not given back. Unlike the bytes in use, they do not depend on how the heap is cut up.
std::int64_t blocks_in_use();

}  // namespace densetree::test
