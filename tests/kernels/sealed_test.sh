#!/usr/bin/env bash
# Holds that what is compiled for one instruction set stays apart: each sealed object defines one symbol that others can see,
# and nothing else in the library has an instruction of AVX or BMI.
#   sealed_test.sh LIBRARY.a SEALED.o…     CXXFLAGS: what all of it was compiled with
set -euo pipefail
library=$1
shift
if [[ ${CXXFLAGS-} == *-march* ]]; then
  echo "all of this build is compiled for one processor: $CXXFLAGS"
  exit 77
fi
failures=0
fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}
for object in "$@"; do
  name="$(basename "$object" .o)"
  seen="$(nm --defined-only --extern-only --format=just-symbols "$object")"
  [[ $seen == "$name" ]] || fail "$object shows more than $name: $(head -3 <<< "$seen")"
  grep -qx "$name.o" <<< "$(ar t "$library")" || fail "$library lacks $name.o"
done

with_avx="$(objdump -d --no-show-raw-insn "$library" |
  awk '/: *file format/ { member = $1; sub(/:$/, "", member) } /\tv[a-z0-9]+ .*%[xyz]mm|\t(shlx|sarx|shrx|rorx|mulx|andn|bextr|bls[irm]) / && !seen[member]++ { print member }')"
others="$(grep -v '^densetree_cpu_avx' <<< "$with_avx" || true)"
[[ -z $others ]] || fail "compiled for AVX, and seen by all: $others"
if [[ " $* " == *avx2* ]]; then
  grep -qx densetree_cpu_avx2.o <<< "$with_avx" || fail "no AVX is found where it is; this test sees nothing"
fi
[[ $failures == 0 ]]
