# shellcheck shell=bash
# For the scripts beside it: a folder that goes away, and checks that say what they saw.
# Sets $densetree and $work; call `finish` at the end.
set -uo pipefail
densetree="$(realpath "$1")"
work="$(mktemp -d)"
failures=0
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

# runs STATUS ARGUMENTS…: densetree must exit with STATUS. Output is in $work/out and $work/err.
runs() {
  local want=$1 got=0
  shift
  "$densetree" "$@" > "$work/out" 2> "$work/err" < /dev/null || got=$?
  [[ $got == "$want" ]] || { fail "densetree $* exited with $got, not $want"; tail -5 "$work/err" >&2; }
}

# says TEXT: the last run's standard error holds it.
says() { grep -qF -- "$1" "$work/err" || { fail "no word of '$1' in:"; tail -5 "$work/err" >&2; }; }

# fails TEXT ARGUMENTS…: exit status 1, one line that begins as agreed and holds TEXT.
fails() {
  local text=$1
  shift
  runs 1 "$@"
  grep -q '^densetree: error: ' "$work/err" || fail "densetree $* did not say 'densetree: error: …'"
  says "$text"
}

same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }
there() { [[ -s $1 ]] || fail "$1 is missing or empty"; }
absent() { [[ ! -e $1 ]] || fail "$1 should not be there"; }

finish() {
  if [[ $failures -gt 0 ]]; then
    echo "$failures checks failed" >&2
    exit 1
  fi
  echo "all checks passed"
}
