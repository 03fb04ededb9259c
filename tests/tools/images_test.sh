#!/usr/bin/env bash
# Images named on the command line and in folders: which are found, and what is written about them.
#   images_test.sh DENSETREE
# shellcheck source=tests/tools/harness.sh
source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

common=(--device cpu --threads 1)
cd "$work" || exit 1
runs 0 synth --out drawn --count 40 --size 32
runs 0 prepare --images drawn/images --labels drawn/Data_Entry_2017.csv --out data --size 32
runs 0 "${common[@]}" train --data data --arch growth=8,blocks=2-2,init=8 --image-size 32 --batch-size 8 --epochs 1 --out run
mapfile -t images < <(ls drawn/images/*)

# Folders: links are followed once, even in circles; what macOS leaves beside an image is none.
mkdir -p tree/below
ln -s "$work/drawn/images" tree/linked
ln -s "$work/tree" tree/below/circle
cp "${images[0]}" tree/below/one.png
cp "${images[0]}" tree/below/._one.png
echo text > tree/below/notes.txt
runs 0 "${common[@]}" predict --run run --json tree
[[ $(wc -l < out) == 41 ]] || fail "41 images are below tree, and $(wc -l < out) were answered"
runs 0 "${common[@]}" embed --run run --out features.npy tree
[[ $(wc -l < features.csv) == 42 ]] || fail "embed found $(wc -l < features.csv) lines of images"
mkdir -p two/b
cp "${images[0]}" two/b/x.png
ln -s "$work/two/b" two/c
ln -s "$work/two/b" two/a
runs 0 "${common[@]}" predict --run run --json two
grep -qF '"image":"two/a/x.png"' out || fail "of three ways to a folder, the first by name: $(cut -c 1-40 out)"
cp drawn/Data_Entry_2017.csv labels.csv
runs 0 prepare --images tree tree/linked --labels labels.csv --out linked --size 16
says "40/40"
grep -q '^one.png,no row' linked/rejected.csv || fail "rejected.csv: $(cat linked/rejected.csv)"
[[ $(wc -l < linked/rejected.csv) == 2 ]] || fail "rejected.csv: $(cat linked/rejected.csv)"

# More pixels than a limit are refused, by the subcommands that read images and in the same words.
refused=".png: has 32x32 pixels; at most 1023 are read (--max-pixels 1024 takes it)"
small=drawn/images/00000001_000.png
runs 1 "${common[@]}" predict --run run --max-pixels 1023 "$small"
says "$refused"
fails "$refused" "${common[@]}" embed --run run --out never.npy --max-pixels 1023 "$small"
fails "$refused" prepare --images drawn/images --labels labels.csv --out limited --size 16 --max-pixels 1023 --strict
runs 0 "${common[@]}" predict --run run --max-pixels 1024 "$small"
for limit in 0 -5 many; do
  runs 2 "${common[@]}" predict --run run --max-pixels "$limit" "$small"
done

# Heat maps lie where their images do, as CheXpert's folders have it; what would replace another is refused before.
for patient in 1 2 3; do
  mkdir -p "chex/patient$patient/study1"
  cp "${images[patient]}" "chex/patient$patient/study1/view1_frontal.png"
done
maps() { find "$1" -type f | sort | tr '\n' ' '; }
predict=("${common[@]}" predict --run run --heatmap-node Effusion --heatmap)
runs 0 "${predict[@]}" maps chex
want="maps/patient1/study1/view1_frontal.Effusion.png maps/patient2/study1/view1_frontal.Effusion.png maps/patient3/study1/view1_frontal.Effusion.png "
[[ $(maps maps) == "$want" ]] || fail "heat maps: $(maps maps)"
runs 0 "${predict[@]}" files chex/patient?/study1/view1_frontal.png
[[ $(maps files) == "${want//maps/files}" ]] || fail "heat maps: $(maps files)"
runs 0 "${predict[@]}" single chex/patient1/study1/view1_frontal.png
[[ $(maps single) == "single/view1_frontal.Effusion.png " ]] || fail "heat maps: $(maps single)"
fails "would be written about under one name, patient1/study1/view1_frontal" "${predict[@]}" never chex "$work/chex/"
cp "${images[4]}" chex/patient1/study1/view1_frontal.jpg
fails "chex/patient1/study1/view1_frontal.jpg and chex/patient1/study1/view1_frontal.png would be" "${predict[@]}" never chex
absent never
runs 0 "${common[@]}" predict --run run chex
# A disk that has no room for the packed images twice, though one of them is rejected.
mkdir "$work/disk"
runs 0 synth --out "$work/many" --count 60 --size 64 --seed 5
cp -r "$work/many/images" "$work/damaged"
one=$(find "$work/damaged" -name '*.png' | sort | sed -n 20p)
head -c 200 "$one" > "$work/cut" && mv "$work/cut" "$one"
if mount -t tmpfs -o size=6m tmpfs "$work/disk" 2> /dev/null; then
  trap 'umount "$work/disk"; rm -rf "$work"' EXIT
  pack=(prepare --images "$work/damaged" --labels "$work/many/Data_Entry_2017.csv" --size 256)
  runs 0 "${pack[@]}" --out "$work/disk/data"
  runs 0 "${pack[@]}" --out "$work/roomy"
  same "$work/disk/data/images.npy" "$work/roomy/images.npy"
  same "$work/disk/data/index.csv" "$work/roomy/index.csv"
  umount "$work/disk"
  trap 'rm -rf "$work"' EXIT
else
  echo "a small disk: skipped, no tmpfs can be mounted"
fi
finish
