#!/usr/bin/env bash
# Wrong usage, broken files, full disks: a clear line, the right exit status, nothing half-written.
source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"
arch=growth=4,blocks=1,init=8
runs 0 synth --out "$work/xrays" --count 40 --size 32 --seed 3
runs 0 prepare --images "$work/xrays/images" --labels "$work/xrays/Data_Entry_2017.csv" --out "$work/data" --size 32
train=(train --device cpu --data "$work/data" --arch "$arch" --image-size 32 --batch-size 8 --epochs 1)
runs 0 "${train[@]}" --out "$work/run"

# Usage.
runs 2
runs 2 nonsense
runs 2 train --data "$work/data"
runs 2 "${train[@]}" --out "$work/x" --loss nonsense
runs 0 train --help

# Values.
fails "unknown" "${train[@]}" --out "$work/x" --device nonsense
runs 2 train --device cpu --data "$work/data" --out "$work/x" --arch densenet12
says "--arch: architecture 'densenet12' is unknown; use densenet121, "
fails "--batch-size" "${train[@]}" --out "$work/x" --batch-size 4000
fails "too small" "${train[@]}" --out "$work/x" --image-size 2
absent "$work/x"

# Data.
fails "not a prepared data set" "${train[@]}" --data "$work/xrays" --out "$work/x"
cp -r "$work/data" "$work/short"
truncate -s -100 "$work/short/images.npy"
fails "images.npy" "${train[@]}" --data "$work/short" --out "$work/x"
cp -r "$work/data" "$work/newer"
sed -i 's/"version": *1/"version": 99/' "$work/newer/manifest.json"
fails "manifest.json" "${train[@]}" --data "$work/newer" --out "$work/x"

# Checkpoints.
checkpoint="checkpoint-best.safetensors"
broken() { rm -rf "$work/broken"; cp -r "$work/run" "$work/broken"; }
broken
truncate -s -50 "$work/broken/$checkpoint"
fails "$checkpoint" predict --run "$work/broken" --device cpu "$work/xrays/images"
broken
printf '\377\377\377\377\377\377\377\177' | dd of="$work/broken/$checkpoint" conv=notrunc 2> /dev/null
fails "$checkpoint" predict --run "$work/broken" --device cpu "$work/xrays/images"
fails "shape" "${train[@]}" --arch growth=8,blocks=1,init=8 --init "$work/run/$checkpoint" --out "$work/x"
fails "not a run" predict --run "$work/data" --device cpu "$work/xrays/images"

# A network whose output is not finite answers nothing. The first running variance of norm0 becomes NaN.
broken
header=$(od -An -t d8 -N 8 "$work/broken/$checkpoint" | tr -d ' ')
offset=$(head -c $((header + 8)) "$work/broken/$checkpoint" | grep -ao '"features.norm0.running_var":{[^}]*}' |
  sed 's/.*"data_offsets":\[\([0-9]*\),.*/\1/')
printf '\377\377\377\177' | dd of="$work/broken/$checkpoint" bs=1 seek=$((8 + header + offset)) conv=notrunc 2> /dev/null
runs 0 calibrate --run "$work/run" --data "$work/data" --split train --device cpu --bins 4 --out "$work/for-nan.json"
one=$(find "$work/xrays/images" -name '*.png' | sort | head -1)
for calibration in "" "--calibration $work/for-nan.json --confidence 0.3"; do
  # shellcheck disable=SC2086
  fails "$one: the network's output is nan; the first layer whose output is not finite is features.norm0" \
    predict --run "$work/broken" --device cpu $calibration "$one"
done
fails "the network's output is nan" embed --run "$work/broken" --device cpu "$one" --out "$work/nan.npy"
fails "the network's output is nan" eval --run "$work/broken" --device cpu --data "$work/data" --out "$work/nan"
fails "the network's output is nan" calibrate --run "$work/broken" --device cpu --data "$work/data" --out "$work/nan.json"
fails "'features.norm0.running_var' holds " "${train[@]}" --init "$work/broken/$checkpoint" --out "$work/x"
for file in nan.npy nan nan.json x; do absent "$work/$file"; done

