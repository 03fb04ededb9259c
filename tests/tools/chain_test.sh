#!/usr/bin/env bash
# synth, prepare, train, eval, predict; and that a killed or interrupted training continues bit for bit.
source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"
arch=growth=8,blocks=2-4,init=16
settings=(--device cpu --threads 2 --seed 7 --data "$work/data" --arch "$arch" --image-size 48 --batch-size 8
  --epochs 3 --loss bce --schedule cosine --warmup-epochs 1 --clip-norm 1 --checkpoint-steps 2)

runs 0 synth --out "$work/xrays" --count 96 --size 48 --seed 3
there "$work/xrays/Data_Entry_2017.csv"
runs 0 prepare --images "$work/xrays/images" --labels "$work/xrays/Data_Entry_2017.csv" --out "$work/data" --size 40
there "$work/data/images.npy"
there "$work/data/manifest.json"

# Without a stop.
runs 0 train "${settings[@]}" --out "$work/whole"
there "$work/whole/checkpoint-best.safetensors"
there "$work/whole/config.toml"
[[ $(wc -l < "$work/whole/metrics.csv") == 4 ]] || fail "metrics.csv has not a header and three epochs"

# batches FILE: steps of the unfinished epoch that a checkpoint holds, the second of its "progress.counters".
batches() {
  local header offset
  header=$(od -An -t d8 -N 8 "$1" | tr -d ' ')
  offset=$(head -c $((header + 8)) "$1" | grep -ao '"progress.counters":{[^}]*}' | sed 's/.*"data_offsets":\[\([0-9]*\),.*/\1/')
  od -An -t d8 -j $((8 + header + offset + 8)) -N 8 "$1" | tr -d ' '
}

# Killed again and again, and resumed each time, until it has been resumed in mid-epoch and not only at a beginning.
last="$work/killed/checkpoint-last.safetensors"
in_mid_epoch=0
for _ in $(seq 20); do
  resume=()
  [[ -e $last ]] && resume=(--resume)
  before="$(stat -c %i "$last" 2> /dev/null)"
  "$densetree" train "${settings[@]}" --out "$work/killed" "${resume[@]}" > /dev/null 2>&1 < /dev/null &
  pid=$!
  for _ in $(seq 1000); do
    [[ -e $last && "$(stat -c %i "$last")" != "$before" ]] && break
    kill -0 $pid 2> /dev/null || break
    sleep 0.01
  done
  kill -KILL $pid 2> /dev/null
  wait $pid 2> /dev/null
  [[ $(wc -l 2> /dev/null < "$work/killed/metrics.csv" || true) == 4 ]] && break  # it is through
  [[ $(batches "$last") != 0 ]] && in_mid_epoch=$((in_mid_epoch + 1))
done
[[ $in_mid_epoch -gt 0 ]] || fail "no training was killed in mid-epoch; the test shows nothing"
runs 0 train --resume --data "$work/data" --out "$work/killed" --device cpu --threads 2  # the seed is the run's own
same "$work/whole/checkpoint-last.safetensors" "$work/killed/checkpoint-last.safetensors"
same "$work/whole/checkpoint-best.safetensors" "$work/killed/checkpoint-best.safetensors"
same <(cut -d, -f1-6 "$work/whole/metrics.csv") <(cut -d, -f1-6 "$work/killed/metrics.csv")

# Interrupted: saves, says how to go on, exits with 130.
"$densetree" train "${settings[@]}" --epochs 200 --out "$work/interrupted" > /dev/null 2> "$work/err" < /dev/null &
pid=$!
for _ in $(seq 200); do
  [[ -e $work/interrupted/metrics.csv ]] && break
  sleep 0.05
done
kill -INT $pid
wait $pid
[[ $? == 130 ]] || fail "an interrupted training did not exit with 130"
says "--resume"

# Other loader threads and another memory mode: the same losses.
runs 0 train "${settings[@]}" --workers 3 --memory store --out "$work/store"
same <(cut -d, -f1-6 "$work/whole/metrics.csv") <(cut -d, -f1-6 "$work/store/metrics.csv")

