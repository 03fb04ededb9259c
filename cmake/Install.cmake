# What `cmake --install` lays down: the program, the libraries with their headers, and what finds them: find_package and
# pkg-config; and Debian packages of it (`cpack -G DEB` in the build folder).
include(CMakePackageConfigHelpers)

# ---- densetree: the program and the library
install(TARGETS densetree RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
install(TARGETS densetree_shared densetree_cxx EXPORT densetreeTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)

# ---- densetree-cuda: the plugin
if(DENSETREE_HAVE_CUDA)
  install(TARGETS densetree_cuda_plugin LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/densetree COMPONENT cuda)
endif()

# ---- densetree-dev: what programs are built with
install(TARGETS densetree_static EXPORT densetreeStaticTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES c_api/densetree.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(CODE "
  set(to \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_INCLUDEDIR}/densetree\")
  set(from \"${PROJECT_SOURCE_DIR}\")
  include(\"${PROJECT_SOURCE_DIR}/cmake/InstallHeaders.cmake\")" COMPONENT development)
install(FILES c_api/densetree.f90 DESTINATION ${CMAKE_INSTALL_DATADIR}/densetree/fortran COMPONENT development)
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DATADIR}/densetree COMPONENT development)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/densetree)
configure_package_config_file(cmake/densetreeConfig.cmake.in "${PROJECT_BINARY_DIR}/densetreeConfig.cmake"
  INSTALL_DESTINATION ${package} PATH_VARS CMAKE_INSTALL_DATADIR NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/densetreeConfigVersion.cmake" COMPATIBILITY SameMajorVersion)
install(EXPORT densetreeTargets NAMESPACE densetree:: DESTINATION ${package} COMPONENT development)
install(EXPORT densetreeStaticTargets NAMESPACE densetree:: DESTINATION ${package} COMPONENT development)
install(FILES "${PROJECT_BINARY_DIR}/densetreeConfig.cmake" "${PROJECT_BINARY_DIR}/densetreeConfigVersion.cmake"
  cmake/FindOneDNN.cmake cmake/FindXXHash.cmake DESTINATION ${package} COMPONENT development)

file(RELATIVE_PATH from_pkgconfig "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")  # so that it can be moved
foreach(file densetree.pc densetree-cxx.pc)
  configure_file(cmake/${file}.in ${file} @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/${file}" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
endforeach()

include(DebianPackages)
