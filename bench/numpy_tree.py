#!/usr/bin/env python3
"""NumPy's and scikit-learn's side of compare_tree.py: a calibration, or the bootstrap over patients, run on command.

Standard input "run N": N times, one JSON line with the seconds of each. Ends with the input. Before it is timed, each
way of doing it is held against tests/tree/reference (calibration, on the first images) or the other way (bootstrap).

    calibrate sort        edges by np.sort, np.searchsorted for every score, np.bincount
    calibrate partition   the same with np.partition
    calibrate counts      np.sort, and counts by searching the edges in sorted scores: of all images, and of true ones
    bootstrap sklearn     sklearn.metrics.roc_auc_score of the drawn images, per label and draw
    bootstrap numpy       each label sorted once, before the clock starts; a draw is a weight per patient and a cumsum

All calibrate with noisy-or, quantile bins, α = 1, the data's prior and scikit-learn's isotonic regression.
"""
import argparse
import csv
import gzip
import json
import pathlib
import platform
import sys
import time

import numpy as np
import sklearn
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import roc_auc_score

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "tests/tree/reference"))
import tree_cases
import tree_method

TREE = tree_method.Tree(tree_cases.TREE_14)
LEAVES, NODES = len(TREE.labels), len(TREE.names)
CHILDREN = {v: [c for c in range(NODES) if TREE.parent[c] == v] for v in range(LEAVES, NODES)}
BINS, ALPHA = 50, 1.0
PATIENTS_PER_IMAGE = 30_805 / 112_120


# ---- Data ----------------------------------------------------------------------------------------------------------

def random_data(images):
    """Scores that know something of the truth, as bench_tree has them."""
    random = np.random.default_rng(1)
    targets = random.random((images, LEAVES)) < 0.1
    scores = 1 / (1 + np.exp(3 - 1.5 * random.standard_normal((images, LEAVES)) - 2 * targets))
    return scores, targets, random.integers(0, max(1, int(images * PATIENTS_PER_IMAGE)), images)


def real_data(images, scores_path, labels_path):
    """Real scores over and over, each time with other noise and other patients."""
    names, scores = tree_method.read_columns(scores_path, TREE.labels, "prob_")
    targets = tree_method.read_targets(labels_path, names, TREE) == 1
    with gzip.open(labels_path, "rt") if labels_path.endswith(".gz") else open(labels_path) as file:
        patient_of = {row["Image Index"]: int(row["Patient ID"]) for row in csv.DictReader(file)}
    patients = np.array([patient_of[name] for name in names])
    row, copy = np.arange(images) % len(names), np.arange(images) // len(names)
    noise = 0.1 * np.random.default_rng(1).standard_normal((images, LEAVES))
    odds = scores[row] / (1 - scores[row]) * np.exp(noise)
    patients = np.unique(copy * (patients.max() + 1) + patients[row], return_inverse=True)[1]
    return odds / (1 + odds), targets[row], patients


# ---- Calibration ---------------------------------------------------------------------------------------------------

def pool(scores, targets):
    """(N, L) -> scores and truths of nodes, (V, N)."""
    pooled, none = np.empty((NODES, len(scores))), np.empty((NODES, len(scores)))
    truth = np.empty((NODES, len(scores)), bool)
    pooled[:LEAVES], truth[:LEAVES] = scores.T, targets.T
    np.subtract(1, pooled[:LEAVES], out=none[:LEAVES])
    for node, (first, second, *others) in CHILDREN.items():
        np.multiply(none[first], none[second], out=none[node])
        np.logical_or(truth[first], truth[second], out=truth[node])
        for child in others:
            none[node] *= none[child]
            truth[node] |= truth[child]
    np.subtract(1, none[LEAVES:], out=pooled[LEAVES:])
    return pooled, truth


