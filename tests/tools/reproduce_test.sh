#!/usr/bin/env bash
# tools/reproduce.sh in small: its tables say what the metrics say, and a second call goes on instead of beginning anew.
#   reproduce_test.sh DENSETREE
# shellcheck source=tests/tools/harness.sh
source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"
reproduce="$(dirname "${BASH_SOURCE[0]}")/../../tools/reproduce.sh"
build="$(dirname "$(dirname "$densetree")")"
[[ -x $build/bin/bench_step && -x $build/bin/bench_png ]] || { echo "skipped: the benchmarks are not built"; exit 77; }

rehearse() { bash "$reproduce" --rehearse --build "$build" --device cpu --out "$work/rehearsal" "$@" > "$work/out" 2> "$work/err"; }

rehearse --estimate || fail "--estimate failed: $(tail -3 "$work/err")"
grep -Eq '^  in all, about +[0-9.]+ h, for 320 images$' "$work/out" || fail "no hours are said: $(cat "$work/out")"
grep -Eq '^  on disk +[0-9.]+ GB' "$work/out" || fail "no bytes are said"
absent "$work/rehearsal/data"

rehearse || fail "the rehearsal failed: $(tail -3 "$work/err")"
table="$work/rehearsal/reproduced.md"
there "$table"
# Every label and the mean, in both ways, and five parents.
[[ $(grep -c '^| [A-Z][A-Za-z_]* |' "$table") == $((2 * (13 + 5))) ]] || fail "rows are missing: $(cat "$table")"
[[ $(grep -c '^| mean |' "$table") == 2 ]] || fail "there is no mean"
grep -q 'parents have a higher AUROC' "$table" || fail "nothing is said of parents"
for way in paper default; do
  python3 - "$work/rehearsal/eval-$way/metrics.json" "$table" << 'PYTHON' || fail "the table is not what metrics.json has"
import json, sys
metrics = json.load(open(sys.argv[1]))
text = open(sys.argv[2]).read()
for label, at in metrics["confidence"]["0.8"]["auc_at_t"].items():
    shown = "–" if at is None else f"{at:.3f}"
    left = f"{100 * metrics['confidence']['0.8']['auc_at_t_coverage'][label]:.0f} %"
    assert any(line.startswith(f"| {label} |") and f"| {shown} | {left} |" in line for line in text.splitlines()), label
PYTHON
done

printf 'label,0.5,0.8,0.95\nNodule,0.71,,0.42\n' > "$work/paper.csv"
rehearse --paper "$work/paper.csv" || fail "a second call failed: $(tail -3 "$work/err")"
grep -q '^| Nodule .*| 0.710 .*| 0.420 |$' "$table" || fail "the paper's figures are not beside these: $(grep Nodule "$table")"
grep -q 'train, going on' "$work/out" || fail "the training began anew"
[[ $(wc -l < "$work/rehearsal/run/metrics.csv") == 3 ]] || fail "the run has not two epochs"

grep -q '^Trained for 2 epochs.*`loss = "mse"`.*`batch-size = 16`' "$table" || fail "it does not say what was trained"
rehearse --batch-size 8 && fail "a run of 16 images a step went on with 8"
says "the run was begun with batch-size = 16, not 8"
printf 'label,0.5,0.8\n' > "$work/paper.csv"
rehearse --paper "$work/paper.csv" && fail "a table without a column was taken"
says "paper.csv has no column 0.95"

bash "$reproduce" --build "$build" > "$work/out" 2> "$work/err"
[[ $? == 2 ]] || fail "without images it did not end with status 2"
says "--images and --labels say where ChestX-ray14 is"
bash "$reproduce" --build "$build" --images "$work/none" --labels "$work/none.csv" > "$work/out" 2> "$work/err"
[[ $? == 1 ]] || fail "a folder that is not there did not end with status 1"
says "reproduce: error: $work/none is no folder of images"
finish
