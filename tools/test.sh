#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every test. Arguments go to ctest, as in
#   tools/test.sh -R engine
# Exit status 0 only when every test that ran has passed and at least one ran.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/build.sh"

# What ctest's log says of each skipped test, counted: GoogleTest prints the reason after a line "file:line: Skipped".
skip_reasons() {
  awk '/: Skipped$/ { getline reason; count[reason]++ }
       END { for (reason in count) printf "             %d: %s\n", count[reason], reason }' "$1" | sort -k1,1nr
}

build_release  # everything

echo "== test"
log="$build_dir/test.log"
status=0
# Tests run beside each other and each uses every core; a waiting thread must not hold one.
OMP_WAIT_POLICY=passive ctest --test-dir "$build_dir" --output-on-failure --no-tests=error \
  --parallel "$(nproc)" "$@" | tee "$log" || status=$?

# count PATTERN: ctest's result lines that match.
count() { grep 'Test *#[0-9]*: ' "$log" | grep -v 'Not Run (Disabled)' | grep -c "$1" || true; }
passed=$(count '   Passed ')
skipped=$(count '\*\*\*Skipped')
failed=$(($(count '\*\*\*') - skipped))
echo
echo "== summary"
echo "  tests      $passed passed, $failed failed, $skipped skipped"
if [[ $skipped -gt 0 ]]; then
  skip_reasons "$build_dir/Testing/Temporary/LastTest.log"
fi
echo "  program    $PWD/$build_dir/bin/densetree"
"$build_dir/bin/densetree" devices | sed 's/^/  device     /'
[[ $status -eq 0 ]] || echo "  not passed: see the list above, and $PWD/$log" >&2
exit "$status"