def count_each(ordered, scores, truth):
    """ordered: has at least the quantiles in their places. Edges, and images true and false in each bin."""
    edges = np.unique(ordered[np.arange(1, BINS) * len(scores) // BINS])
    bins = len(edges) + 1
    counts = np.bincount(np.searchsorted(edges, scores, side="right") + bins * truth, minlength=2 * bins)
    return edges, counts[bins:], counts[:bins]


def count_sort(scores, truth):
    return count_each(np.sort(scores), scores, truth)


def count_partition(scores, truth):
    return count_each(np.partition(scores, np.arange(1, BINS) * len(scores) // BINS), scores, truth)


def count_counts(scores, truth):
    ordered, true = np.sort(scores), np.sort(scores[truth])
    edges = np.unique(ordered[np.arange(1, BINS) * len(scores) // BINS])
    positives, images = (np.diff(np.searchsorted(values, edges), prepend=0, append=len(values))
                         for values in (true, ordered))
    return edges, positives, images - positives


def posterior(positives, negatives):
    n_true, n_false, bins = positives.sum(), negatives.sum(), len(positives)
    rate = n_true / (n_true + n_false)
    if_true = (positives + ALPHA * rate) / (n_true + ALPHA * bins * rate)
    if_false = (negatives + ALPHA * (1 - rate)) / (n_false + ALPHA * bins * (1 - rate))
    confidence = rate * if_true / (rate * if_true + (1 - rate) * if_false)
    return isotonic_regression(confidence, sample_weight=positives + negatives + ALPHA)


def calibrate(scores, targets, count):
    pooled, truth = pool(scores, targets)
    fitted = []
    for node in range(NODES):
        edges, positives, negatives = count(pooled[node], truth[node])
        fitted.append((edges, positives, negatives, posterior(positives, negatives)))
    return fitted


def check_calibration(scores, targets, count):
    settings = tree_cases.settings(bins=BINS, alpha=ALPHA)
    pooled = tree_method.pool(TREE, scores, settings["pooling"])
    expected = tree_method.fit(TREE, pooled, tree_method.node_truths(TREE, targets), settings)
    for name, wanted, (edges, positives, negatives, confidence) in zip(TREE.names, expected,
                                                                       calibrate(scores, targets, count)):
        good = np.array_equal(wanted["positives"], positives) and np.array_equal(wanted["negatives"], negatives)
        if not good or max(abs(wanted["edges"] - edges).max(), abs(wanted["posterior"] - confidence).max()) > 1e-12:
            raise RuntimeError(f"the calibration of {name} is not that of tests/tree/reference")


# ---- Bootstrap -----------------------------------------------------------------------------------------------------

class SklearnBootstrap:
    def __init__(self, scores, targets, patients):
        self.scores, self.targets = np.asfortranarray(scores), np.asfortranarray(targets)
        by_patient = np.argsort(patients, kind="stable")
        self.images_of = np.split(by_patient, np.cumsum(np.bincount(patients))[:-1])

    def draw(self, taken):
        """AUROC of each label over all images of the patients taken."""
        images = np.concatenate([self.images_of[patient] for patient in taken])
        return [roc_auc_score(self.targets[images, label], self.scores[images, label]) for label in range(LEAVES)]


class NumpyBootstrap:
    def __init__(self, scores, targets, patients):
        self.patients = patients.max() + 1
        self.labels = []
        for label in range(LEAVES):
            order = np.argsort(scores[:, label])
            ordered, true = scores[order, label], targets[order, label]
            negative = ordered[~true]
            self.labels.append((patients[order][~true], patients[order][true],
                                np.searchsorted(negative, ordered[true], "left"),
                                np.searchsorted(negative, ordered[true], "right")))
        self.tied = any((below != upto).any() for _, _, below, upto in self.labels)
        self.cumulated = np.zeros(len(scores) + 1)

    def draw(self, taken):
        weight = np.bincount(taken, minlength=self.patients).astype(float)
        return [self.auroc(weight, *label) for label in self.labels]

    def auroc(self, weight, negative, positive, below, upto):
        weights = self.cumulated[1:len(negative) + 1]  # summed up in place: those of the first k negatives at [k]
        np.take(weight, negative, out=weights, mode="clip")
        np.cumsum(weights, out=weights)
        total, of_positives = weights[-1], weight[positive]
        won = (of_positives * self.cumulated[below]).sum()
        if self.tied:
            won = (won + (of_positives * self.cumulated[upto]).sum()) / 2
        return won / (of_positives.sum() * total)


def draws(count, patients):
    random = np.random.default_rng(1)
    number = patients.max() + 1
    for _ in range(count):
        yield random.integers(0, number, number)


def check_bootstrap(scores, targets, patients):
    one, other = (kind(scores, targets, patients) for kind in (SklearnBootstrap, NumpyBootstrap))
    for taken in draws(2, patients):
        if np.abs(np.subtract(one.draw(taken), other.draw(taken))).max() > 1e-12:
            raise RuntimeError("the two bootstraps do not agree")


# ---- The worker ----------------------------------------------------------------------------------------------------

def processor():
    with open("/proc/cpuinfo") as info:
        return next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.machine())


def prepare(args):
    """What is timed, after it was held against another computation; and how often its time counts."""
    data = real_data(args.images, args.scores, args.labels) if args.scores else random_data(args.images)
    scores, targets, patients = data
    if args.what == "calibrate":
        count = {"sort": count_sort, "partition": count_partition, "counts": count_counts}[args.how]
        check_calibration(scores[:10_000], targets[:10_000], count)
        return lambda: calibrate(scores, targets, count), 1, patients
    check_bootstrap(*data)
    check_bootstrap(np.round(scores, 2), targets, patients)  # ties, too
    bootstrap = {"sklearn": SklearnBootstrap, "numpy": NumpyBootstrap}[args.how](*data)
    timed = min(args.draws, args.timed_draws or {"sklearn": 3, "numpy": 100}[args.how])
    return lambda: [bootstrap.draw(taken) for taken in draws(timed, patients)], args.draws / timed, patients


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["calibrate", "bootstrap"])
    parser.add_argument("how", choices=["sort", "partition", "counts", "sklearn", "numpy"])
    parser.add_argument("--images", type=int, default=112_120)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--timed-draws", type=int, help="the time of the rest is extrapolated from these")
    parser.add_argument("--scores", help="a score file; random scores without it")
    parser.add_argument("--labels", help="NIH's label table, with --scores")
    args = parser.parse_args()
    if bool(args.scores) != bool(args.labels):
        parser.error("--scores and --labels go together")
    if (args.what == "calibrate") != (args.how in ("sort", "partition", "counts")):
        parser.error(f"{args.what} cannot be done by {args.how}")
    work, factor, patients = prepare(args)

    def tell(**what):
        print(json.dumps(what), flush=True)

    tell(name=f"{args.how}, numpy {np.__version__}, scikit-learn {sklearn.__version__}", python=sys.executable,
         hardware=processor(), images=args.images, patients=int(patients.max()) + 1, extrapolated_by=factor)
    for command in sys.stdin:
        seconds = []
        for _ in range(int(command.split()[1])):
            start = time.perf_counter()
            work()
            seconds.append((time.perf_counter() - start) * factor)
        tell(seconds=seconds)


if __name__ == "__main__":
    main()
