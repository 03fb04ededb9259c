#!/usr/bin/env bash
# Settings from TOML files: what a file says is what is used, or an error that names the line.
#   settings_test.sh DENSETREE
# shellcheck source=tests/tools/harness.sh
source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

common=(--device cpu --threads 1)
train=(train --data "$work/data" --arch growth=8,blocks=2-2,init=8 --image-size 32 --batch-size 8 --epochs 1)
runs 0 synth --out "$work/drawn" --count 40 --size 32
runs 0 prepare --images "$work/drawn/images" --labels "$work/drawn/Data_Entry_2017.csv" --out "$work/data" --size 32

# takes SETTINGS LINE: with the file, a run is trained whose config.toml has the line.
takes() {
  printf '%b\n' "$1" > "$work/settings.toml"
  rm -rf "$work/run"
  runs 0 "${common[@]}" --config "$work/settings.toml" "${train[@]}" --out "$work/run"
  grep -qxF -- "$2" "$work/run/config.toml" || fail "with '$1' the run has: $(cat "$work/run/config.toml")"
}
# refuses SETTINGS TEXT: the file is an error that holds the text, and nothing is begun.
refuses() {
  printf '%b\n' "$1" > "$work/settings.toml"
  fails "$2" "${common[@]}" --config "$work/settings.toml" "${train[@]}" --out "$work/never"
  absent "$work/never"
}

takes '[train] # mine\nlr = 0.01' 'lr = 0.01'
takes '\xef\xbb\xbf[train]\nlr = 1e-2' 'lr = 0.01'
takes 'train = { lr = 0.01, balanced = true }' 'balanced = true'
takes '"train"."lr" = 0.01' 'lr = 0.01'
takes 'seed = 0x10\n[train]\nlr = +1.0' 'seed = 16'
takes '[train]\nschedule = """\ncosine"""' 'schedule = "cosine"'
takes '[eval]\ndraws = 3\n[train]\nlr = 0.5' 'lr = 0.5'

refuses 'lr = 0.01' "settings.toml:1: no setting 'lr' stands outside of sections; it belongs to [train], [trace]"
refuses '[train]\n\nlearning-rate = 0.01' "settings.toml:3: [train] has no setting 'learning-rate'; did you mean 'lr'?"
refuses '[train]\nweight_decay = 0.01' "[train] has no setting 'weight_decay'; did you mean 'weight-decay'?"
refuses '[trian]\nlr = 0.01' "there is no section [trian]; did you mean 'train'?"
refuses '[eval]\ndrawz = 3' "[eval] has no setting 'drawz'; did you mean 'draws'?"
refuses '[train]\nseed = 3' "[train] has no setting 'seed'; it stands above all sections"
refuses '[train\nlr = 0.01' "settings.toml:1: "
refuses '[train]\nlr = 0.01\nlr = 0.02' "settings.toml:3: "
refuses '[train]\nlr = [0.01, 0.02]' "settings.toml:2: 'lr' takes one value, not a list"
refuses '[train]\nlr = 1979-05-27' "'lr' must be a text, a number, true or false"
refuses '[train]\nlr = "fast"' "settings.toml:2: "
refuses '[train]\nlr = 0.1\npatience = 1.5' "settings.toml:3: "
refuses '[train]\nbatch-norm = "nonsense"' "settings.toml:2: --batch-norm is 'nonsense'; it must be auto, plain, factored or fused"
refuses '[train]\nresume = 3' "settings.toml:2: 'resume' is 3; it must be true or false"
refuses '[eval]\nconfidence = [0.5, "x"]' "settings.toml:2: "
refuses 'seed = -1' "settings.toml:1: --seed is '-1'; it must be a whole number, 0 or more"
refuses '[prepare]\njobs = 100000' "settings.toml:2: --jobs: 100000 threads"
refuses '[train.deeper]\nlr = 0.01' "[train] has no setting 'deeper'"

# Lists, and texts that need quoting.
printf '[prepare]\nimages = ["%s"]\nlabels = "%s"\nout = "%s/a \\"quoted\\" \\\\ folder # 1"\nsize = 16\n' \
  "$work/drawn/images" "$work/drawn/Data_Entry_2017.csv" "$work" > "$work/settings.toml"
runs 0 --config "$work/settings.toml" prepare
there "$work/a \"quoted\" \\ folder # 1/manifest.json"
cp -r "$work/a \"quoted\" \\ folder # 1" "$work/data # \\ \"x\""
runs 0 "${common[@]}" "${train[@]}" --data "$work/data # \\ \"x\"" --image-size 16 --arch growth=8,blocks=2,init=8 --out "$work/odd"
runs 0 "${common[@]}" train --resume --data "$work/data # \\ \"x\"" --out "$work/odd" --epochs 2
for seed in '"x"' 1.5 -1; do
  sed -i "s/^seed = .*/seed = $seed/" "$work/run/config.toml"
  fails "config.toml:2: seed is '${seed//\"/}'; it must be a whole number, 0 or more" "${common[@]}" train --resume --data "$work/data" --out "$work/run"
done
grep -q '^2,' "$work/odd/metrics.csv" || fail "a run with an odd path is not resumed"

# Seeds: all that a run's config.toml can hold, and nothing else.
for seed in 0 9223372036854775807; do
  rm -rf "$work/run"
  runs 0 "${common[@]}" --seed $seed "${train[@]}" --out "$work/run"
  runs 0 "${common[@]}" train --resume --data "$work/data" --out "$work/run" --epochs 2
  grep -qx "seed = $seed" "$work/run/config.toml" || fail "the seed $seed became $(grep seed "$work/run/config.toml")"
done
for seed in -1 9223372036854775808 18446744073709551615 1.5 x; do
  runs 2 --seed=$seed "${train[@]}" --out "$work/never"
  says "--seed is '$seed'; it must be a whole number"
  runs 2 prepare --images "$work/drawn/images" --labels "$work/drawn/Data_Entry_2017.csv" --out "$work/never" --split-seed=$seed
done
absent "$work/never"
finish
