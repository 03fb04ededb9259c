#!/usr/bin/env bash
# Holds the binary interface that densetree.h declares against the one that is kept: functions, their types, the layout of
# structs. That the library's functions are those of the header is the compiler's to say, and the consumers' test's.
#   abi_test.sh C_API          exit status 77 where abidiff or the compiler that the kept one is of is missing
#   abi_test.sh --keep C_API   keeps the header's: after a change that callers need not notice
set -euo pipefail
keep=false
[[ $1 != --keep ]] || { keep=true; shift; }
header=$1/densetree.h kept=$1/densetree.abi
command -v abidiff > /dev/null || { echo "abidiff is not installed"; exit 77; }
compiler="$(cc --version | head -1 | sed 's/[^(]*([^)]*) *\([0-9]*\)\..*/gcc \1/'), $(uname -m)"
if ! $keep && [[ "$(head -1 "$kept")" != "<!-- $compiler -->" ]]; then
  echo "the interface is kept as $(head -1 "$kept") describes it, and this is $compiler"
  exit 77
fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
# Each declaration of a function as a definition.
{
  echo '#include "densetree.h"'
  sed -e 's|/\*.*\*/||' "$header" | tr '\n' ' ' | grep -oE 'DENSETREE_API [^;]*\)( DENSETREE_MUST_CHECK)?;' |
    sed -E 's/ DENSETREE_MUST_CHECK//; s/;$/ { __builtin_trap(); }/'
} > "$work/functions.c"
cc -g -std=c99 -shared -fPIC -I "$1" "$work/functions.c" -o "$work/functions.so"
describe=(abidw --no-show-locs --no-corpus-path --no-comp-dir-path --no-elf-needed --type-id-style hash)
"${describe[@]}" "$work/functions.so" > "$work/now.abi"
functions=$(grep -c '<elf-symbol ' "$work/now.abi")
declared=$(grep -c '^DENSETREE_API' "$header")
[[ $functions == "$declared" ]] || { echo "$header declares $declared functions; $functions were found" >&2; exit 1; }
if $keep; then
  { echo "<!-- $compiler -->"; cat "$work/now.abi"; } > "$kept"
  exit
fi
tail -n +2 "$kept" > "$work/kept.abi"
abidiff "$work/kept.abi" "$work/now.abi" || {
  echo "the binary interface has changed: what breaks callers needs another major version; the rest is kept by" \
    "'$0 --keep $1'" >&2
  exit 1
}
echo "the binary interface of $functions functions is the one that is kept"
