#!/usr/bin/env bash
# Checks and measures densetree on this machine's GPU: one command, nothing to edit, every stage goes on after failures.
#
#   bench/gpu_check.sh [--device cuda|cuda:N|cpu] [--out DIR] [--build DIR|PACK.tar.gz] [--shared DIR]
#                      [--stages a,b,c] [--seconds-per-stage N] [--python PYTHON] [--quick]
#
#   --device    what is checked (cuda); with cpu the same on the CPU, to try the scripts
#   --out       results (build/gpu-check): summary.md, summary.json, logs/, bench/
#   --build     a build that is there already, or what gpu_pack.sh made; without it, this builds
#   --shared    the folder of reference traces and X-rays (the pack's, or ../shared, or shared/)
#   --stages    of: environment tests sanitizer traces determinism resume move demo real benchmarks (all)
#   --seconds-per-stage   each stage is stopped after that (900; with --quick 300)
#   --python    an interpreter with torch, to compare with (python3, else /usr/bin/python3, where they have it)
#   --quick     small sizes: shows that everything works, measures nothing
#
# Exit status: 0 when no stage failed, 1 when one did, 2 for wrong usage.
set -uo pipefail
usage() { sed -n '2,17s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
known=(environment tests sanitizer traces determinism resume move demo real benchmarks)
marker=".densetree-gpu-check"

wrong() { echo "gpu_check: error: $*" >&2; exit 2; }
fail() { echo "gpu_check: error: $*" >&2; exit 1; }

# ---- Arguments
device=cuda
out="$root/build/gpu-check"
build="" shared="" python="" seconds="" quick=""
stages=("${known[@]}")
while [[ $# -gt 0 ]]; do
  case "$1" in
    --device | --out | --build | --shared | --stages | --seconds-per-stage | --python)
      [[ -n "${2-}" ]] || wrong "$1 wants a value"
      case "$1" in
        --device) device="$2" ;;
        --out) out="$(realpath -m "$2")" ;;
        --build) build="$(realpath -m "$2")" ;;
        --shared) shared="$(realpath -m "$2")" ;;
        --stages) IFS=, read -r -a stages <<< "$2" ;;
        --seconds-per-stage) seconds="$2" ;;
        --python) python="$2" ;;
      esac
      shift 2
      ;;
    --quick) quick=--quick; shift ;;
    -h | --help) usage; exit 0 ;;
    *) wrong "unknown argument '$1'; see --help" ;;
  esac
done
[[ $device =~ ^(cpu|cuda|cuda:[0-9]+)$ ]] || wrong "--device is '$device'; use cuda, cuda:N or cpu"
[[ -n $seconds ]] || seconds=$([[ -n $quick ]] && echo 300 || echo 900)
[[ $seconds =~ ^[1-9][0-9]*$ ]] || wrong "--seconds-per-stage is '$seconds'; use a whole number above 0"
for stage in "${stages[@]}"; do
  [[ " ${known[*]} " == *" $stage "* ]] || wrong "there is no stage '$stage'; there are ${known[*]}"
done
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null || fail "python3 is missing or older than 3.10"
[[ -z $shared || -d $shared ]] || fail "there is no folder $shared (--shared)"

# ---- Where results go
if [[ -d $out && -n "$(ls -A "$out")" && ! -e $out/$marker ]]; then
  fail "$out is not empty and no earlier check made it; name another folder with --out"
fi
rm -rf "${out:?}"/{build,cache,logs,stages,work,bench,summary.json,summary.md}
mkdir -p "$out/logs" "$out/stages" || fail "cannot write to $out"
touch "$out/$marker"

# ---- The build
linked=""
trap '[[ -z $linked ]] || rm -f "$linked"' EXIT

# Tests know the source folder they were built from, for the files in tests/reference. Where that is not there, as on
# another machine, its name leads here while this runs.
lead_sources_here() {
  local built_from
  built_from="$(cat "$build/source.txt" 2> /dev/null)"
  [[ -n $built_from && ! -e $built_from ]] || return 0
  mkdir -p "$(dirname "$built_from")" && ln -s "$root" "$built_from" && linked="$built_from"
}

if [[ -z $build ]]; then
  # shellcheck source=tools/build.sh
  (source "$root/tools/build.sh" && build_release) > "$out/logs/build.log" 2>&1 ||
    fail "the build failed, see $out/logs/build.log; bring one along with --build (bench/gpu_pack.sh makes it)"
  build="$root/build/release"
elif [[ -f $build ]]; then
  mkdir -p "$out/build"
  tar -xf "$build" -C "$out/build" || fail "$build cannot be unpacked"
  build="$out/build"
fi
[[ -x $build/bin/densetree ]] || fail "there is no $build/bin/densetree (--build)"
lead_sources_here || fail "cannot make $(cat "$build/source.txt") lead to $root, which the tests need"
for folder in "$build/shared" "$root/../shared" "$root/shared"; do
  [[ -n $shared || ! -d $folder/reference ]] || shared="$(realpath "$folder")"
done

# ---- An interpreter with torch, and cuDNN from pip where the system has none
has_torch() { "$1" -c 'import torch' > /dev/null 2>&1; }
if [[ -n $python ]]; then
  has_torch "$python" || fail "$python cannot import torch (--python)"
else
  for candidate in python3 /usr/bin/python3; do
    [[ -n $python ]] || ! has_torch "$candidate" || python="$(command -v "$candidate")"
  done
fi
packaged_libraries() {
  "${python:-python3}" - << 'PYTHON'
import glob
try:
    import nvidia
    print(":".join(folder for path in nvidia.__path__ for folder in sorted(glob.glob(path + "/*/lib"))))
except ImportError:
    pass
PYTHON
}
if ldd "$build/bin/densetree" 2> /dev/null | grep -q 'not found'; then
  LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/usr/local/cuda/lib64:$(packaged_libraries)"
  export LD_LIBRARY_PATH
  missing="$(ldd "$build/bin/densetree" | grep 'not found')"
  [[ -z $missing ]] || fail "$build/bin/densetree lacks $missing"
fi
[[ -z $shared ]] || export DENSETREE_SHARED="$shared"
# Algorithms are the libraries' first choices, but for benchmarks that say so; what those find stays here.
unset DENSETREE_AUTOTUNE
export DENSETREE_CACHE="$out/cache"
export OMP_WAIT_POLICY=passive  # programs run beside others; a waiting thread must not hold a core

# ---- Stages
options=(--root "$root" --build "$build" --out "$out" --device "$device" --seconds "$seconds")
[[ -z $shared ]] || options+=(--shared "$shared")
[[ -z $python ]] || options+=(--python "$python")
[[ -z $quick ]] || options+=("$quick")
finished=()
for stage in "${stages[@]}"; do
  echo "gpu_check: $stage" >&2
  start=$SECONDS
  status=0
  timeout --kill-after=10 "$seconds" python3 -B "$root/bench/gpu/check.py" "$stage" "${options[@]}" \
    > "$out/logs/$stage.log" 2>&1 < /dev/null || status=$?
  echo "$status $((SECONDS - start)) $seconds" > "$out/stages/$stage.status"
  rm -rf "$out/work/$stage"
  finished+=("$stage")
  # Each time: should this be stopped from outside, the summary is there as far as it had come.
  failed=0
  python3 -B "$root/bench/gpu/summary.py" "$out" "$device" "${quick:+quick}" "${finished[@]}" \
    > "$out/logs/summary.log" || failed=1
done
cat "$out/logs/summary.log"
exit "$failed"
