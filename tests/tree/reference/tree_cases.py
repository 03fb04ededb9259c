"""Small random cases of the tree method, with what comes out of them by tree_method.py and tree_measures.py.

They hold what goes wrong first: tied scores, missing truths, nodes that are always or never true, trees that are deep
or flat, thresholds that equal a posterior. Scores have few digits, which keeps the file small."""
import json
import pathlib

import numpy as np
import tree_measures
from tree_method import Tree, apply_fit, fit, node_priors, node_truths, pool

AIRSPACE = 'Airspace_Opacity = ["Consolidation", "Pneumonia", "Infiltration", "Edema", "Atelectasis"]\n'
CHRONIC = 'Chronic_Lung = ["Emphysema", "Fibrosis"]\n'
PLEURA = 'Pleura = ["Effusion", "Pleural_Thickening", "Pneumothorax"]\n'
TREE_14 = ('[tree]\nAbnormal = ["Lung", "Pleura", "Mediastinum"]\n'
           'Lung = ["Airspace_Opacity", "Lung_Lesion", "Chronic_Lung"]\n' + AIRSPACE +
           'Lung_Lesion = ["Nodule", "Mass"]\n' + CHRONIC + PLEURA + 'Mediastinum = ["Cardiomegaly", "Hernia"]\n')
LABELS_13 = ["Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Nodule", "Pneumonia", "Pneumothorax",
             "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening"]
TREE_13 = ("[labels]\n" + "".join(f'{label} = ["{label}"]\n' for label in LABELS_13) +
           'Mass_Hernia = ["Mass", "Hernia"]\n\n[tree]\n'
           'Abnormal = ["Lung", "Pleura", "Cardiomegaly", "Mass_Hernia"]\n'
           'Lung = ["Airspace_Opacity", "Nodule", "Chronic_Lung"]\n' + AIRSPACE + CHRONIC + PLEURA)
# A chain, its nodes in the file from the bottom up, its labels in no order.
DEEP = ('[labels]\nNodule = ["Nodule"]\nEdema = ["Edema"]\nAir = ["Pneumothorax", "Emphysema"]\nMass = ["Mass"]\n'
        'Cardiomegaly = ["Cardiomegaly"]\n\n[tree]\nFourth = ["Mass", "Edema"]\nThird = ["Nodule", "Fourth"]\n'
        'Second = ["Third", "Cardiomegaly"]\nFirst = ["Air", "Second"]\n')
FLAT = ('[labels]\nMass = ["Mass"]\nHernia = ["Hernia"]\nEdema = ["Edema"]\nFibrosis = ["Fibrosis"]\n\n[tree]\n'
        'Any = ["Mass", "Hernia", "Edema", "Fibrosis"]\n')
PAIR = '[labels]\nMass = ["Mass"]\nNodule = ["Nodule"]\n\n[tree]\nLesion = ["Nodule", "Mass"]\n'


def settings(binning="quantile", bins=50, alpha=1.0, prior="data", pooling="noisy-or", monotone=True, **priors):
    return {"binning": binning, "bins": bins, "alpha": alpha, "prior": prior, "pooling": pooling, "monotone": monotone,
            "node_priors": priors}


# name, tree, images, settings, distinct scores between 0 and 1, share of missing truths, columns set to a value
CASES = [
    ("defaults", TREE_14, 300, settings(), 10000, 0.0, {}),
    ("paper", TREE_13, 150, settings("uniform", 10, 0.0, pooling="sum", monotone=False), 10000, 0.0, {}),
    ("missing", TREE_14, 130, settings(bins=7, alpha=2.5, prior="equal", pooling="max"), 1000, 0.2, {}),
    ("ties-deep", DEEP, 90, settings(alpha=0.0, First=0.5, Mass=0.02, Third=0.9), 12, 0.1, {}),
    ("fine-uniform", TREE_13, 120, settings("uniform", 37, 1.0, monotone=False, Lung=0.25), 1000, 0.05, {}),
    ("one-sided", FLAT, 60, settings(bins=9), 100, 0.1, {0: 1.0, 1: 0.0, 3: np.nan}),
    ("one-sided-unsmoothed", FLAT, 60, settings("uniform", 8, 0.0, "equal", "sum"), 100, 0.1,
     {0: 0.0, 1: 0.0, 2: 0.0, 3: np.nan}),
    ("more-bins-than-images", DEEP, 40, settings(bins=64, alpha=2.5, pooling="sum", monotone=False), 1000, 0.1, {}),
    ("one-bin", PAIR, 40, settings(bins=1, prior="equal"), 20, 0.0, {}),
]


def draw(random, tree, images, levels, missing, columns):
    labels = len(tree.labels)
    shares = random.uniform(0.3, 1, labels) * 1.2 / labels
    targets = (random.random((images, labels)) < shares).astype(float)
    logits = -2.5 + 2.5 * targets + random.normal(0, 1.2, (images, labels))
    scores = np.round(levels / (1 + np.exp(-logits))) / levels
    scores[0], scores[1] = 0, 1  # the ends of the range
    targets[random.random((images, labels)) < missing] = np.nan
    for label, value in columns.items():
        targets[:, label] = value
    return scores, targets


def choose_thresholds(random, confidence):
    """The same for all nodes; and for each node another, mostly one of its posteriors, 0, or infinity."""
    nodes = len(confidence)
    own = np.array([random.choice(confidence[v]) for v in range(nodes)])
    own[random.random(nodes) < 0.1] = np.inf
    own[random.random(nodes) < 0.05] = 0
    return [np.full(nodes, 0.5), np.full(nodes, 0.8), own]


def make(number, name, toml, images, chosen, levels, missing, columns):
    random = np.random.default_rng(number)
    tree = Tree(toml)
    scores, targets = draw(random, tree, images, levels, missing, columns)
    pooled, truth = pool(tree, scores, chosen["pooling"]), node_truths(tree, targets)
    fitted = fit(tree, pooled, truth, chosen)
    confidence = apply_fit(pooled, fitted, chosen)
    return {
        "name": name, "tree": toml, "labels": tree.labels, "nodes": tree.names, "settings": chosen,
        "priors": node_priors(tree, chosen), "scores": scores, "targets": targets,
        "expected": {
            "scores": pooled, "truths": truth, "fit": dict(zip(tree.names, fitted)), "posteriors": confidence,
            "at": [tree_measures.at(tree, confidence, truth, t) for t in choose_thresholds(random, confidence)],
            "reliability": [tree_measures.reliability(confidence[v], truth[v]) for v in range(len(tree.names))]}}


def plain(value):
    """As JSON has it: NaN and infinity are null, whole numbers have no point."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return None if not np.isfinite(value) else int(value) if value == int(value) else float(value)
    return int(value) if isinstance(value, np.integer) else value


def text(value):
    """JSON with a line for each entry of what is large, and for each row of a table."""
    compact = json.dumps(value, separators=(",", ":"))
    row = not isinstance(value, dict) and not (isinstance(value, list) and isinstance(value[0], (list, dict)))
    if len(compact) < 120 or row:
        return compact
    if isinstance(value, dict):
        return "{\n" + ",\n".join(f"{json.dumps(key)}: {text(entry)}" for key, entry in value.items()) + "\n}"
    return "[\n" + ",\n".join(map(text, value)) + "\n]"


def write(path):
    cases = [make(number, *case) for number, case in enumerate(CASES)]
    pathlib.Path(path).write_text(text(plain({"cases": cases})) + "\n")
