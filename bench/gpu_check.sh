#!/usr/bin/env bash
# Checks and measures densetree on this machine's GPU within the minutes there are: one command, nothing to edit. What
# tells most comes first; a stage that fails, crashes or hangs keeps no other from running; results are there as they come.
#
#   bench/gpu_check.sh [--minutes N] [--plan] [--continue DIR] [--device cuda|cuda:N|cpu] [--out DIR]
#                      [--build DIR|PACK.tar.gz] [--shared DIR] [--stages a,b,c] [--python PYTHON] [--quick]
#
#   --minutes   all of it ends within that time (6)
#   --plan      prints the stages in their order, with limits and reasons, and does nothing
#   --continue  a folder that an earlier call left its results in: what it has been through is taken over
#   --device    what is checked (cuda); with cpu the same on the CPU, to try the scripts
#   --out       holds summary.md, summary.json, results.tar.gz and nothing else (build/gpu-check)
#   --build     a build that is there already, or what gpu_pack.sh made; without it, this builds
#   --shared    the folder of reference traces and X-rays (the pack's, or ../shared, or shared/)
#   --stages    these alone, in this order
#   --python    an interpreter with torch, to compare with (python3, else /usr/bin/python3, where they have it)
#   --quick     small sizes: shows that everything works, measures nothing
#
# Exit status: 0 when no stage failed, 1 when one did, 2 for wrong usage.
set -uo pipefail
usage() { sed -n '2,20s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
begun=$SECONDS

wrong() { echo "gpu_check: error: $*" >&2; exit 2; }
fail() { echo "gpu_check: error: $*" >&2; exit 1; }

# ---- Arguments
device=cuda minutes=6
out="$root/build/gpu-check"
build="" shared="" python="" plan=""
options=()
while [[ $# -gt 0 ]]; do
  case "$1" in
    --device | --out | --build | --shared | --stages | --minutes | --python | --continue)
      [[ -n "${2-}" ]] || wrong "$1 wants a value"
      case "$1" in
        --device) device="$2" ;;
        --out) out="$(realpath -m "$2")" ;;
        --build) build="$(realpath -m "$2")" ;;
        --shared) shared="$(realpath -m "$2")" ;;
        --minutes) minutes="$2" ;;
        --python) python="$2" ;;
        --stages) options+=(--stages "$2") ;;
        --continue)
          [[ -e $2/results.tar.gz ]] || fail "there is no $2/results.tar.gz (--continue)"
          options+=(--continue "$2")
          ;;
      esac
      shift 2
      ;;
    --quick) options+=(--quick); shift ;;
    --plan) plan=--plan; shift ;;
    -h | --help) usage; exit 0 ;;
    *) wrong "unknown argument '$1'; see --help" ;;
  esac
done
[[ $device =~ ^(cpu|cuda|cuda:[0-9]+)$ ]] || wrong "--device is '$device'; use cuda, cuda:N or cpu"
[[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ && ! $minutes =~ ^[0.]+$ ]] || wrong "--minutes is '$minutes'; use a number above 0"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null || fail "python3 is missing or older than 3.10"
options+=(--root "$root" --device "$device")
planned="$(python3 -B "$root/bench/gpu/check.py" "${options[@]}" --plan)" || exit 2
[[ -z $plan ]] || { echo "$planned"; exit 0; }
[[ -z $shared || -d $shared ]] || fail "there is no folder $shared (--shared)"
mkdir -p "$out" || fail "cannot write to $out"
for file in "$out"/* "$out"/.[!.]*; do
  [[ ! -e $file || $(basename "$file") =~ ^(summary\.md|summary\.json|results\.tar\.gz|\..*\.part)$ ]] ||
    fail "$out holds $(basename "$file"), which no check made; name another folder with --out"
done
work="$(mktemp -d)" || fail "cannot make a temporary folder"

# ---- The build
linked=""
trap '[[ -z $linked ]] || rm -f "$linked"; rm -rf "$work"' EXIT

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
  mkdir -p "$root/build"
  (source "$root/tools/build.sh" && build_release) > "$root/build/gpu-check-build.log" 2>&1 ||
    fail "the build failed, see $root/build/gpu-check-build.log; bring one along with --build (bench/gpu_pack.sh makes it)"
  begun=$SECONDS
  build="$root/build/release"
elif [[ -f $build ]]; then
  mkdir "$work/build"
  tar -xf "$build" -C "$work/build" || fail "$build cannot be unpacked"
  build="$work/build"
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
# Libraries that the files need and that are not found.
lacking() { ldd "$@" 2> /dev/null | sed -n 's/^[[:space:]]*\([^ ]*\) => not found.*/\1/p' | sort -u | paste -sd ' '; }
if [[ -n $(lacking "$build"/bin/densetree "$build"/lib/*.so "$build"/lib/densetree/*.so) ]]; then  # CUPTI is no must
  LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$(packaged_libraries):/usr/local/cuda/lib64"
  export LD_LIBRARY_PATH
  missing="$(lacking "$build"/bin/densetree "$build"/lib/densetree/*.so)"
  [[ -z $missing ]] || fail "this build needs $missing, which neither the system nor ${python:-python3}'s packages have;" \
    "install cuDNN 9 and cuBLAS (PyTorch for CUDA brings both; --python names its interpreter)," \
    "or bring a build without CUDA (bench/gpu_pack.sh --architectures none)"
fi
[[ -z $shared ]] || export DENSETREE_SHARED="$shared"
# Algorithms are the libraries' first choices, but for benchmarks that say so; what those find stays here.
unset DENSETREE_AUTOTUNE
export DENSETREE_CACHE="$work/cache"
export OMP_WAIT_POLICY=passive  # programs run beside others; a waiting thread must not hold a core

# ---- Stages
options+=(--build "$build" --out "$out")
options+=(--minutes "$(awk "BEGIN { print $minutes - ($SECONDS - $begun) / 60 }")")
[[ -z $shared ]] || options+=(--shared "$shared")
[[ -z $python ]] || options+=(--python "$python")
python3 -B "$root/bench/gpu/check.py" "${options[@]}" < /dev/null