# Numbers out of reason, and more threads than make sense.
for words in "plan --batch-size 100000000000" "synth --out $work/x --count 100000000000" "plan --image-size 1000000" \
  "eval --draws 100000000000 --out $work/x" "train --workers 100000 --data $work/data --out $work/x" "devices --threads 100000" \
  "prepare --jobs 100000 --images $work/xrays --labels x --out $work/x" "trace --steps 10000000000 --out $work/x"; do
  # shellcheck disable=SC2086
  runs 2 $words
done
runs 0 devices --threads "$(($(nproc) + 1))"
says "more than the $(nproc) cores"

runs 2 predict --run "$work/run" --device cpu --confidence nan "$one"
runs 2 embed --run "$work/run" --device cpu "$one" --out ""

# A network of which a number is infinite, though it answers; a standard output that cannot be written.
printf '\000\000\200\177' | dd of="$work/broken/$checkpoint" bs=1 seek=$((8 + header + offset)) conv=notrunc 2> /dev/null
fails "$one: is not answered by a network of which 'features.norm0.running_var' holds inf" \
  predict --run "$work/broken" --device cpu "$one"
"$densetree" devices > /dev/full 2> "$work/err" && fail "a full standard output is not noticed"
says "standard output cannot be written"

# Without standard streams the first files would take their places.
"$densetree" prepare --images "$work/xrays/images" --labels "$work/xrays/Data_Entry_2017.csv" --out "$work/streams" --size 32 \
  <&- >&- 2>&- || fail "prepare failed without standard streams"
same "$work/data/images.npy" "$work/streams/images.npy"

# A name that CLI11 would take for a list.
mkdir "$work/lists"
cp -r "$work/xrays/images" "$work/lists/[a]"
(cd "$work/lists" && "$densetree" predict --run "$work/run" --device cpu --json "[a]" > "$work/out" 2> "$work/err") || fail "[a] is not read"
[[ $(wc -l < "$work/out") == 40 ]] || fail "not every image of the folder [a] was answered"

# Names that are no UTF-8.
odd="$work/$(printf 'R\366ntgen')"
cp -r "$work/xrays/images" "$odd"
runs 0 prepare --images "$odd" --labels "$work/xrays/Data_Entry_2017.csv" --out "$odd/data" --size 32
runs 0 --json predict --run "$work/run" --device cpu "$odd"
[[ $(grep -c '"image"' "$work/out") == 40 ]] || fail "not every image below a folder of an odd name was answered"
runs 0 train --device cpu --data "$odd/data" --arch "$arch" --image-size 32 --batch-size 8 --epochs 1 --out "$odd/run"
runs 0 train --resume --device cpu --data "$odd/data" --out "$odd/run" --epochs 2
runs 0 eval --run "$odd/run" --data "$odd/data" --device cpu --draws 0 --out "$odd/results"
runs 0 calibrate --run "$odd/run" --data "$odd/data" --split train --device cpu --bins 4 --out "$odd/c.json"

# Scores and labels that do not meet, and calibrations for something else.
labels="$work/xrays/Data_Entry_2017.csv"
calibrate=(calibrate --labels "$labels" --device cpu --bins 4 --out "$work/c.json")
runs 0 eval --run "$work/run" --data "$work/data" --split train --device cpu --draws 0 --out "$work/scored"
scores="$work/scored/scores.csv"
fails "of its 2 images are not in" "${calibrate[@]}" --scores <(head -3 "$scores" | sed 's/^0/9/')
fails "the first is '90" "${calibrate[@]}" --scores <(head -3 "$scores" | sed 's/^0/9/')
fails "a score is a number from 0 to 1" "${calibrate[@]}" --scores <(sed '2s/,[^,]*/,nan/' "$scores")
fails "a score is a number from 0 to 1" "${calibrate[@]}" --scores <(sed '2s/,[^,]*/,inf/' "$scores")
fails "a score is a number from 0 to 1" "${calibrate[@]}" --scores <(sed '2s/,[^,]*/,1.01/' "$scores")
fails "11 of 14 labels have no column: Infiltration, " "${calibrate[@]}" --scores <(cut -d, -f1-4 "$scores")
fails "column 'prob_Mess' looks like label 'Mass'; rename it" "${calibrate[@]}" \
  --scores <(sed '1s/prob_Mass/prob_Mess/' "$scores")
