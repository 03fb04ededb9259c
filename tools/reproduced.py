#!/usr/bin/env python3
"""Tables of tools/reproduce.sh, as Markdown: AUC at confidence T, and parents beside their children.

AUC at T is the AUROC of the posterior over the images with max(C, 1 - C) >= T (docs/method.md, section 8). It says
little without the share of images that are left, which stands beside it.
"""

import argparse
import csv
import json
from pathlib import Path

THRESHOLDS = ("0.5", "0.8", "0.95")


def shown(value, digits=3):
    return "–" if value is None else f"{value:.{digits}f}"


def mean(values):
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def read_paper(path):
    """{label: {threshold: figure}} of a table "label,0.5,0.8,0.95"; fields may be empty."""
    try:
        with open(path, newline="") as file:
            rows = csv.DictReader(file)
            missing = {"label", *THRESHOLDS} - set(rows.fieldnames or ())
            if missing:
                raise SystemExit(f"reproduce: error: {path} has no column {', '.join(sorted(missing))}")
            return {row["label"]: {t: float(row[t]) if row[t] else None for t in THRESHOLDS} for row in rows}
    except (OSError, ValueError) as error:
        raise SystemExit(f"reproduce: error: {path}: {error}") from error


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def settings_of(run):
    """What the run was trained with, and how far."""
    with open(run / "metrics.csv", newline="") as file:
        epochs = list(csv.DictReader(file))
    lines = (run / "config.toml").read_text().splitlines()
    wanted = ("arch", "image-size", "batch-size", "loss", "lr", "precision", "augment", "init")
    settings = [line for line in lines if line.split(" = ")[0] in wanted]
    best = min(epochs, key=lambda epoch: float(epoch["val_loss"]))
    return (
        f"Trained for {len(epochs)} epochs, evaluated as it was after epoch {best['epoch']}, the best on validation: "
        + ", ".join(f"`{setting}`" for setting in settings)
        + ".\n"
    )


def auc_table(metrics, paper):
    labels = list(metrics["labels"])
    at = {t: metrics["confidence"][t] for t in THRESHOLDS}
    head = ["label", "AUROC of scores"]
    for t in THRESHOLDS:
        head += [f"AUC at {t}", "images left"] + (["paper"] if paper else [])
    rows = []
    for label in [*labels, "mean"]:
        one = label if label != "mean" else None
        row = [label, shown(metrics["labels"][one]["auroc"] if one else metrics["mean_auroc"])]
        for t in THRESHOLDS:
            aucs, left = at[t]["auc_at_t"], at[t]["auc_at_t_coverage"]
            row.append(shown(aucs[one] if one else mean(aucs.values())))
            row.append(f"{100 * (left[one] if one else mean(left.values())):.0f} %")
            if paper:
                figures = paper.get(label, {})
                row.append(shown(figures.get(t)))
        rows.append(row)
    return table(head, rows)


def parents_table(tree, metrics):
    nodes = metrics["nodes"]
    rows, better, compared = [], 0, 0
    for parent in (node["name"] for node in tree if not node["leaf"]):
        children = [node["name"] for node in tree if node["parent"] == parent]
        own, below = nodes[parent]["auroc"], mean(nodes[child]["auroc"] for child in children)
        if own is not None and below is not None:
            compared += 1
            better += own > below
        rows.append([parent, shown(own), shown(below), str(len(children)), shown(nodes[parent]["ece"], 4)])
    head = ["node", "AUROC of its posterior", "mean AUROC of its children", "children", "calibration error"]
    return table(head, rows) + f"\n\n{better} of {compared} parents have a higher AUROC than their children on average."


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="the folder of tools/reproduce.sh")
    parser.add_argument("--paper", type=Path)
    parser.add_argument("--check-paper", type=Path, help="only reads such a table")
    args = parser.parse_args()
    if args.check_paper:
        read_paper(args.check_paper)
        return
    paper = read_paper(args.paper) if args.paper else None
    tree = json.loads((args.out / "tree.json").read_text())
    print("# The source paper's experiment\n")
    print(settings_of(args.out / "run"))
    for way, title in (("paper", "In the paper's way: 10 uniform bins, sums, no smoothing"), ("default", "By default")):
        metrics = json.loads((args.out / f"eval-{way}" / "metrics.json").read_text())
        print(f"## {title}\n\n{metrics['images']} images for testing, of {metrics['patients']} patients.\n")
        print(auc_table(metrics, paper if way == "paper" else None))
        print(f"\n{parents_table(tree, metrics)}\n")
        unknown = sorted(set(paper or ()) - {*metrics["labels"], "mean"})
        if unknown and way == "paper":
            print(f"No label here is called {', '.join(unknown)}, which the paper's table has.\n")
    if paper is None:
        print("The paper's own figures are printed beside these where --paper names a table of them.")


if __name__ == "__main__":
    main()
