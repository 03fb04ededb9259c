#!/usr/bin/env bash
# Runs: signals, two at once, beginnings that were cut off, data that are not those of the training.
source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"
cd "$work" || exit 1
settings=(--device cpu --threads 1 --data data --arch growth=4,blocks=1,init=8 --image-size 32 --batch-size 8 --loss bce)
labels=xrays/Data_Entry_2017.csv
runs 0 synth --out xrays --count 60 --size 32 --seed 3
prepare=(prepare --images xrays/images --labels "$labels" --size 32)
runs 0 "${prepare[@]}" --out data
epochs() { tail -n +2 "$1/metrics.csv" 2> /dev/null | wc -l; }
# until COMMAND…: waits till it succeeds, at most 20 s.
until_true() {
  for _ in $(seq 400); do
    "$@" && return
    sleep 0.05
  done
  fail "in vain: $*"
}
# begin RUN FLAGS…: trains for ever in the background, $pid.
begin() {
  local run=$1
  shift
  "$densetree" train "${settings[@]}" --epochs 1000000 --out "$run" "$@" > "$work/$run.out" 2> "$work/$run.err" < /dev/null &
  pid=$!
  until_true test -e "$run/metrics.csv"
}
ends_with() {  # the background process exits with this status
  wait "$pid"
  local got=$?
  [[ $got == "$1" ]] || fail "the training exited with $got, not $1"
}

# Every signal that asks for an end saves, also when it comes again and again, and the command that is named goes on.
for signal in INT TERM HUP; do
  begin "run $signal"
  for _ in 1 2 3 4 5; do kill -s $signal "$pid" 2> /dev/null; done
  ends_with 130
  command=$(sed -n 's/.*interrupted and saved; `densetree \(.*\)` continues/\1/p' "run $signal.err")
  done_so_far=$(epochs "run $signal")
  (eval "exec \"\$densetree\" $command") > "$signal.out" 2> "$signal.err" < /dev/null &
  pid=$!
  more() { [[ $(epochs "run $signal") -gt $done_so_far ]]; }
  until_true more
  kill -KILL "$pid"
  wait "$pid" 2> /dev/null
done

# SIGUSR1 saves and goes on; nohup's wish that SIGHUP is nothing stands; a reader that goes away ends nothing.
begin asked
kill -USR1 "$pid"
until_true grep -q "saved as asked" asked.err
kill -0 "$pid" || fail "SIGUSR1 ended the training"
kill -TERM "$pid"
ends_with 130
nohup "$densetree" train "${settings[@]}" --epochs 1000000 --out nohup < /dev/null > nohup.out 2>&1 &
pid=$!
until_true test -e nohup/metrics.csv
kill -HUP "$pid"
sleep 0.3
kill -0 "$pid" || fail "SIGHUP ended a training under nohup"
kill -TERM "$pid"
ends_with 130
"$densetree" train "${settings[@]}" --epochs 1000000 --out piped 2> piped.err < /dev/null > >(head -1 > piped.out) &
pid=$!
third() { [[ $(epochs piped) -ge 3 ]]; }
until_true third
kill -TERM "$pid"
ends_with 130

# A run that was moved still has its tree.
runs 0 tree --standard 13 --write 13.toml
runs 0 train "${settings[@]}" --tree 13.toml --epochs 1 --out planted
mv planted replanted
runs 0 train --resume --device cpu --threads 1 --data data --out replanted --epochs 2

# A run whose last checkpoint was deleted is not begun over the best one.
cp -r replanted no-last
rm no-last/checkpoint-last.safetensors
cp no-last/checkpoint-best.safetensors best
fails "checkpoint-last.safetensors is missing" train --resume --device cpu --data data --out no-last
fails "holds a run already" train "${settings[@]}" --epochs 1 --out no-last
same best no-last/checkpoint-best.safetensors

# A run that was moved away under its training: nothing is written into another that took its name, wherever the
# training was.
for attempt in 1 2 3; do
  rm -rf away moved-away
  begin away
  kill -STOP "$pid"
  mv away moved-away
  runs 0 train "${settings[@]}" --epochs 1 --out away
  kill -CONT "$pid"
  ends_with 1
  grep -q "was moved away" away.err || fail "a run that was moved away is not noticed: $(tail -1 away.err)"
  [[ $(epochs away) == 1 ]] || fail "a training wrote into another run (attempt $attempt)"
done

# Weights of a run that has seen the images of a test are no way around.
runs 0 prepare --images xrays/images --labels "$labels" --size 32 --out turned --split-seed 77
runs 0 train "${settings[@]}" --epochs 1 --out base
runs 0 train "${settings[@]}" --data turned --epochs 1 --out from-base --init base/checkpoint-best.safetensors
fails "stood elsewhere in the split" eval --run from-base --data turned --device cpu --draws 0 --out r-from-base

