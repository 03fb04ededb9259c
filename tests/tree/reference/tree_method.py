#!/usr/bin/env python3
"""The tree method in plain NumPy, float64, written from its description alone, to hold the program against.

    tree_method.py cases OUT.json
        writes small random cases with what comes out of them: tree_cases.json, which tests/tree/method_test.cc reads
    tree_method.py check --scores CSV --labels CSV --calibration C.json --posteriors posteriors.csv [--paper]
        holds what `densetree calibrate` and `densetree eval --calibration` wrote for the same scores against its own
        computation: edges and counts exactly, posteriors within 1e-12. The calibration must have been fitted on all of
        these scores, so without `--choose`. --paper: its settings must be the paper's, too.

Leaves with 1, saying what differs, where something does. Needs Python 3.11 and NumPy.
"""
import argparse
import csv
import gzip
import json
import pathlib
import sys

import numpy as np
import tomllib

FINDINGS = ["Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
            "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"]
FALSE, TRUE, UNKNOWN = 0, 1, 2
WITHDRAWN = -1
TOLERANCE = 1e-12
PAPER = {"binning": "uniform", "bins": 10, "alpha": 0, "prior": "data", "pooling": "sum", "monotone": False,
         "node_priors": {}}


# ---- The tree ------------------------------------------------------------------------------------------------------

class Tree:
    """Leaves first, in the order of the labels; then inner nodes, children before parents; the root last."""

    def __init__(self, toml):
        file = tomllib.loads(toml)
        self.findings = file.get("labels", {finding: [finding] for finding in FINDINGS})  # by label
        self.labels = list(self.findings)
        children = file["tree"]
        below = {child for group in children.values() for child in group}
        (root,) = [name for name in children if name not in below]
        self.names = list(self.labels)
        self._add_inner(root, children)
        number = {name: v for v, name in enumerate(self.names)}
        self.parent = [None] * len(self.names)
        for name, group in children.items():
            for child in group:
                self.parent[number[child]] = number[name]

    def _add_inner(self, name, children):
        for child in children.get(name, []):
            self._add_inner(child, children)
        if name in children:
            self.names.append(name)

    def ancestors(self, node):
        """From the parent to the root."""
        found = []
        while self.parent[node] is not None:
            node = self.parent[node]
            found.append(node)
        return found

    def leaves(self, node):
        """Below the node, ascending; a leaf has itself."""
        return [leaf for leaf in range(len(self.labels)) if leaf == node or node in self.ancestors(leaf)]

    def descendants(self, node):
        return [v for v in range(len(self.names)) if node in self.ancestors(v)]


# ---- Scores and truths of nodes ------------------------------------------------------------------------------------

def pool_leaves(leaves, pooling):
    """leaves: the scores (N) of each leaf below a node, one leaf after the other."""
    if pooling == "max":
        return np.max(leaves, axis=0)
    total, none = leaves[0], 1 - leaves[0]
    for leaf in leaves[1:]:
        total, none = total + leaf, none * (1 - leaf)
    return np.clip(total, 0, 1) if pooling == "sum" else 1 - none


def pool(tree, scores, pooling):
    """(N, L) -> (V, N)."""
    inner = [pool_leaves([scores[:, leaf] for leaf in tree.leaves(node)], pooling)
             for node in range(len(tree.labels), len(tree.names))]
    return np.array([*scores.T, *inner])


def node_truths(tree, targets):
    """(N, L) of 1, 0, NaN -> (V, N): true where any leaf is, false where all are known to be, else unknown."""
    truth = np.empty((len(tree.names), len(targets)), np.uint8)
    for node in range(len(tree.names)):
        leaves = targets[:, tree.leaves(node)]
        any_true = (leaves == 1).any(axis=1)
        all_false = (leaves == 0).all(axis=1)
        truth[node] = np.where(any_true, TRUE, np.where(all_false, FALSE, UNKNOWN))
    return truth


# ---- Histograms and posteriors -------------------------------------------------------------------------------------

