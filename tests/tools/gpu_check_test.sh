#!/usr/bin/env bash
# bench/gpu_check.sh on the CPU: what it finds is in summary.json, and a stage that fails shows in the exit status
# without keeping the others from running.
#   gpu_check_test.sh DENSETREE
# shellcheck source=tests/tools/harness.sh
source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
stages=environment,determinism,resume,move

# checks STATUS ARGUMENTS…: gpu_check.sh must end with STATUS.
checks() {
  local want=$1 got=0
  shift
  "$root/bench/gpu_check.sh" --device cpu --quick "$@" > "$work/out" 2> "$work/err" || got=$?
  [[ $got == "$want" ]] || { fail "gpu_check.sh $* ended with $got, not $want"; cat "$work/out" "$work/err" >&2; }
}

# holds FILE EXPRESSION: true of the summary s and its stages by name.
holds() {
  python3 - "$1" "$2" << 'PYTHON' || fail "summary.json: not $2"
import json, sys
s = json.load(open(sys.argv[1]))
stages = {stage["stage"]: stage for stage in s["stages"]}
sys.exit(not eval(sys.argv[2]))
PYTHON
}

mkdir -p "$work/build/bin"
ln -s "$densetree" "$work/build/bin/densetree"
checks 0 --build "$work/build" --out "$work/good" --stages "$stages"
summary="$work/good/summary.json"
holds "$summary" 's["status"] == "passed" and s["device"] == "cpu" and s["quick"]'
holds "$summary" "','.join(stages) == '$stages'"
holds "$summary" 'all(stage["status"] == "passed" and stage["finished"] for stage in s["stages"])'
holds "$summary" 'any("mid-epoch" in check["name"] for check in stages["resume"]["checks"])'
holds "$summary" 'sum(check["status"] == "passed" for check in stages["move"]["checks"]) == 6'
holds "$summary" 'len(s["source_sha256"]) == 64 and s["environment"]["devices"][0]["name"] == "cpu"'
grep -q '| determinism | passed |' "$work/good/summary.md" || fail "summary.md does not tell of determinism"
there "$work/good/logs/resume.log"

# The hash is of the sources' content and needs no git.
source_hash() {
  PYTHONPATH="$root/bench/gpu" python3 -B -c \
    'import machine, pathlib, sys; print(machine.source_hash(pathlib.Path(sys.argv[1])))' "$1"
}
mkdir -p "$work/tree/nn" && echo one > "$work/tree/nn/a.cc"
first="$(source_hash "$work/tree")"
mkdir -p "$work/tree/build" && echo other > "$work/tree/build/log"
[[ $(source_hash "$work/tree") == "$first" ]] || fail "the hash depends on files that are no sources"
echo two > "$work/tree/nn/a.cc"
[[ $(source_hash "$work/tree") != "$first" ]] || fail "the hash does not depend on a source"

# A program whose training gives other bytes each time: that stage fails, the others are run.
mkdir -p "$work/bad/bin"
cat > "$work/bad/bin/densetree" << PROGRAM
#!/usr/bin/env bash
"$densetree" "\$@" || exit
[[ \$1 != train ]] || echo "\$RANDOM\$RANDOM" >> "\${5}/checkpoint-last.safetensors"
PROGRAM
chmod +x "$work/bad/bin/densetree"
checks 1 --build "$work/bad" --out "$work/failed" --stages determinism,environment
summary="$work/failed/summary.json"
holds "$summary" 's["status"] == "failed" and stages["determinism"]["status"] == "failed"'
holds "$summary" 'stages["environment"]["status"] == "passed"'

# A stage that does not end is stopped, and what it had found stays.
printf '#!/bin/sh\nsleep 60\n' > "$work/bad/bin/densetree"
checks 1 --build "$work/bad" --out "$work/failed" --stages environment --seconds-per-stage 1
holds "$summary" 'stages["environment"]["checks"][-1]["detail"].startswith("stopped at its limit")'

# Usage, and a folder that is somebody else's.
checks 2 --stages nonsense
checks 2 --device gpu
checks 1 --build "$work/none" --out "$work/x"
mkdir "$work/mine" && touch "$work/mine/file"
checks 1 --build "$work/build" --out "$work/mine"
there_still=$(ls "$work/mine")
[[ $there_still == file ]] || fail "a folder with other files was touched: $there_still"
finish