# Two at once. The second is refused, whatever it is asked to do; the lock goes with its owner, however that ends.
begin two
kill -STOP "$pid"
resume=(train --device cpu --threads 1 --data data --out two --resume)
fails "another training is at work in two" "${resume[@]}" --epochs 1
fails "another training is at work in two" train "${settings[@]}" --epochs 1 --out two --replace
kill -KILL "$pid"
wait "$pid" 2> /dev/null
last=$(epochs two)
runs 0 "${resume[@]}" --epochs $((last + 2))

# A run that has its epochs says so, and goes on with more of them.
runs 0 "${resume[@]}"
grep -q "two is complete already, with $((last + 2)) epochs" out || fail "no word that the run is complete"
runs 0 --json "${resume[@]}"
grep -q '"outcome":"already-done"' out || fail "--json says nothing of a run that is complete"
grep -q "^epochs = $((last + 2))$" two/config.toml || fail "config.toml has not the epochs of the last call"
runs 0 "${resume[@]}" --epochs $((last + 3)) --memory store

# A disk that is full at the beginning.
mkdir disk
if mount -t tmpfs -o size=32k tmpfs disk 2> /dev/null; then
  trap 'umount "$work/disk"; rm -rf "$work"' EXIT
  for again in "" --resume; do
    mount -o remount,size=32k "$work/disk"
    fails "No space left" train "${settings[@]}" --epochs 1 --out disk/run
    mount -o remount,size=20m "$work/disk"
    runs 0 train "${settings[@]}" --epochs 1 --out disk/run $again
    rm -rf disk/run
  done
  umount "$work/disk"
  trap 'rm -rf "$work"' EXIT
else
  echo "a full disk: skipped, no tmpfs can be mounted"
fi

# Data that are not those of the training: another split, one image more of another split, other labels.
runs 0 train "${settings[@]}" --epochs 1 --out trained
runs 0 "${prepare[@]}" --out split --split-seed 77
cp -r xrays/images less
rm "$(find less -name '*.png' | sort | tail -1)"
runs 0 prepare --images less --labels "$labels" --size 32 --out less-split --split-seed 77
sed 's/,No Finding,/,Hernia,/' "$labels" > other.csv
runs 0 prepare --images xrays/images --labels other.csv --size 32 --out labels
runs 0 synth --out others --count 60 --size 32 --seed 4
runs 0 prepare --images others/images --labels others/Data_Entry_2017.csv --size 32 --out elsewhere
evaluate=(eval --run trained --device cpu --draws 0 --out results)
for data in split less-split; do
  fails "stood elsewhere in the split" "${evaluate[@]}" --data $data
  fails "stood elsewhere in the split" calibrate --run trained --data $data --device cpu --bins 4 --out c.json
  fails "is not the data that trained was trained on" train --resume --device cpu --data $data --out trained --epochs 2
  runs 0 "${evaluate[@]}" --data $data --other-split
done
fails "had other labels" "${evaluate[@]}" --data labels --split train
fails "had other labels" train --resume --device cpu --data labels --out trained --epochs 2
runs 0 "${evaluate[@]}" --data labels --split train --other-split
runs 0 "${evaluate[@]}" --data elsewhere
runs 0 "${evaluate[@]}" --data data
cp -r trained moved
runs 0 train --resume --other-split --device cpu --threads 1 --data split --out moved --epochs 2
says "goes on with other data"
runs 0 train --resume --device cpu --threads 1 --data split --out moved --epochs 3
fails "stood elsewhere in the split" "${evaluate[@]}" --run moved --data data --split val  # some are for training now
rm trained/data.csv
runs 0 "${evaluate[@]}" --data split
says "does not say which images"

runs 2 eval --scores results/scores.csv --labels "$labels" --verify --out results2
runs 2 calibrate --scores results/scores.csv --labels "$labels" --other-split --out c3.json

# Data that were changed after they were prepared.
cp -r data changed
sed -i '2s/,[^,]*,\(train\|val\|test\),/,Hernia,\1,/' changed/index.csv
fails "index.csv: was changed" "${evaluate[@]}" --data changed
cp -r data flipped
printf '\1' | dd of=flipped/images.npy bs=1 seek=5000 conv=notrunc 2> /dev/null
runs 0 "${evaluate[@]}" --data flipped
for command in "eval --draws 0 --out results" "calibrate --bins 4 --out c2.json" "embed --out f.npy"; do
  # shellcheck disable=SC2086
  fails "images.npy: damaged" $command --run trained --device cpu --data flipped --verify
done
fails "images.npy: damaged" train "${settings[@]}" --data flipped --out x --verify
absent x
runs 0 "${prepare[@]}" --out flipped
says "images.npy: damaged"
same data/images.npy flipped/images.npy
finish
