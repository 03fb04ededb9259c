#!/usr/bin/env bash
# One binary on processors of several generations, which QEMU emulates: each takes the best that it has, refuses what it
# lacks, and computes what this one computes. QEMU knows no AVX-512, so nothing here says anything of that.
#   processors_test.sh DENSETREE QEMU
source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"
qemu=$2
native=$densetree
[[ -x $qemu ]] || { echo "qemu-x86_64 is not installed"; exit 77; }
export OMP_NUM_THREADS=1
for set in x86-64 avx2; do
  "$densetree" plan --device "cpu:$set" > /dev/null || { echo "this build or processor lacks $set"; exit 77; }
done

runs 0 synth --out "$work/xrays" --count 40 --size 40 --seed 3
runs 0 prepare --images "$work/xrays/images" --labels "$work/xrays/Data_Entry_2017.csv" --out "$work/data" --size 32

# on MODEL: from here on, densetree runs on such a processor; without one, on this.
on() {
  densetree=$native
  if [[ -n $1 ]]; then
    printf '#!/usr/bin/env bash\nexec "%s" -cpu "%s" "%s" "$@"\n' "$qemu" "$1" "$native" > "$work/on-$1"
    chmod +x "$work/on-$1"
    densetree="$work/on-$1"
  fi
}
# trained DEVICE NAME: an epoch, and what the network says of the first image.
trained() {
  runs 0 train --device "$1" --data "$work/data" --out "$work/$2" --arch growth=8,blocks=2-2,init=16 --image-size 32 \
    --batch-size 8 --epochs 1 --threads 1
  runs 0 predict --device "$1" --run "$work/$2" --json --threads 1 "$(find "$work/xrays/images" -name '*.png' | sort | head -1)"
  tr ',{' '\n' < "$work/out" | sed -n 's/^"[A-Za-z_]*":\([0-9][0-9.e-]*\)}*$/\1/p' > "$work/$2.probabilities"
  [[ $(wc -l < "$work/$2.probabilities") == 14 ]] || fail "$2 says nothing of 14 labels"
}
# close NAME NAME: sums are taken in other orders, and Adam makes a step of a rounding.
close() {
  paste "$work/$1.probabilities" "$work/$2.probabilities" |
    awk '{ off = $1 > $2 ? $1 - $2 : $2 - $1; most = off > most ? off : most } END { exit !(NR > 0 && most < 1e-3) }' ||
    fail "$1 and $2 are far apart"
}

on ""
trained cpu here
for set in x86-64 avx2; do
  trained "cpu:$set" "$set"
  close here "$set"
done

on Nehalem
runs 0 devices
grep -q '^cpu .*, SSE2$' "$work/out" || fail "a Nehalem is not taken for SSE2: $(cat "$work/out")"
fails 'device cpu:avx2 needs a processor with AVX2, which this one lacks; it has cpu:x86-64' plan --device cpu:avx2
trained cpu nehalem
close x86-64 nehalem

on Haswell
runs 0 devices
grep -q '^cpu .*, AVX2$' "$work/out" || fail "a Haswell is not taken for AVX2: $(cat "$work/out")"
fails 'device cpu:avx512 needs a processor with AVX-512' plan --device cpu:avx512
trained cpu haswell
close avx2 haswell
finish
