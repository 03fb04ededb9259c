# Headers of the C++ classes, from the sources in `from` to the folder `to`, as <densetree/nn/model.h>. In the sources they
# name each other from the repository's root, where in other people's include paths "data/image.h" may be anybody's.
set(to "$ENV{DESTDIR}${to}")
file(GLOB headers RELATIVE "${from}" "${from}/kernels/*.h" "${from}/kernels/core/*.h" "${from}/kernels/functors/*.h"
  "${from}/engine/*.h" "${from}/engine/io/*.h" "${from}/data/*.h" "${from}/data/synth/*.h" "${from}/nn/*.h"
  "${from}/metrics/*.h" "${from}/tree/*.h" "${from}/report/*.h")
# Of sources alone: the first two include other projects' headers, and plugins are the library's own.
list(REMOVE_ITEM headers engine/io/json.h engine/io/toml.h kernels/cuda_plugin.h kernels/plugin.h)
foreach(header ${headers})
  file(READ "${from}/${header}" text)
  string(REGEX REPLACE "#include \"([a-z]+/)" "#include \"densetree/\\1" text "${text}")
  if(EXISTS "${to}/${header}")
    file(READ "${to}/${header}" there)
  else()
    set(there "")
  endif()
  if(NOT there STREQUAL text)
    message(STATUS "Installing: ${to}/${header}")
    file(WRITE "${to}/${header}" "${text}")
  endif()
  list(APPEND CMAKE_INSTALL_MANIFEST_FILES "${to}/${header}")
endforeach()
