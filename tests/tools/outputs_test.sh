#!/usr/bin/env bash
# No output replaces an input, nor a file that the program did not write; what it did write is replaced.
source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"
cd "$work" || exit 1
train=(train --device cpu --data data --arch growth=4,blocks=1,init=8 --image-size 32 --batch-size 8 --epochs 1)
labels=xrays/Data_Entry_2017.csv
runs 0 synth --out xrays --count 40 --size 32 --seed 3
runs 0 prepare --images xrays/images --labels "$labels" --out data --size 32
runs 0 "${train[@]}" --out run
one=$(find xrays/images -name '*.png' | sort | head -1)

# kept FILE TEXT ARGUMENTS…: the command is refused with TEXT, and FILE stays as it is.
kept() {
  local file=$1 text=$2
  shift 2
  cp "$file" "$work/before"
  fails "$text" "$@"
  same "$file" "$work/before"
}
# twice FILE ARGUMENTS…: the command writes FILE, and once more; over a user's file of that name it does only with --replace.
twice() {
  local file=$1
  shift
  for _ in 1 2; do
    runs 0 "$@"
    there "$file"
  done
  echo "mine" > "$file"
  kept "$file" "is there already and is not what this command writes" "$@"
  runs 0 "$@" --replace
  there "$file"
  [[ $(head -c 4 "$file") != mine ]] || fail "$file was not replaced"
}
eval=(eval --run run --data data --device cpu --draws 0)
twice e.npy embed --run run --data data --device cpu --out e.npy
twice e.csv embed --run run --data data --device cpu --out e.npy
twice c.json calibrate --run run --data data --split train --device cpu --bins 4 --out c.json
twice results/metrics.json "${eval[@]}" --out results
twice plan.svg plan --arch growth=4,blocks=1,init=8 --batch-size 2 --image-size 32 --draw plan.svg
twice tree.toml tree --write tree.toml
twice maps/00000001_000.Mass.png predict --run run --device cpu --heatmap maps --heatmap-node Mass "$one"

# A user's files in a folder of results.
mkdir mine
echo "mine" > mine/scores.csv
kept mine/scores.csv "mine/scores.csv: is there already" "${eval[@]}" --out mine
mkdir -p mine2/curves
echo "mine" > mine2/curves/roc.csv
kept mine2/curves/roc.csv "roc.csv: is there already" "${eval[@]}" --out mine2
absent mine2/metrics.json

mkdir results/below
echo "mine" > results/below/scores.csv
kept results/below/scores.csv "scores.csv: is there already" "${eval[@]}" --out results/below
mkfifo pipe
fails "something that is no regular file" plan --arch growth=4,blocks=1,init=8 --batch-size 2 --image-size 32 --draw pipe

# Inputs, by whatever name, whatever is said.
cp results/scores.csv results/own.csv
kept results/scores.csv "which this command reads" eval --scores results/scores.csv --labels "$labels" --draws 0 --out results
kept results/scores.csv "which this command reads" eval --scores results/scores.csv --labels "$labels" --draws 0 --out results --replace
ln -s results link
kept results/scores.csv "which this command reads" eval --scores results/scores.csv --labels "$labels" --draws 0 --out link
kept "$labels" "is not what this command writes" calibrate --scores results/own.csv --labels results/scores.csv --bins 4 --out "$labels"
kept "$labels" "which this command reads" calibrate --scores results/scores.csv --labels "$labels" --bins 4 --out "$labels" --replace
kept data/index.csv "index.csv would be written over" embed --run run --data data --device cpu --out data/index.npy --replace
kept data/images.npy "images.npy would be written over" embed --run run --data data --device cpu --out data/images.npy --replace
ln data/images.npy other.npy
kept data/images.npy "other.npy would be written over" embed --run run --data data --device cpu --out other.npy --replace
runs 0 tree --write t.toml
kept t.toml "which this command reads" tree --tree t.toml --write t.toml --replace
sed 's/Chronic_Lung/Chronic/g' t.toml > own.toml
kept own.toml "is not what this command writes" tree --write own.toml
runs 0 tree --tree own.toml --write copy.toml
runs 0 tree --tree own.toml --write copy.toml
printf '[tree]\nstandard = 13\n' > settings.toml
kept settings.toml "which this command reads" --config settings.toml tree --write settings.toml --replace
kept run/checkpoint-best.safetensors "which this command reads" "${train[@]}" --init run/checkpoint-best.safetensors --out run --replace
cp "$labels" table.csv
mkdir prepared
cp table.csv prepared/index.csv
kept prepared/index.csv "which this command reads" prepare --images xrays/images --labels prepared/index.csv --out prepared --size 16 --replace

# Data sets and runs of other settings.
kept data/manifest.json "finished data set already" prepare --images xrays/images --labels "$labels" --out data --size 16
cp -r data other
runs 0 prepare --images xrays/images --labels "$labels" --out other --size 16 --replace
kept run/config.toml "holds a run already" "${train[@]}" --out run --lr 0.1
runs 0 "${train[@]}" --out run --lr 0.1 --replace
grep -q '^lr = 0.1$' run/config.toml || fail "the run was not replaced"
finish