# A run is not overwritten, and not continued with other settings.
fails "--resume" train "${settings[@]}" --out "$work/whole"
fails "seed = 7" train --seed 8 --device cpu --data "$work/data" --resume --out "$work/whole"
fails "lr = " train "${settings[@]}" --lr 0.5 --resume --out "$work/whole"

# The settings a run leaves are read back by --config.
runs 0 --config "$work/whole/config.toml" train --out "$work/twin" --device cpu --threads 2
same "$work/whole/checkpoint-last.safetensors" "$work/twin/checkpoint-last.safetensors"

runs 0 eval --run "$work/whole" --data "$work/data" --split test --out "$work/eval" --device cpu --draws 20
there "$work/eval/metrics.json"
there "$work/eval/scores.csv"
runs 0 eval --scores "$work/eval/scores.csv" --labels "$work/xrays/Data_Entry_2017.csv" --out "$work/again" --draws 20
same "$work/eval/metrics.json" "$work/again/metrics.json"

# Along the label tree: calibrate on one part, evaluate on another; from the run and from its scores the same bytes.
tree=(--run "$work/whole" --data "$work/data" --device cpu)
runs 0 calibrate "${tree[@]}" --split train --bins 6 --choose precision:0.3,delta:0.4 --out "$work/c.json"
grep -q "Airspace_Opacity" "$work/out" || fail "calibrate did not draw the tree"
runs 0 eval "${tree[@]}" --calibration "$work/c.json" --confidence 0.2,0.5 --out "$work/along" --draws 20
for file in posteriors.csv report.html curves/reliability.csv curves/risk_coverage.csv; do there "$work/along/$file"; done
grep -q '"confidence"' "$work/along/metrics.json" || fail "metrics.json holds nothing of the thresholds"
runs 0 eval --scores "$work/along/scores.csv" --labels "$work/xrays/Data_Entry_2017.csv" --calibration "$work/c.json" \
  --confidence 0.2 --confidence 0.5 --out "$work/along-scores" --draws 20
same "$work/along/metrics.json" "$work/along-scores/metrics.json"
same "$work/along/posteriors.csv" "$work/along-scores/posteriors.csv"
runs 0 eval --run "$work/whole" --data "$work/data" --split train --out "$work/train-scores" --device cpu --draws 0
for threads in 1 3; do
  runs 0 calibrate --scores "$work/train-scores/scores.csv" --labels "$work/xrays/Data_Entry_2017.csv" --bins 6 \
    --choose precision:0.3,delta:0.4 --threads $threads --out "$work/c-$threads.json"
  same <(grep -v '"source"' "$work/c.json") <(grep -v '"source"' "$work/c-$threads.json")
done
runs 0 predict --run "$work/whole" --device cpu --calibration "$work/c.json" --confidence 0.2 --heatmap "$work/maps" \
  "$work/xrays/images/00000001_000.png"
[[ -n $(find "$work/maps" -name '00000001_000.*.png') ]] || fail "predict drew no heat map"
runs 0 predict --run "$work/whole" --device cpu --json --calibration "$work/c.json" "$work/xrays/images/00000001_000.png"
grep -q '"findings"' "$work/out" || fail "predict --json holds no findings"

# A tree of one's own: its leaves are the labels, and the run keeps it.
runs 0 tree --standard 13 --write "$work/13.toml"
runs 0 train "${settings[@]}" --tree "$work/13.toml" --epochs 1 --out "$work/of13"
same "$work/13.toml" "$work/of13/tree.toml"
runs 0 train --resume --data "$work/data" --epochs 2 --out "$work/of13" --device cpu --threads 2
runs 0 calibrate --run "$work/of13" --data "$work/data" --split train --bins 6 --device cpu --out "$work/c13.json"
grep -q "Mass_Hernia" "$work/out" || fail "the run's own tree is not used"
fails "is for the labels" predict --run "$work/whole" --device cpu --calibration "$work/c13.json" --confidence 0.5 "$work/xrays/images"
runs 0 tree --write "$work/14.toml"
fails "begun with another tree" train --resume --data "$work/data" --tree "$work/14.toml" --out "$work/of13" --device cpu

runs 0 predict --run "$work/whole" --device cpu --json "$work/xrays/images"
[[ $(wc -l < "$work/out") == 96 ]] || fail "predict --json did not answer one line an image"

