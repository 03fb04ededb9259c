#!/usr/bin/env bash
# The source paper's experiment (Davis et al., ISVC 2019) on ChestX-ray14, in one command: DenseNet-121 on 13 labels, MSE,
# Adam at 1e-3, batches of 128, ten epochs at 224x224, split by patient; then AUC at confidence 0.5, 0.8 and 0.95 along the
# label tree, calibrated in the paper's way and in the default one, and whether parents are known better than their
# children. Ours: random weights to begin with, the augmentation of `densetree train`, the best epoch for evaluation.
#
#   tools/reproduce.sh --images DIR --labels Data_Entry_2017.csv    results in build/reproduce, in reproduced.md
#   tools/reproduce.sh --rehearse      the same in small on drawn X-rays, in a minute
#     --out DIR           results and all that leads to them
#     --estimate          only says what it would take: hours and bytes
#     --paper FILE        figures to print beside these: a table "label,0.5,0.8,0.95"
#     --device, --precision, --memory, --epochs, --batch-size     as `densetree train` has them; of these a run that goes
#                         on may have another device, memory and number of epochs
#     --build DIR         programs that are built already; nothing is installed or built
#
# It says hours and bytes before it begins. Interrupted, the same command goes on.
set -euo pipefail
usage() { sed -n '2,17s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
fail() {
  echo "reproduce: error: $*" >&2
  exit 1
}

images="" labels="" out="" device=auto precision=fp32 memory=shared epochs="" batch="" paper="" programs=""
rehearse=false estimate_only=false
while [[ $# -gt 0 ]]; do
  case "$1" in
    --rehearse) rehearse=true ;;
    --estimate) estimate_only=true ;;
    -h | --help) usage; exit 0 ;;
    --images | --labels | --out | --device | --precision | --memory | --epochs | --batch-size | --paper | --build)
      [[ -n ${2-} ]] || { echo "reproduce: error: $1 wants a value" >&2; exit 2; }
      case "$1" in
        --images) images="$(realpath -m "$2")" ;;
        --labels) labels="$(realpath -m "$2")" ;;
        --out) out="$(realpath -m "$2")" ;;
        --paper) paper="$(realpath -m "$2")" ;;
        --build) programs="$(realpath -m "$2")/bin" ;;
        --batch-size) batch="$2" ;;
        *) declare "${1#--}=$2" ;;
      esac
      shift
      ;;
    *) echo "reproduce: error: unknown argument '$1'; see --help" >&2; exit 2 ;;
  esac
  shift
done
wrong() {
  echo "reproduce: error: $*" >&2
  exit 2
}
if $rehearse; then
  [[ -z $images$labels ]] || wrong "--rehearse draws its own X-rays; leave --images and --labels out"
else
  [[ -n $images && -n $labels ]] || wrong "--images and --labels say where ChestX-ray14 is; --rehearse does without"
fi
for number in "$epochs" "$batch"; do
  [[ $number =~ ^[0-9]*$ ]] || wrong "'$number' is no number of epochs or of images"
done

# shellcheck source=tools/build.sh
source "$(dirname "${BASH_SOURCE[0]}")/build.sh"
if [[ -z $programs ]]; then
  build_release densetree bench/all
  programs="$PWD/$build_dir/bin"
fi
[[ -z $paper ]] || python3 tools/reproduced.py --check-paper "$paper"
densetree="$programs/densetree"
[[ -x $densetree ]] || fail "$densetree is not there; build first, or leave --build out"

if $rehearse; then
  arch="growth=8,blocks=2-2-2,init=16" side=64 stored=64 epochs="${epochs:-2}" batch="${batch:-16}"
else
  arch=densenet121 side=224 stored=256 epochs="${epochs:-10}" batch="${batch:-128}"
fi
out="${out:-$PWD/build/$($rehearse && echo rehearsal || echo reproduce)}"
mkdir -p "$out"

step() {
  echo
  echo "== $1: densetree ${*:2}"
  local status=0
  "$densetree" "${@:2}" > "$out/step.log" || status=$?
  if [[ $status -eq 130 ]]; then
    echo "reproduce: interrupted and saved; the same command goes on" >&2
    exit 130
  fi
  [[ $status -eq 0 ]] || fail "'$1' did not end well; see above, and $out/step.log"
}
trap 'exit 143' TERM HUP  # when the program that runs has ended, which saves by itself where it is told to, too

