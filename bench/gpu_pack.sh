#!/usr/bin/env bash
# Builds for a machine that has a GPU but not what a build needs, and packs it: programs, tests, benchmarks, the shared
# libraries they load, and data, in one archive for `gpu_check.sh --build`.
#
#   bench/gpu_pack.sh [--out FILE.tar.gz] [--architectures LIST] [--build DIR] [--shared DIR] [--jobs N]
#
#   --out             the archive (build/gpu-pack/densetree.tar.gz); it has to stay below 50 MiB
#   --architectures   as in CMAKE_CUDA_ARCHITECTURES (90-real); `none` builds without CUDA, to try the scripts
#   --build           where to build (build/gpu-pack/build)
#   --shared          the folder of reference traces and X-rays (../shared)
#   --jobs            compilers at a time (all cores)
#
# glibc is the other machine's own and has to be as new as this one's; so are the driver, and CUDA's libraries and
# cuDNN, which are too large: PyTorch brings them, and gpu_check.sh finds them there.
set -euo pipefail
usage() { sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
most_bytes=$((50 << 20))
programs=(densetree bench_step bench_memory_recompute bench_layers bench_tree)

out="$root/build/gpu-pack/densetree.tar.gz"
build="$root/build/gpu-pack/build"
architectures=90-real
shared="${DENSETREE_SHARED:-$root/../shared}"
jobs="$(nproc)"
while [[ $# -gt 0 ]]; do
  case "$1" in
    --out | --architectures | --build | --shared | --jobs)
      [[ -n "${2-}" ]] || { echo "gpu_pack: error: $1 wants a value" >&2; exit 2; }
      case "$1" in
        --out) out="$(realpath -m "$2")" ;;
        --architectures) architectures="$2" ;;
        --build) build="$(realpath -m "$2")" ;;
        --shared) shared="$(realpath -m "$2")" ;;
        --jobs) jobs="$2" ;;
      esac
      shift 2
      ;;
    -h | --help) usage; exit 0 ;;
    *) echo "gpu_pack: error: unknown argument '$1'; see --help" >&2; exit 2 ;;
  esac
done

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
pack="$work/pack"
mkdir -p "$pack"/{bin,lib,shared/data} "$(dirname "$out")"

# The tests remember where their sources are. Built through a name in /tmp, they find them on the other machine once
# gpu_check.sh has made that name lead there.
sources="/tmp/densetree-source-$(sha256sum <<< "$root" | head -c 12)"
ln -sfn "$root" "$sources"
echo "$sources" > "$pack/source.txt"

cuda=(-DDENSETREE_CUDA=ON "-DDENSETREE_CUDA_ARCHITECTURES=$architectures")
[[ $architectures != none ]] || cuda=(-DDENSETREE_CUDA=OFF)
# An rpath that libraries inherit (the old kind), so that those in lib/ find each other and nobody else finds them.
cmake -S "$sources" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release "${cuda[@]}" \
  -DDENSETREE_CUDA_EMULATION=OFF "-DCMAKE_BUILD_RPATH=\$ORIGIN/../lib;\$ORIGIN/.." -DCMAKE_SKIP_RPATH=OFF \
  -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags -DCMAKE_MODULE_LINKER_FLAGS=-Wl,--disable-new-dtags
cmake --build "$build" --parallel "$jobs"

for program in "$build"/bin/*_tests "${programs[@]/#/$build/bin/}"; do
  strip -o "$pack/bin/$(basename "$program")" "$program"
done

[[ ! -e $build/lib/libkernel_times.so ]] || cp "$build/lib/libkernel_times.so" "$pack/lib/"
if [[ $architectures != none ]]; then
  mkdir "$pack/lib/densetree"
  strip -o "$pack/lib/densetree/libdensetree_cuda.so" "$build/lib/densetree/libdensetree_cuda.so"
fi

# Every library that any of them loads, but glibc's own, the driver's, CUDA's and cuDNN's.
left='^(ld-linux|lib(c|m|dl|rt|pthread|resolv|util|nsl|anl|mvec)\.so|libcuda\.|libcu(dnn|blas|dart)|libnv)'
find "$pack"/bin "$pack"/lib -type f -exec ldd {} + | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u | while read -r library; do
  [[ "$(basename "$library")" =~ $left ]] || cp -L "$library" "$pack/lib/"
done

# Reference traces, and the X-rays that are small enough.
[[ -d $shared/reference ]] || echo "gpu_pack: no traces and X-rays are packed: there is no $shared/reference" >&2
for folder in reference data/nih-256 data/scores; do
  [[ ! -d $shared/$folder ]] || cp -rL --no-preserve=mode "$shared/$folder" "$pack/shared/$folder"
done

python3 -B - "$root" "$architectures" > "$pack/pack.json" << 'PYTHON'
import datetime, json, pathlib, sys
sys.path.insert(0, sys.argv[1] + "/bench/gpu")
import machine
root = pathlib.Path(sys.argv[1])
print(json.dumps({"commit": machine.git_commit(root), "source_sha256": machine.source_hash(root),
                  "architectures": sys.argv[2],
                  "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}))
PYTHON

tar -C "$pack" -czf "$work/pack.tar.gz" .
bytes="$(stat -c %s "$work/pack.tar.gz")"
if [[ $bytes -ge $most_bytes ]]; then
  echo "gpu_pack: error: the archive would take $bytes bytes, and $most_bytes is the most" >&2
  exit 1
fi
mv "$work/pack.tar.gz" "$out"
echo "gpu_pack: $out, $((bytes >> 20)) MiB. On the other machine: bench/gpu_check.sh --build $(basename "$out")"
