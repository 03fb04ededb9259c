# Debian packages: densetree, densetree-dev and, of builds with CUDA, densetree-cuda. What they depend on of the system is
# found by dpkg-shlibdeps (Debian: dpkg-dev); cuDNN and cuBLASLt are installed from where their vendor has them.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "The densetree authors <authors@densetree.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL runtime development)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)

set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME densetree)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA "${PROJECT_SOURCE_DIR}/packaging/debian/triggers")
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "The program, and the library with its C interface.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME densetree-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
# pkg-config wants what the static library needs even where nobody links it.
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "densetree (= ${PROJECT_VERSION}), libfmt-dev, libdnnl-dev, libpng-dev, \
libjpeg-dev, zlib1g-dev, libxxhash-dev, libtomlplusplus-dev")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "Headers, the static library, the Fortran module, and what finds them.")

if(DENSETREE_HAVE_CUDA)
  list(APPEND CPACK_COMPONENTS_ALL cuda)
  set(CPACK_DEBIAN_CUDA_PACKAGE_NAME densetree-cuda)
  set(CPACK_DEBIAN_CUDA_PACKAGE_DEPENDS "densetree (= ${PROJECT_VERSION})")
  set(CPACK_COMPONENT_CUDA_DESCRIPTION "The CUDA device; needs cuDNN 9 and cuBLASLt of CUDA ${CUDAToolkit_VERSION_MAJOR}.")
endif()
include(CPack)
