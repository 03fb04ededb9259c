#!/usr/bin/env bash
# Installs what densetree needs to build, from the system's own packages (apt; tried on Debian 12 and 13).
# Only what is missing is installed, so a second call needs neither network nor rights. A CUDA toolkit is never
# installed: it is used where nvcc is found.
#
#   tools/setup.sh           installs what is missing
#   tools/setup.sh --ci      and what optional tests and the lint use: they are left out without it
#   tools/setup.sh --check   only lists what is missing; exit status 1 if anything is
set -euo pipefail

packages=(
  g++ cmake ninja-build
  libdnnl-dev                                              # convolutions on the CPU
  libpng-dev libjpeg-dev zlib1g-dev libxxhash-dev          # images, gzipped tables, checksums
  nlohmann-json3-dev libtomlplusplus-dev libcli11-dev      # JSON, settings, command line
  libfmt-dev                                               # text
  libgtest-dev libbenchmark-dev                            # tests, benchmarks
  python3                                                  # the scripts of the benchmarks, and their test
)

# Without these something is left out: formatting, lint, a browser for the report, PyTorch's traces; and of the library the
# checks of its binary interface, of other processors, of leaks, its Debian packages, its use from Fortran, Python and by
# pkg-config, and under another language.
ci_packages=(
  clang-format clang-tidy shellcheck chromium python3-torch python3-torchvision python3-pip
  abigail-tools qemu-user valgrind gfortran pkg-config dpkg-dev file python3-numpy python3-wheel locales
)

fail() {
  echo "setup: error: $*" >&2
  exit 1
}

# Packages named as arguments that are not installed.
missing_of() {
  local name
  for name in "$@"; do
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" == installed ]] || echo "$name"
  done
}

# Runs a command as root: directly, or through sudo (asking for a password only on a terminal).
as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  elif [[ -t 0 ]]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}

check_only=false ci=false
case "${1-}" in
  "") ;;
  --ci) ci=true packages+=("${ci_packages[@]}") ;;
  --check) check_only=true ;;
  -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "setup: error: unknown argument '$1'; there are --ci and --check" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  fail "this script knows Debian and Ubuntu only. Install a C++20 compiler, CMake 3.22, Ninja, oneDNN 2.6 or later, libpng," \
    "libjpeg, zlib, xxHash, nlohmann-json, toml++, CLI11, fmt, GoogleTest and Google Benchmark, then build with" \
    "'cmake --preset release && cmake --build --preset release'."
fi

# Debian has no package of it.
install_ruff() {
  if $ci && ! command -v ruff > /dev/null; then
    as_root pip3 install --quiet --break-system-packages ruff || fail "ruff could not be installed; see pip's message"
  fi
}

mapfile -t missing < <(missing_of "${packages[@]}")
if [[ ${#missing[@]} -eq 0 ]]; then
  echo "setup: all ${#packages[@]} packages are installed"
  $check_only || install_ruff
  exit 0
fi
if $check_only; then
  printf '%s\n' "${missing[@]}"
  exit 1
fi

by_hand="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
if [[ $EUID -ne 0 ]] && ! command -v sudo >/dev/null; then
  fail "these packages are missing and need root, and there is no sudo. As root: $by_hand"
fi
echo "setup: installing ${missing[*]}"
as_root apt-get update -q ||
  fail "the package lists could not be fetched. Check the network and your rights, or run as root: $by_hand"

for name in "${missing[@]}"; do
  if ! apt-cache show --no-all-versions "$name" >/dev/null 2>&1; then
    fail "this system has no package '$name'. Debian 12 and later do" \
      "(on Ubuntu, the 'universe' component must be enabled)."
  fi
done
as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get install -y -q --no-install-recommends "${missing[@]}" ||
  fail "the packages could not be installed. As root: $by_hand"

mapfile -t missing < <(missing_of "${packages[@]}")
[[ ${#missing[@]} -eq 0 ]] || fail "still missing after the installation: ${missing[*]}"
install_ruff
echo "setup: done"
