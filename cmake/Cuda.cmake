# Decides whether the CUDA device is built and finds what it needs: nvcc, the toolkit's static runtime and cuBLASLt, and
# cuDNN (9.8 or later). Sets DENSETREE_HAVE_CUDA and defines CuDNN::CuDNN, CublasLt::CublasLt and densetree_cuda_options.
#
# By default machine code is made for the data centre's GPUs (A100 and with it every later Ampere and Ada, H100, H200), and
# all others since Turing are served by PTX, which their driver compiles when it is first run; that keeps builds short.
# Releases carry code for all (preset cuda-all).
set(DENSETREE_CUDA_ARCHITECTURES "80-real;90-real;75-virtual" CACHE STRING
  "GPU architectures to compile for, as in CMAKE_CUDA_ARCHITECTURES")
set(DENSETREE_HAVE_CUDA OFF)
set(why_not "DENSETREE_CUDA is OFF")
if(NOT DENSETREE_CUDA MATCHES "^(ON|OFF|AUTO)$")
  message(FATAL_ERROR "DENSETREE_CUDA is '${DENSETREE_CUDA}'; use ON, OFF or AUTO")
endif()

if(NOT DENSETREE_CUDA STREQUAL "OFF")
  # The toolkit's own folder, where its installer has put nothing on PATH.
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(nvcc nvcc PATHS /usr/local/cuda/bin)
    if(nvcc)
      set(CMAKE_CUDA_COMPILER "${nvcc}" CACHE FILEPATH "The CUDA compiler")
    endif()
  endif()
  set(CMAKE_CUDA_ARCHITECTURES "${DENSETREE_CUDA_ARCHITECTURES}")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    find_package(CUDAToolkit QUIET)
    find_path(CuDNN_INCLUDE_DIR cudnn_backend.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
    find_library(CuDNN_LIBRARY NAMES cudnn libcudnn.so.9 HINTS ${CUDAToolkit_LIBRARY_DIR})
    find_path(CublasLt_INCLUDE_DIR cublasLt.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
    find_library(CublasLt_LIBRARY NAMES cublasLt libcublasLt.so.${CUDAToolkit_VERSION_MAJOR}
      HINTS ${CUDAToolkit_LIBRARY_DIR})
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    set(why_not "no CUDA compiler was found; set CUDACXX or put nvcc on PATH")
  elseif(NOT CUDAToolkit_FOUND)
    set(why_not "the CUDA toolkit of ${CMAKE_CUDA_COMPILER} was not found; set CUDAToolkit_ROOT")
  elseif(NOT CuDNN_INCLUDE_DIR OR NOT CuDNN_LIBRARY)
    set(why_not "cuDNN 9 was not found; install it, or set CuDNN_INCLUDE_DIR and CuDNN_LIBRARY")
  elseif(NOT CublasLt_INCLUDE_DIR OR NOT CublasLt_LIBRARY)
    set(why_not "the toolkit's cuBLASLt was not found; install it, or set CublasLt_INCLUDE_DIR and CublasLt_LIBRARY")
  else()
    set(DENSETREE_HAVE_CUDA ON)
  endif()
endif()

if(DENSETREE_HAVE_CUDA)
  message(STATUS "CUDA device: ON, ${CMAKE_CUDA_COMPILER_VERSION} for ${DENSETREE_CUDA_ARCHITECTURES}, ${CuDNN_LIBRARY}")
  add_library(CuDNN::CuDNN UNKNOWN IMPORTED)
  set_target_properties(CuDNN::CuDNN PROPERTIES IMPORTED_LOCATION "${CuDNN_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${CuDNN_INCLUDE_DIR}")
  add_library(CublasLt::CublasLt UNKNOWN IMPORTED)
  set_target_properties(CublasLt::CublasLt PROPERTIES IMPORTED_LOCATION "${CublasLt_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${CublasLt_INCLUDE_DIR}")
  # A kernel that spills registers or keeps anything in local memory is a warning, and with DENSETREE_WERROR an error.
  set(cuda_flags -std=c++20 "SHELL:-Xcompiler -Wall,-Wextra"
    "SHELL:-Xptxas --warn-on-spills,--warn-on-local-memory-usage")
  if(DENSETREE_WERROR)
    list(APPEND cuda_flags "SHELL:-Werror all-warnings" "SHELL:-Xcompiler -Werror")
  endif()
  add_library(densetree_cuda_options INTERFACE)
  target_compile_options(densetree_cuda_options INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:${cuda_flags}>")
elseif(DENSETREE_CUDA STREQUAL "ON")
  message(FATAL_ERROR "DENSETREE_CUDA=ON, but ${why_not}")
else()
  message(STATUS "CUDA device: OFF (${why_not})")
endif()