if $rehearse; then
  images="$out/drawn/images" labels="$out/drawn/Data_Entry_2017.csv"
  step "draw X-rays" synth --out "$out/drawn" --count 320 --size $stored --seed 1
fi
[[ -d $images ]] || fail "$images is no folder of images"
[[ -f $labels ]] || fail "$labels is no label table"

# What it takes: this machine's own rates, measured on a few steps and a few images.
rate() { python3 -c 'import json, sys; print([b["images"] for b in json.load(sys.stdin)["benchmarks"] if b["name"].startswith(sys.argv[1])][0])' "$1"; }
network=(--arch "$arch" --batch-size "$batch" --image-size "$side" --memory "$memory" --precision "$precision")
count=$(($(zcat -f "$labels" | wc -l) - 1))
echo
echo "== measure this machine: two training steps, inference, decoding"
measured="$("$programs/bench_step" --device "$device" "${network[@]}" --steps 2 --benchmark_format=json 2> "$out/measure.log")" ||
  fail "the network does not run here: $(tail -1 "$out/measure.log")"
trained=$(rate train <<< "$measured")
inferred=$(rate infer <<< "$measured")
measured="$("$programs/bench_png" --count 4 --size "$stored" --benchmark_format=json 2> "$out/measure.log")" ||
  fail "images cannot be decoded here: $(tail -1 "$out/measure.log")"
decoded=$(rate decode_resize_pack <<< "$measured")
plan="$("$densetree" plan --device "$device" "${network[@]}" --source-size $stored --labels 13 --json)"
python3 - "$count" "$epochs" "$trained" "$inferred" "$decoded" "$stored" "$(nproc)" "$plan" <<'PYTHON'
import json, sys
count, epochs, trained, inferred, decoded, stored, cores = (float(v) for v in sys.argv[1:8])
plan = json.loads(sys.argv[8])
train, val, test = 0.64 * count, 0.16 * count, 0.2 * count  # of the patients, and nearly of the images
hours = {
    "decode and pack": count / decoded / cores,
    "train": epochs * (train / trained + val / inferred),
    "calibrate and evaluate": 2 * (val + test) / inferred,
}
for what, seconds in hours.items():
    print(f"  {what:24} {seconds / 3600:8.2f} h")
print(f"  {'in all, about':24} {sum(hours.values()) / 3600:8.2f} h, for {count:.0f} images")
print(f"  {'on disk':24} {(count * stored**2 + 6 * 4 * plan['parameters']) / 1e9:8.2f} GB, beside the images")
print(f"  {'memory':24} {plan['peak_bytes'] / 1e9:8.2f} GB on {plan['device']}")
PYTHON
$estimate_only && exit 0

tree="$out/tree.toml"
step "the paper's 13 labels" tree --standard 13 --write "$tree"
step "pack, split by patient" prepare --images "$images" --labels "$labels" --out "$out/data" --size $stored
resume=()
[[ ! -f $out/run/config.toml ]] || resume=(--resume)
step "train${resume:+, going on}" train "${resume[@]}" --data "$out/data" --out "$out/run" --tree "$tree" --device "$device" \
  "${network[@]}" --loss mse --lr 1e-3 --epochs "$epochs"
for way in paper default; do
  flags=()
  [[ $way == default ]] || flags=(--paper)
  step "calibrate, $way" calibrate --run "$out/run" --data "$out/data" --split val --device "$device" --batch-size "$batch" "${flags[@]}" \
    --out "$out/calibration-$way.json"
  step "evaluate, $way" eval --run "$out/run" --data "$out/data" --split test --device "$device" --batch-size "$batch" \
    --calibration "$out/calibration-$way.json" --confidence 0.5,0.8,0.95 --out "$out/eval-$way"
done
"$densetree" tree --tree "$tree" --json > "$out/tree.json"
python3 tools/reproduced.py --out "$out" ${paper:+--paper "$paper"} | tee "$out/reproduced.md"
echo
echo "== done in $((SECONDS / 60)) min $((SECONDS % 60)) s: $out/reproduced.md, and reports in $out/eval-paper and $out/eval-default"
