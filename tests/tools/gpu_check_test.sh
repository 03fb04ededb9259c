#!/usr/bin/env bash
# bench/gpu_check.sh on the CPU: what it finds is in its three files, and a stage that fails, crashes or hangs, or the end of
# the time there is, takes nothing from what was found before.
#   gpu_check_test.sh DENSETREE
# shellcheck source=tests/tools/harness.sh
source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
export TMPDIR="$work/tmp"
mkdir "$TMPDIR"

# checks STATUS ARGUMENTS…: gpu_check.sh must end with STATUS.
checks() {
  local want=$1 got=0
  shift
  "$root/bench/gpu_check.sh" --device cpu --quick "$@" > "$work/out" 2> "$work/err" || got=$?
  [[ $got == "$want" ]] || { fail "gpu_check.sh $* ended with $got, not $want"; cat "$work/out" "$work/err" >&2; }
}

# holds FOLDER EXPRESSION: true of the summary s, its stages and the names in the archive.
holds() {
  python3 - "$1" "$2" << 'PYTHON' || fail "$1: not $2"
import json, sys, tarfile
s = json.load(open(sys.argv[1] + "/summary.json"))
stages = {stage["stage"]: stage for stage in s["stages"]}
archive = tarfile.open(sys.argv[1] + "/results.tar.gz").getnames()
sys.exit(not eval(sys.argv[2]))
PYTHON
}
# running TEXT: processes whose command line holds it.
running() {
  local file
  for file in /proc/[0-9]*/cmdline; do
    [[ "$(tr '\0' ' ' 2> /dev/null < "$file")" != *"$1"* ]] || echo "${file//[^0-9]/}"
  done
}
only_results() {
  [[ $(find "$1" -mindepth 1 -printf "%f\n" | sort | tr '\n' ' ') == "results.tar.gz summary.json summary.md " ]] || fail "$1 holds $(ls -A "$1")"
  [[ -z $(ls -A "$TMPDIR") ]] || fail "$(ls "$TMPDIR") is left behind"
}

mkdir -p "$work/build/bin"
ln -s "$densetree" "$work/build/bin/densetree"
stages=environment,determinism,resume,move
checks 0 --build "$work/build" --out "$work/good" --stages "$stages"
only_results "$work/good"
holds "$work/good" 's["status"] == "passed" and s["device"] == "cpu" and s["quick"]'
holds "$work/good" "','.join(stages) == '$stages'"
holds "$work/good" 'all(stage["status"] == "passed" and stage["finished"] for stage in s["stages"])'
holds "$work/good" 'any("mid-epoch" in check["name"] for check in stages["resume"]["checks"])'
holds "$work/good" 'sum(check["status"] == "passed" for check in stages["move"]["checks"]) == 6'
holds "$work/good" 'len(s["source_sha256"]) == 64 and s["environment"]["devices"][0]["name"] == "cpu"'
holds "$work/good" '"results/logs/resume.log" in archive and "results/stages/move.json" in archive'
grep -q '| determinism | passed |' "$work/good/summary.md" || fail "summary.md does not tell of determinism"

# A build that cannot start here: what it lacks is said before any stage begins, however much there is to read.
mkdir -p "$work/bare"
printf '#!/bin/sh\nprintf "\\tlibcudnn.so.9 => not found\\n"\nseq -f "\tlib%%.0f.so => /lib/some.so" 20000\n' \
  > "$work/bare/ldd"
chmod +x "$work/bare/ldd"
PATH="$work/bare:$PATH" checks 1 --build "$work/build" --out "$work/lacks" --stages environment
grep -q 'error: this build needs libcudnn.so.9, which neither' "$work/err" || fail "no word of the library that is missing"

# The plan tells every stage with its limit.
"$root/bench/gpu_check.sh" --plan > "$work/plan" || fail "--plan ended with $?"
grep -q '^kernels .*float64' "$work/plan" || fail "--plan does not tell of the kernels"

# A test program of which one case fails, one crashes and one hangs: the other cases are run all the same.
mkdir -p "$work/tests/bin"
ln -s "$densetree" "$work/tests/bin/densetree"
cat > "$work/tests/bin/kernels_tests" << 'PROGRAM'
#!/usr/bin/env python3
import os, re, sys, time
cases = ["good", "crash", "better", "hang", "fine", "bad", "last", "best"]
if "--gtest_list_tests" in sys.argv:
    sys.exit(print("Running main() from here\nSuite/PoolingTest.\n  " + "\n  ".join(cases)))
for case in re.search("--gtest_filter=(.*)", open(sys.argv[1].split("=")[1]).read())[1].split(":"):
    print(f"[ RUN      ] {case}", flush=True)
    if case.endswith("crash"):
        os.abort()
    if case.endswith("hang"):
        time.sleep(1000)
    if case.endswith("bad"):
        print(f"here.cc:1: Failure\nnot good\n[  FAILED  ] {case}, where GetParam() = 1 (0 ms)", flush=True)
    else:
        print(f"[       OK ] {case} (0 ms)", flush=True)
