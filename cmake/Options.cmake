# densetree_options: what every target of the project compiles with, and a function that adds a library.
add_library(densetree_options INTERFACE)
target_compile_features(densetree_options INTERFACE cxx_std_20)
target_include_directories(densetree_options INTERFACE "${PROJECT_SOURCE_DIR}")
# No word about the ABI of vectors wider than the processor's: they stay within a source file, and where there is no
# AVX-512 every source file would give it.
set(host_flags -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wno-psabi)
if(DENSETREE_WERROR)
  list(APPEND host_flags -Werror)
endif()
if(DENSETREE_SANITIZE)
  # Out of line here: GCC 12 sees dangling strings in fmt and std::regex that are not there.
  list(APPEND host_flags -fsanitize=${DENSETREE_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all -Wno-maybe-uninitialized)
  add_link_options(-fsanitize=${DENSETREE_SANITIZE})
endif()
target_compile_options(densetree_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${host_flags}>")

if(DENSETREE_TIDY)
  find_program(CLANG_TIDY clang-tidy REQUIRED)
  set(CMAKE_CXX_CLANG_TIDY ${CLANG_TIDY} --quiet)
endif()

# The headers that nearly every source includes, compiled once for all libraries.
if(NOT DENSETREE_TIDY)
  add_library(densetree_headers OBJECT cmake/precompiled.cc)
  set_target_properties(densetree_headers PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(densetree_headers PRIVATE densetree_options fmt::fmt OpenMP::OpenMP_CXX)
  target_precompile_headers(densetree_headers PRIVATE cmake/precompiled.h)
endif()

# The program NAME opens devices: what it may load is built before it.
function(densetree_opens_devices name)
  if(TARGET densetree_cuda_plugin)
    add_dependencies(${name} densetree_cuda_plugin)
  endif()
endfunction()

# densetree_library(NAME SOURCES… [PUBLIC libraries…] [PRIVATE libraries…] [HIDDEN]): HIDDEN symbols are not exported from
# libdensetree.so.
function(densetree_library name)
  cmake_parse_arguments(arg "HIDDEN" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(${name} PUBLIC densetree_options fmt::fmt ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
  if(arg_HIDDEN)  # with other flags than the precompiled headers
    set_target_properties(${name} PROPERTIES CXX_VISIBILITY_PRESET hidden)
  elseif(NOT DENSETREE_TIDY)
    target_precompile_headers(${name} REUSE_FROM densetree_headers)
  endif()
endfunction()
