#!/usr/bin/env bash
# Holds the include direction, the libraries' manners and what comments cite over the sources below ROOT (see check.awk).
#   check.sh ROOT
set -euo pipefail
rules="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/check.awk"
cd "${1:?the root of the sources}"
sources() { find "$@" -type f \( -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' \) | sort; }
mapfile -t house < <(sources kernels engine data nn metrics tree report c_api tools)
status=0
awk -f "$rules" "${house[@]}" || status=1
if [[ -d tests && -d bench ]]; then
  mapfile -t beside < <(sources tests bench)
  awk -v citations_only=1 -v "house=${house[*]}" -f "$rules" "${beside[@]}" || status=1
fi
exit $status
