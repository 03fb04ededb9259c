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

# Killed in mid-epoch, again and again, and resumed each time.
killed=0
for round in 0 1 2 3; do
  resume=()
  [[ -e $work/killed/checkpoint-last.safetensors ]] && resume=(--resume)
  "$densetree" train "${settings[@]}" --out "$work/killed" "${resume[@]}" > /dev/null 2>&1 < /dev/null &
  pid=$!
  for _ in $(seq 200); do
    [[ -e $work/killed/checkpoint-last.safetensors ]] && break
    sleep 0.05
  done
  sleep 0.0$round
  kill -KILL $pid 2> /dev/null && [[ $(cat "$work/killed/metrics.csv" 2> /dev/null | wc -l) -lt 4 ]] && killed=$((killed + 1))
  wait $pid 2> /dev/null
done
[[ $killed -gt 0 ]] || fail "no training was killed before its end; the test shows nothing"
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

runs 0 predict --run "$work/whole" --device cpu --json "$work/xrays/images"
[[ $(wc -l < "$work/out") == 96 ]] || fail "predict --json did not answer one line an image"
runs 0 plan --arch densenet121 --batch-size 2 --image-size 64 --memory shared --device cpu --json
runs 0 devices
finish
