#!/usr/bin/env python3
"""What the method gives on real scores: patients with even numbers calibrate, patients with odd numbers test.

    bench/real_scores.py --scores densenet121-nih-scores.csv.gz --labels Data_Entry_2017_v2020.csv.gz

Runs `densetree calibrate` and `eval` in paper mode, with the defaults, and with chosen thresholds, and prints Markdown
tables. Only Python's standard library is needed.
"""
import argparse
import csv
import gzip
import json
import pathlib
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
MODES = [("paper mode", ["--paper"]), ("default", [])]
CHOICES = ["precision:0.8,delta:0.1", "precision:0.5,delta:0.1", "precision:0.3,delta:0.1", "any-false:0.1", "miss:0.1"]
CONFIDENCES = ["0.5", "0.8", "0.95"]


def split(scores, folder):
    """Two score files, by the parity of the patient number that begins an image's name."""
    opened = gzip.open if scores.suffix == ".gz" else open
    with opened(scores, "rt", newline="") as file:
        rows = list(csv.reader(file))
    paths = []
    for parity, name in ((0, "calibrate.csv"), (1, "test.csv")):
        chosen = [row for row in rows[1:] if int(row[0].split("_")[0]) % 2 == parity]
        paths.append(folder / name)
        with open(paths[-1], "w", newline="") as file:
            csv.writer(file).writerows([rows[0]] + chosen)
        patients = {row[0].split("_")[0] for row in chosen}
        print(f"{name}: {len(chosen)} images of {len(patients)} patients")
    return paths


def run(program, *arguments):
    subprocess.run([program, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def evaluate(args, folder, name, calibrate, test, flags):
    calibration, out = folder / f"{name}.json", folder / name
    run(args.densetree, "calibrate", "--scores", calibrate, "--labels", args.labels, "--out", calibration, *flags)
    run(args.densetree, "eval", "--scores", test, "--labels", args.labels, "--calibration", calibration,
        "--confidence", ",".join(CONFIDENCES), "--out", out)
    return json.loads((out / "metrics.json").read_text()), out


def false_rates(metrics, folder, truths):
    """Share of test images with a false node above its threshold: of all images, and of each patient's first."""
    tree = metrics["thresholds"]["nodes"]
    limits = {v: float("-inf") if t == "always" else float("inf") if t is None else t for v, t in tree.items()}
    wrong, first = [], {}
    with open(folder / "posteriors.csv", newline="") as file:
        for row in csv.DictReader(file):
            image = row["Image Index"]
            any_false = any(float(row[v]) >= t and v not in truths[image] for v, t in limits.items())
            wrong.append(any_false)
            first.setdefault(image.split("_")[0], any_false)
    return mean(wrong), mean(list(first.values()))


def true_nodes(labels, tree):
    """For each image the nodes that are true: its findings and everything above them."""
    parent = {node["name"]: node["parent"] for node in tree}
    opened = gzip.open if labels.suffix == ".gz" else open
    truths = {}
    with opened(labels, "rt", newline="") as file:
        for row in csv.DictReader(file):
            nodes = set()
            for node in row["Finding Labels"].split("|"):
                while node in parent:
                    nodes.add(node)
                    node = parent[node]
            truths[row["Image Index"]] = nodes
    return truths


def number(value, digits=3):
    return "–" if value is None else f"{value:.{digits}f}"


def mean(values):
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def table(header, rows):
    print("\n| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def quality(results):
    """Means over leaves and over all nodes: AUROC, calibration error, Brier score."""
    rows = []
    for name, metrics in results:
        leaves, nodes = list(metrics["labels"]), list(metrics["nodes"])
        if not rows:
            rows.append(["raw scores"] + [number(mean(metrics["nodes"][v]["raw_" + key] for v in group), 4)
                                          for group in (leaves, nodes) for key in ("auroc", "ece", "brier")])
        rows.append([name] + [number(mean(metrics["nodes"][v][key] for v in group), 4)
                              for group in (leaves, nodes) for key in ("auroc", "ece", "brier")])
    table(["", "AUROC, leaves", "calibration error", "Brier", "AUROC, all nodes", "calibration error", "Brier"], rows)


def thresholds(results):
    rows = []
    for name, metrics in results:
        for t in CONFIDENCES:
            at = metrics["confidence"][t]
            rows.append([name, t] + [text for kind in ("leaf", "frontier") for text in
                                     (number(at[kind]["coverage"]), str(at[kind]["reported"]),
                                      number(at[kind]["precision"]), number(at[kind]["recall"]))]
                        + [number(at[key]) for key in ("persist", "soften", "withdrawn")])
    table(["", "T", "leaf coverage", "reported", "precision", "recall", "frontier coverage", "reported", "precision",
           "recall", "kept", "softened", "withdrawn"], rows)


def guarantees(results):
    rows = []
    for request, metrics, of_images, of_patients in results:
        chosen = metrics["thresholds"]["nodes"]
        at = metrics["confidence"]["chosen"]
        certified = [v for v, t in chosen.items() if t is not None]
        rows.append([request, str(metrics["thresholds"]["images"]), f"{len(certified)} of {len(chosen)}",
                     str(at["leaf"]["reported"]), number(at["leaf"]["precision"]), number(at["leaf"]["recall"]),
                     str(at["frontier"]["reported"]), number(at["frontier"]["precision"]), number(at["persist"]),
                     number(at["soften"]), number(at["withdrawn"]), number(of_images), number(of_patients)])
    table(["chosen by", "images", "nodes certified", "leaves reported", "precision", "recall", "frontier reported",
           "precision", "kept", "softened", "withdrawn", "images with a false node", "one image a patient"], rows)
    for request, metrics, *_ in results:
        named = ", ".join(f"{v} {t if isinstance(t, str) else format(t, '.3f')}"
                          for v, t in metrics["thresholds"]["nodes"].items() if t is not None)
        print(f"\n{request}: {named or 'none'}.\n{metrics['thresholds']['guarantee']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", required=True, type=pathlib.Path)
    parser.add_argument("--labels", required=True, type=pathlib.Path)
    parser.add_argument("--densetree", default=HERE.parent / "build/release/bin/densetree")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        calibrate, test = split(args.scores, folder)
        results = [(mode, evaluate(args, folder, mode.replace(" ", "-"), calibrate, test, flags)[0])
                   for mode, flags in MODES]
        quality(results)
        thresholds(results)
        chosen = []
        tree = json.loads(subprocess.run([args.densetree, "tree", "--json"], check=True, stdout=subprocess.PIPE).stdout)
        truths = true_nodes(args.labels, tree)
        for request in CHOICES:
            metrics, out = evaluate(args, folder, request.replace(":", "-"), calibrate, test, ["--choose", request])
            chosen.append((request, metrics, *false_rates(metrics, out, truths)))
        guarantees(chosen)


if __name__ == "__main__":
    main()
