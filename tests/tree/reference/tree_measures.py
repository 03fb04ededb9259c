"""What a threshold does to answers, and whether probabilities mean what they say: the measures of the tree method in
plain NumPy, by their definitions. None stands for what is undefined. Beside tree_method.py, which has the rest."""
import numpy as np
from tree_method import FALSE, TRUE, UNKNOWN, WITHDRAWN, climb, frontier


def ratio(a, b):
    return float(a) / float(b) if b else None


def auroc(scores, truth):
    """Share of pairs of a true and a false image that the scores order rightly; ties count half."""
    true, false = scores[truth == TRUE], scores[truth == FALSE]
    if not len(true) or not len(false):
        return None
    won = (true[:, None] > false[None, :]).sum() + 0.5 * (true[:, None] == false[None, :]).sum()
    return float(won) / (len(true) * len(false))


# ---- Answers at thresholds -----------------------------------------------------------------------------------------

def reports(shown, right, found, true_leaves):
    """shown, right: (·, N), what is reported, and of that what is true. found, true_leaves: (L, N)."""
    return {"coverage": float(shown.any(axis=0).mean()), "reported": int(shown.sum()), "right": int(right.sum()),
            "precision": ratio(right.sum(), shown.sum()), "recall": ratio(found.sum(), true_leaves.sum())}


def hierarchical(tree, shown, truth):
    """Precision, recall and F of ancestor-closed sets without the root. Nodes of unknown truth do not count."""
    closed = shown.copy()
    for node in range(len(tree.names)):
        for ancestor in tree.ancestors(node):
            closed[ancestor] |= shown[node]
    closed, true, known = closed[:-1], truth[:-1] == TRUE, truth[:-1] != UNKNOWN
    both, given, wanted = (closed & true).sum(), (closed & known).sum(), true.sum()
    precision, recall = ratio(both, given), ratio(both, wanted)
    f = None
    if precision is not None and recall is not None:
        f = 2 * precision * recall / (precision + recall) if both else 0.0
    return precision, recall, f


def auc_at(confidence, truth, threshold):
    known = truth != UNKNOWN
    kept = known & (np.maximum(confidence, 1 - confidence) >= threshold)
    return {"auroc": auroc(confidence[kept], truth[kept]), "coverage": ratio(kept.sum(), known.sum()) or 0.0,
            "images": int(kept.sum()), "positives": int((truth[kept] == TRUE).sum())}


def at(tree, confidence, truth, thresholds):
    """confidence, truth: (V, N). thresholds: V."""
    leaves = range(len(tree.labels))
    certain = confidence >= thresholds[:, None]
    ends, shown = climb(tree, certain), frontier(tree, certain)
    true_leaves = truth[leaves] == TRUE
    covered = np.array([shown[[leaf, *tree.ancestors(leaf)]].any(axis=0) for leaf in leaves])
    known, right = truth != UNKNOWN, truth == TRUE
    total = true_leaves.sum()
    itself = ends == np.arange(len(leaves))[:, None]
    nowhere = ends == WITHDRAWN
    precision, recall, f = hierarchical(tree, shown, truth)
    return {
        "thresholds": thresholds, "climb": ends, "frontier_nodes": shown.astype(int),
        "leaf": reports((certain & known)[leaves], (certain & right)[leaves], certain[leaves] & true_leaves,
                        true_leaves),
        "frontier": reports(shown & known, shown & right, covered & true_leaves, true_leaves),
        "true_leaves": int(total), "persist": ratio((itself & true_leaves).sum(), total),
        "soften": ratio((~itself & ~nowhere & true_leaves).sum(), total),
        "withdrawn": ratio((nowhere & true_leaves).sum(), total), "hierarchical_precision": precision,
        "hierarchical_recall": recall, "hierarchical_f": f,
        "auc_at_t": [auc_at(confidence[leaf], truth[leaf], thresholds[leaf]) for leaf in leaves]}


# ---- Reliability of one node ---------------------------------------------------------------------------------------

def calibration_error(probability, true, bin_of):
    """Mean over images of |share of true images − mean probability| in the image's bin."""
    error = 0.0
    for number in np.unique(bin_of):
        inside = bin_of == number
        error += inside.mean() * abs(true[inside].mean() - probability[inside].mean())
    return float(error)


def equal_mass(probability, bins=15):
    """Images by rising probability, cut at ⌊k·n/bins⌋; equal ones go with the first of them."""
    n = len(probability)
    cuts = np.array([k * n // bins for k in range(1, bins)])
    first = np.array([(probability < p).sum() for p in probability])  # place of the first of its equals
    return np.array([(cuts <= place).sum() for place in first])


def risk_coverage(probability, true):
    """Mean over i of the error among the i most confident, and of their errors / n; ties spread their errors."""
    confidence = np.maximum(probability, 1 - probability)
    wrong = (probability >= 0.5) != true
    errors = []  # among the i most confident
    for level in sorted(set(confidence), reverse=True):
        block = wrong[confidence == level]
        before = errors[-1] if errors else 0.0
        errors += [before + block.sum() * (j + 1) / len(block) for j in range(len(block))]
    errors, n = np.array(errors), len(errors)
    return float(np.mean(errors / np.arange(1, n + 1))), float(np.mean(errors / n))


def reliability(probability, truth, bins=15):
    known = truth != UNKNOWN
    if not known.any():
        return {"ece": None, "ece_equal_mass": None, "brier": None, "aurc": None, "augrc": None}
    p, true = probability[known], truth[known] == TRUE
    aurc, augrc = risk_coverage(p, true)
    width = np.minimum(np.floor(bins * p).astype(int), bins - 1)
    return {"ece": calibration_error(p, true, width), "ece_equal_mass": calibration_error(p, true, equal_mass(p, bins)),
            "brier": float(np.mean((p - true) ** 2)), "aurc": aurc, "augrc": augrc}
