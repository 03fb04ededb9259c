# The instruction sets that the CPU's kernels are compiled for, in one binary, and how what is compiled for one is kept from
# all else.
set(DENSETREE_INSTRUCTION_SETS "x86-64;avx2;avx512;avx512_bf16" CACHE STRING
  "Instruction sets to compile the CPU's kernels for; the best that a processor has is taken at start")

# Which processors have them: kernels/cpu/instruction_sets.cc.
set(flags_x86_64 -march=x86-64)
set(flags_avx2 ${flags_x86_64} -mavx2 -mfma -mbmi -mbmi2)
set(flags_avx512 ${flags_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq)
# GCC 12.2 with AVX-512 stores a 32-byte constant such as {1, 1, 1, 0} as a broadcast of its first word
# (tests/kernels/compiler_test.cc shows it); moves of 16 bytes avoid that.
include(CheckCXXCompilerFlag)
check_cxx_compiler_flag("-mmove-max=128 -mstore-max=128" DENSETREE_HAS_MOVE_MAX)
if(DENSETREE_HAS_MOVE_MAX)
  list(APPEND flags_avx512 -mmove-max=128 -mstore-max=128)
endif()
set(flags_avx512_bf16 ${flags_avx512} -mavx512bf16)

set(DENSETREE_SETS "")  # as identifiers, the plainest first
set(unknown ${DENSETREE_INSTRUCTION_SETS})
foreach(name x86-64 avx2 avx512 avx512_bf16)
  if(name IN_LIST DENSETREE_INSTRUCTION_SETS)
    string(MAKE_C_IDENTIFIER ${name} set)
    list(APPEND DENSETREE_SETS ${set})
    list(REMOVE_ITEM unknown ${name})
  endif()
endforeach()
if(unknown OR NOT DENSETREE_SETS)
  message(FATAL_ERROR "DENSETREE_INSTRUCTION_SETS is '${DENSETREE_INSTRUCTION_SETS}'; use one or several of x86-64, avx2, "
    "avx512 and avx512_bf16")
endif()
if(NOT CMAKE_OBJCOPY)
  message(FATAL_ERROR "objcopy was not found; install binutils, or set CMAKE_OBJCOPY")
endif()

# densetree_seal(NAME ENTRY OUTPUT): the objects of the object library NAME, linked into one, of which nothing but ENTRY can be
# seen from outside. So an inline function, of the standard library say, that was compiled for AVX-512 cannot be what the
# linker takes for all.
function(densetree_seal name entry output)
  set(objects "$<FILTER:$<TARGET_OBJECTS:${name}>,EXCLUDE,\\.gch$>")
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_CXX_COMPILER} -r -nostdlib -fno-lto -Wl,--force-group-allocation -o ${output}.open "${objects}"
    COMMAND ${CMAKE_OBJCOPY} --keep-global-symbol=${entry} ${output}.open ${output}
    COMMAND ${CMAKE_COMMAND} -E rm ${output}.open
    DEPENDS ${name} "${objects}"
    COMMAND_EXPAND_LISTS VERBATIM COMMENT "Sealing ${name}")
endfunction()
