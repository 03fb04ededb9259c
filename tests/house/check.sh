#!/usr/bin/env bash
# Holds the include direction and the libraries' manners over the sources below ROOT (see check.awk).
#   check.sh ROOT
set -euo pipefail
rules="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/check.awk"
cd "${1:?the root of the sources}"
mapfile -t files < <(find kernels engine data nn metrics tree report tools -type f \( -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' \) | sort)
awk -f "$rules" "${files[@]}"
