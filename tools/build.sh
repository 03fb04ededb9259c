# shellcheck shell=bash disable=SC2034,SC2120
# Sourced by tools/test.sh and tools/demo.sh: installs what is missing, configures and builds.
# Leaves the caller in the repository's root, with $build_dir set.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
build_dir=build/release

# build_release [TARGET…]: all targets without one.
build_release() {
  tools/setup.sh
  echo "== configure"
  cmake --preset release
  echo "== build"
  cmake --build --preset release --parallel "$(nproc)" ${1:+--target "$@"}
}