fails "the three forms are" "${calibrate[@]}" --scores "$scores" --choose precision:2
runs 2 "${calibrate[@]}" --scores "$scores" --paper --bins 7
absent "$work/c.json"
fails "too few patients" "${calibrate[@]}" --scores <(head -2 "$scores") --choose miss:0.1
runs 0 "${calibrate[@]}" --scores "$scores"
evaluate=(eval --scores "$scores" --labels "$labels" --device cpu --draws 0 --out "$work/e")
sed '1s/prob_Pleural_T/Pleural t/' "$scores" > "$work/near.csv"
near=(eval --scores "$work/near.csv" --labels "$labels" --device cpu --draws 0 --out "$work/left-out")
fails "column 'Pleural thickening' looks like label 'Pleural_Thickening'; rename it" "${near[@]}"
runs 2 "${near[@]}" --allow-missing-labels --calibration "$work/c.json"
runs 2 eval --run "$work/run" --data "$work/data" --out "$work/left-out" --allow-missing-labels
absent "$work/left-out"
runs 0 "${near[@]}" --allow-missing-labels
says "near.csv: column 'Pleural thickening' looks like label 'Pleural_Thickening'; rename it"
says "near.csv: 1 of 14 labels have no column: Pleural_Thickening; they are left out"
runs 0 eval --scores <(sed 's/$/,x/' "$scores") --labels "$labels" --device cpu --draws 0 --out "$work/left-out"
says "left out are the columns that are no label: x"
fails "is no calibration" "${evaluate[@]}" --calibration <(echo '{"format": "something"}')
fails "is no JSON" "${evaluate[@]}" --calibration <(head -c 200 "$work/c.json")
runs 0 tree --standard 13 --write "$work/13.toml"
fails "was made with another tree" "${evaluate[@]}" --calibration "$work/c.json" --tree "$work/13.toml"
fails "'Mess' under 'Abnormal'" tree --tree <(sed 's/"Pleura"/"Mess"/' "$work/13.toml")
fails "above 0 and at most 1" "${evaluate[@]}" --calibration "$work/c.json" --confidence 1.5
absent "$work/e"
fails "--confidence needs --calibration" predict --run "$work/run" --device cpu --confidence 0.5 "$work/xrays/images"
fails "no such node" predict --run "$work/run" --device cpu --heatmap "$work/maps" --heatmap-node Mess "$work/xrays/images"

# A broken image among good ones is named; the others are answered.
cp "$work/xrays/images/00000001_000.png" "$work/good.png"
head -c 300 "$work/good.png" > "$work/cut.png"
fails "1 of 2" predict --run "$work/run" --device cpu --json "$work/cut.png" "$work/good.png"
grep -q cut.png "$work/out" || fail "the broken image is not named"
grep -q probabilities "$work/out" || fail "the good image is not answered"

# Places that cannot be written: a file in the way, and a disk that fills (a limit on file size stands for it).
touch "$work/file"
fails "$work/file" "${train[@]}" --out "$work/file/run"
(
  trap '' XFSZ
  ulimit -f 8
  "$densetree" "${train[@]}" --out "$work/full" > /dev/null 2> "$work/err" < /dev/null
  [[ $? == 1 ]]
) || fail "training onto a full disk did not fail with status 1"
says "densetree: error: "
absent "$work/full/checkpoint-last.safetensors"
[[ -z $(find "$work/full" -name '.*.partial' -type f 2> /dev/null) ]] || fail "something half-written is left"
finish
