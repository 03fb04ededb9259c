#!/usr/bin/env bash
# The whole way on a machine without data or GPU: installs what is missing, builds, draws synthetic chest X-rays,
# prepares them, trains a small DenseNet on the CPU, and evaluates it on patients it has not seen.
# Exit status 0 only when the mean AUROC there is clearly above chance.
#
#   tools/demo.sh              results in build/demo
#   tools/demo.sh --out DIR    results in DIR, a folder of its own
set -euo pipefail
usage() { sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
out=""
while [[ $# -gt 0 ]]; do
  case "$1" in
    --out)
      [[ -n "${2-}" ]] || { echo "demo: error: --out wants a folder" >&2; exit 2; }
      out="$(realpath -m "$2")"
      shift 2
      ;;
    -h | --help) usage; exit 0 ;;
    *) echo "demo: error: unknown argument '$1'; there is only --out DIR" >&2; exit 2 ;;
  esac
done
source "$(dirname "${BASH_SOURCE[0]}")/build.sh"

# Small enough for two cores and a few minutes, large enough that chance cannot explain the result.
images=1600
drawn_size=128
image_size=64
arch="growth=16,blocks=3-6-6-3,init=32"
epochs=6
batch_size=32
least_auroc=0.65  # chance is 0.5

out="${out:-$PWD/build/demo}"
marker=".densetree-demo"
if [[ -d $out && -n "$(ls -A "$out")" && ! -e $out/$marker ]]; then
  echo "demo: error: $out is not empty and no earlier demo made it; name another folder with --out" >&2
  exit 1
fi

build_release densetree bench/all
densetree="$PWD/$build_dir/bin/densetree"

rm -rf "$out"/{synthetic,data,run,eval,heatmaps,calibration.json}
mkdir -p "$out"
touch "$out/$marker"

step() {
  echo
  echo "== $1: densetree ${*:2}"
  "$densetree" "${@:2}"
}
step "draw $images X-rays" synth --out "$out/synthetic" --count "$images" --size "$drawn_size" --seed 1
step "pack, split by patient" prepare --images "$out/synthetic/images" \
  --labels "$out/synthetic/Data_Entry_2017.csv" --out "$out/data" --size "$drawn_size"
step "train" train --data "$out/data" --out "$out/run" --device cpu --arch "$arch" --image-size "$image_size" \
  --batch-size "$batch_size" --epochs "$epochs" --loss bce
step "calibrate on validation patients" calibrate --run "$out/run" --data "$out/data" --split val --device cpu \
  --choose precision:0.5,delta:0.2 --out "$out/calibration.json"
step "evaluate on unseen patients" eval --run "$out/run" --data "$out/data" --split test --device cpu \
  --calibration "$out/calibration.json" --out "$out/eval"
first="$(awk -F, '$4 == "test" && $3 != "No Finding" { print $1; exit }' "$out/data/index.csv")"
[[ -n $first ]] || { echo "demo: error: $out/data/index.csv names no image for testing with a finding" >&2; exit 1; }
step "answer for one image" predict --run "$out/run" --calibration "$out/calibration.json" --confidence 0.5 \
  --heatmap "$out/heatmaps" --device cpu "$out/synthetic/images/$first"

metrics="$out/eval/metrics.json"
mean_auroc="$(sed -n 's/.*"mean_auroc": *\(0\.[0-9]\{1,4\}\|1\.0\).*/\1/p' "$metrics")"
[[ -n $mean_auroc ]] || { echo "demo: error: $metrics holds no mean_auroc" >&2; exit 1; }

echo
echo "== done in $((SECONDS / 60)) min $((SECONDS % 60)) s"
echo "  mean AUROC   $mean_auroc on synthetic patients the network has not seen; chance is 0.5"
echo "  images       $out/synthetic/images"
echo "  trained run  $out/run"
echo "  results      $out/eval, to be read in a browser: $out/eval/report.html"
echo "  heat maps    $out/heatmaps"
echo "  program      $densetree"
if ! awk -v got="$mean_auroc" -v least="$least_auroc" 'BEGIN { exit !(got >= least) }'; then
  echo "demo: error: a mean AUROC of $mean_auroc is not clearly above chance; at least $least_auroc was expected" >&2
  exit 1
fi