def quantile_edges(scores, bins):
    """scores: of the images whose truth is known."""
    ordered = np.sort(scores)
    n = len(ordered)
    return np.array(sorted({float(ordered[k * n // bins]) for k in range(1, bins) if n}))


def bin_numbers(scores, edges, bins):
    """edges: None for uniform bins."""
    if edges is None:
        return np.minimum(np.floor(scores * bins).astype(int), bins - 1)
    return np.array([(edges <= score).sum() for score in scores])


def divide(a, b):
    """a/b, and 0/0 = 0."""
    a, b = np.broadcast_arrays(np.asarray(a, float), np.asarray(b, float))
    return np.divide(a, b, out=np.zeros(a.shape), where=b != 0)


def posterior(positives, negatives, alpha, prior):
    """prior: None for the share of true images."""
    n_true, n_false = positives.sum(), negatives.sum()
    bins = len(positives)
    rate = divide(n_true, n_true + n_false)
    if_true = divide(positives + alpha * rate, n_true + alpha * bins * rate)
    if_false = divide(negatives + alpha * (1 - rate), n_false + alpha * bins * (1 - rate))
    prior = rate if prior is None else prior
    return divide(prior * if_true, prior * if_true + (1 - prior) * if_false)


def isotonic(values, weights):
    """Weighted isotonic regression by pooling adjacent violators. A block without weight yields to its neighbour."""
    blocks = []  # [value, weight, bins]
    for value, weight in zip(values, weights):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (value_b, weight_b, bins_b), (value_a, weight_a, bins_a) = blocks.pop(), blocks.pop()
            mean = (value_a * weight_a + value_b * weight_b) / (weight_a + weight_b)
            blocks.append([mean, weight_a + weight_b, bins_a + bins_b])
    return np.concatenate([np.full(bins, value) for value, _, bins in blocks])


def fit_node(scores, truth, settings, prior):
    """What a calibration holds of one node. prior: None for the share of true images."""
    bins = settings["bins"]
    edges = quantile_edges(scores[truth != UNKNOWN], bins) if settings["binning"] == "quantile" else None
    used = bins if edges is None else len(edges) + 1
    number = bin_numbers(scores, edges, bins)
    positives = np.bincount(number[truth == TRUE], minlength=used)
    negatives = np.bincount(number[truth == FALSE], minlength=used)
    table = posterior(positives, negatives, settings["alpha"], prior)
    if settings["monotone"]:
        table = isotonic(table, positives + negatives + settings["alpha"])
    return {"edges": edges, "positives": positives, "negatives": negatives, "posterior": table}


def node_priors(tree, settings):
    """None: the share of true images."""
    general = 0.5 if settings["prior"] == "equal" else None
    return [settings["node_priors"].get(name, general) for name in tree.names]


def fit(tree, pooled, truth, settings):
    priors = node_priors(tree, settings)
    return [fit_node(pooled[v], truth[v], settings, priors[v]) for v in range(len(tree.names))]


def apply_fit(pooled, fitted, settings):
    """Posterior of every node and image: (V, N)."""
    rows = [node["posterior"][bin_numbers(scores, node["edges"], settings["bins"])]
            for scores, node in zip(pooled, fitted)]
    return np.array(rows)


# ---- Answers at a threshold ----------------------------------------------------------------------------------------

def climb(tree, certain):
    """certain: (V, N). Node where each leaf ends, or WITHDRAWN: (L, N)."""
    found = np.full((len(tree.labels), certain.shape[1]), WITHDRAWN)
    for leaf in range(len(tree.labels)):
        for node in reversed([leaf, *tree.ancestors(leaf)]):
            found[leaf, certain[node]] = node
    return found


def frontier(tree, certain):
    """Certain nodes without a certain descendant: (V, N)."""
    return np.array([certain[v] & ~certain[tree.descendants(v)].any(axis=0) for v in range(len(tree.names))])


# ---- Against what the program wrote --------------------------------------------------------------------------------

def read_csv(path):
    opened = gzip.open(path, "rt", newline="") if str(path).endswith(".gz") else open(path, newline="")
    with opened as file:
        header, *rows = csv.reader(file)
    return header, rows


def read_columns(path, names, prefix=""):
    """Images, and (N, len(names)) of the columns of those names, with or without the prefix."""
    header, rows = read_csv(path)
    image = header.index("Image Index")
    places = [header.index(name if name in header else prefix + name) for name in names]
    return [row[image] for row in rows], np.array([[float(row[place]) for place in places] for row in rows])


def read_targets(path, images, tree):
    header, rows = read_csv(path)
    image, findings = header.index("Image Index"), header.index("Finding Labels")
    found = {row[image]: set(row[findings].split("|")) for row in rows}
    return np.array([[float(not found[name].isdisjoint(tree.findings[label])) for label in tree.labels]
                     for name in images])


class Comparison:
    def __init__(self):
        self.differences = []

    def exact(self, what, ours, theirs):
        if len(ours) != len(theirs):
            self.differences.append(f"{what}: expected {len(ours)} entries, found {len(theirs)}")
        different = [place for place, (a, b) in enumerate(zip(ours, theirs)) if a != b]
        if different:
            place = different[0]
            self.differences.append(f"{what}: {len(different)} differ, the first at {place}: expected {ours[place]}, "
                                    f"found {theirs[place]}")

    def close(self, what, ours, theirs):
        """Prints the largest difference."""
        ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
        if ours.shape != theirs.shape:
            self.differences.append(f"{what}: expected {ours.shape} numbers, found {theirs.shape}")
            return 0.0
        worst = float(np.max(np.abs(ours - theirs), initial=0))
        if not worst <= TOLERANCE:  # also for NaN
            place = np.unravel_index(np.nanargmax(np.abs(ours - theirs)), ours.shape)
            self.differences.append(f"{what}: differs by {worst:.2e} at {tuple(map(int, place))}: expected "
                                    f"{ours[place]!r}, found {theirs[place]!r}")
        return worst


def check(args):
    calibration = json.loads(pathlib.Path(args.calibration).read_text())
    tree, settings = Tree(calibration["tree"]), calibration["settings"]
    compare = Comparison()
    for key, value in PAPER.items() if args.paper else []:
        compare.exact(f"setting {key} of the paper", [value], [settings[key]])
    images, scores = read_columns(args.scores, tree.labels, "prob_")
    pooled = pool(tree, scores, settings["pooling"])
    fitted = fit(tree, pooled, node_truths(tree, read_targets(args.labels, images, tree)), settings)
    worst = 0.0
    for name, node in zip(tree.names, fitted):
        written = calibration["nodes"][name]
        if node["edges"] is not None:
            compare.exact(f"edges of {name}", node["edges"], written["edges"])
        compare.exact(f"positives of {name}", node["positives"], written["positives"])
        compare.exact(f"negatives of {name}", node["negatives"], written["negatives"])
        worst = max(worst, compare.close(f"posterior table of {name}", node["posterior"], written["posterior"]))
    print(f"calibration: {len(images)} images, {len(tree.names)} nodes; largest difference {worst:.2e}")
    if args.posteriors:
        written_images, written = read_columns(args.posteriors, tree.names)
        compare.exact("images of the posteriors", images, written_images)
        worst = compare.close("posteriors (image, node)", apply_fit(pooled, fitted, settings).T, written)
        print(f"posteriors: largest difference {worst:.2e}")
    for difference in compare.differences:
        print(f"tree_method: {difference}", file=sys.stderr)
    return 1 if compare.differences else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    cases = commands.add_parser("cases", help="write random cases and what comes out of them")
    cases.add_argument("out")
    checks = commands.add_parser("check", help="hold what the program wrote for real scores against this")
    checks.add_argument("--scores", required=True)
    checks.add_argument("--labels", required=True, help="NIH's label table, plain or gzipped")
    checks.add_argument("--calibration", required=True)
    checks.add_argument("--posteriors")
    checks.add_argument("--paper", action="store_true", help="the settings must be the paper's")
    args = parser.parse_args()
    if args.command == "check":
        return check(args)
    import tree_cases
    tree_cases.write(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