# The features behind the classifier, of a data set and of the files it was made from.
runs 0 embed --run "$work/whole" --data "$work/data" --device cpu --threads 2 --out "$work/data.npy"
[[ $(head -1 "$work/data.csv") == "Image Index" && $(wc -l < "$work/data.csv") == 97 ]] || fail "embed named no 96 images"
grep -aq "'descr': '<f4', 'fortran_order': False, 'shape': (96, 48)" "$work/data.npy" || fail "embed wrote no (96, 48)"
[[ $(stat -c %s "$work/data.npy") == $((128 + 96 * 48 * 4)) ]] || fail "embed wrote $(stat -c %s "$work/data.npy") bytes"
runs 0 embed --run "$work/whole" --device cpu --threads 2 --out "$work/files.npy" "$work/xrays/images"
same "$work/data.npy" "$work/files.npy"
fails "either --data or images" embed --run "$work/whole" --device cpu --out "$work/no.npy"
fails "name it F.npy" embed --run "$work/whole" --data "$work/data" --device cpu --out "$work/no.bin"
echo "no image" > "$work/xrays/images/00000000_000.png.bad.png"
fails "00000000_000.png.bad.png" embed --run "$work/whole" --device cpu --out "$work/no.npy" "$work/xrays/images"
rm "$work/xrays/images/00000000_000.png.bad.png"
[[ -z $(find "$work" -maxdepth 1 -name 'no.*') ]] || fail "embed left something half-written"

# Batch norm three ways, and the plan, drawn. A build without vectors of its processor's width has no fused form.
whole=(--arch growth=16,blocks=2-2,init=32 --epochs 1)
ways=(plain factored)
if "$densetree" plan "${whole[@]:0:2}" --batch-size 2 --image-size 64 --batch-norm fused --device cpu > /dev/null 2> "$work/err"; then
  ways+=(fused)
else
  says "no fused form on cpu: this build"
fi
for way in "${ways[@]}"; do
  runs 0 train "${settings[@]}" "${whole[@]}" --batch-norm "$way" --out "$work/$way"
  grep -q "batch norm [0-9]* $way" "$work/err" || fail "train does not say how batch norm is computed"
  runs 0 plan --arch densenet121 --batch-size 2 --image-size 64 --batch-norm "$way" --device cpu --json --draw "$work/$way.svg"
  [[ $(grep -c 'class="buffer' "$work/$way.svg") == $(grep -c '"offset"' "$work/out") ]] || fail "the plan is not drawn whole"
done
# Each step of the program, with what computes it and why nothing before that does.
plan=(plan --arch growth=12,blocks=2-2,init=16 --batch-size 2 --image-size 64 --device cpu --operations)
runs 0 "${plan[@]}" --memory recompute
for words in "forward .* convolution .*conv 7x7 stride 2 (2, 3, 64, 64) -> 16 .*own sums in fp64" \
  "recompute .* affine relu " "backward .* convolution weight gradient .*oneDNN" "clip .* l2 norm" "update .* adam" \
  "denselayer1.conv2 .* 3x3 .*oneDNN.*fused tiles: .*; own sums in fp64: it is not the convolution of the network's input"; do
  grep -q "$words" "$work/out" || fail "plan --operations has no line '$words'"
done
steps=$(grep -c . "$work/out")
runs 0 "${plan[@]}" --memory recompute --json
[[ $(head -c 1 "$work/out") == "[" ]] || fail "plan --operations --json is no array"
[[ $(grep -c '"phase"' "$work/out") == $((steps - 1)) ]] || fail "the array has not every step"
for other in "--draw $work/no.svg" "--budget 8GiB" --buffers; do  # they are not shown, so they are not taken
  # shellcheck disable=SC2086
  runs 2 "${plan[@]}" $other
done
absent "$work/no.svg"
# Twelve channels fill no vectors: fused says so and leaves nothing.
fails "has no fused form on cpu: " train "${settings[@]}" --arch growth=12,blocks=2-2,init=16 --batch-norm fused --out "$work/never"
absent "$work/never"
runs 0 devices
finish