PROGRAM
printf '#!/bin/sh\nkill -SEGV $$\n' > "$work/tests/bin/bench_tree"
chmod +x "$work/tests/bin/"*_{tests,tree}
DENSETREE_CHECK_QUIET=2 checks 1 --build "$work/tests" --out "$work/cases" --stages kernels,tree,environment
holds "$work/cases" 'stages["tree"]["checks"][-1]["detail"] == "killed by SIGSEGV: no word"'
holds "$work/cases" 'stages["kernels"]["figures"]["kernels_tests"]["passed"] == 5'
holds "$work/cases" 'sorted(name.split(".")[1] for name in stages["kernels"]["figures"]["kernels_tests"]["failed"]) == ["bad", "crash", "hang"]'
holds "$work/cases" 'stages["environment"]["status"] == "passed"'

# A program that hangs takes the whole time; what comes after it is named as not run, and can be taken up later.
mkdir -p "$work/hung/bin"
printf '#!/bin/sh\n[ "$1" = synth ] || exec "%s" "$@"\nsleep 1000\n' "$densetree" > "$work/hung/bin/densetree"
chmod +x "$work/hung/bin/densetree"
begun=$SECONDS
checks 1 --build "$work/hung" --out "$work/late" --stages environment,determinism,move --minutes 0.25
[[ $((SECONDS - begun)) -le 16 ]] || fail "15 s were asked for, and it took $((SECONDS - begun)) s"
only_results "$work/late"
holds "$work/late" 'stages["environment"]["status"] == "passed"'
holds "$work/late" 'stages["determinism"]["status"] == "failed" and "stopped after" in stages["determinism"]["checks"][-1]["detail"]'
holds "$work/late" 'stages["move"]["status"] == "not run"'
[[ -z $(running "$work/hung/bin/densetree") ]] || fail "a program that hung is still there"
checks 1 --build "$work/build" --out "$work/late" --stages environment,determinism,move --continue "$work/late"
holds "$work/late" '[stages[name]["status"] for name in ("environment", "determinism", "move")] == ["passed", "failed", "passed"]'

# Killed in the middle: what was finished is there, the rest is named.
setsid "$root/bench/gpu_check.sh" --device cpu --quick --build "$work/hung" --out "$work/killed" --stages environment,determinism,move \
  > /dev/null 2> "$work/err" &
killed=$!
for _ in $(seq 100); do
  sleep 0.1
  ! grep -q 'determinism, at most' "$work/err" || break
done
kill -KILL -- "-$killed"
wait "$killed" 2> /dev/null
# A stage is a process group of its own, and may not have started its program yet.
for what in "--out $work/killed" "$work/hung/bin/densetree"; do
  for process in $(running "$what"); do kill -KILL "$process" 2> /dev/null; done
done
holds "$work/killed" 'stages["environment"]["status"] == "passed" and "results/stages/environment.json" in archive'
holds "$work/killed" 'stages["determinism"]["status"] == stages["move"]["status"] == "not run"'
holds "$work/killed" 'stages["determinism"]["why_skipped"] == "had begun" != stages["move"]["why_skipped"]'
rm -rf "${TMPDIR:?}"/*

# Of the kernels that a program ran, those of the last whole step, added up by name.
PYTHONPATH="$root/bench/gpu" python3 -B - << 'PYTHON' || fail "the kernels of a step are not added up"
import speed
def ran(name, nanoseconds):
    return {"name": name, "nanoseconds": str(nanoseconds), "registers": "40"}
relu = "void densetree::(anonymous namespace)::affine_relu_kernel<__nv_bfloat16, 8>(densetree::cuda::Pixels, int)"
adam = "void densetree::(anonymous namespace)::adam_kernel(float const*, long)"
step = speed.last_step([ran(relu, 9), ran(adam, 9), ran(relu, 1000), ran(relu, 3000), ran(adam, 4000), ran(relu, 9)])
assert [int(row["nanoseconds"]) for row in step] == [1000, 3000, 4000], step
table = {row["kernel"]: row for row in speed.by_kernel(step)}
assert table["affine_relu_kernel<__nv_bfloat16, 8>"]["calls"] == 2, table
assert table["adam_kernel"]["ms"] == 0.004 and table["adam_kernel"]["share"] == 0.5, table
assert speed.last_step([ran(adam, 1), ran(relu, 1)]) == []
PYTHON

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
holds "$work/failed" 's["status"] == "failed" and stages["determinism"]["status"] == "failed"'
holds "$work/failed" 'stages["environment"]["status"] == "passed"'

# Usage, and a folder that is somebody else's.
checks 2 --stages nonsense
checks 2 --device gpu
checks 2 --minutes none
checks 2 --minutes 0
checks 1 --build "$work/build" --continue "$work/none" --out "$work/x"
checks 1 --build "$work/none" --out "$work/x"
mkdir "$work/mine" && touch "$work/mine/file"
checks 1 --build "$work/build" --out "$work/mine"
there_still=$(ls "$work/mine")
[[ $there_still == file ]] || fail "a folder with other files was touched: $there_still"
finish
