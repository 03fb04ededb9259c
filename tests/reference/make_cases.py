#!/usr/bin/env python3
"""Writes tests/reference/<case>.json: what the test program holds a trace against where PyTorch is not at hand.

    /usr/bin/python3 tests/reference/make_cases.py [--script torch_trace.py] [--out FOLDER] [CASE…]

Needs PyTorch and torchvision. A whole trace is tens of megabytes; a case keeps, of the float64 one,

  loss, logits, eval_logits   all of them, logits of every step
  grad        for each parameter in the state's order [l2, p0, p1, p2, p3]: its norm, and its sums with four sequences
              of random signs. For any two gradients the squared difference of such sums has the squared distance of
              the gradients as its expectation, so together they measure the distance without the gradients
  final       every stride-th element of all parameters in the state's order, laid end to end, after the last step
  running     for each running statistic in the state's order [largest |value|, then up to six of its elements, evenly
              spaced from the first]
  edge        how close the float64 run comes to where rounding decides, see cases.py
  pytorch_float32_error       torch_trace.py's error() of PyTorch's own float32 run, over everything

Signs of tensor t (its place in the state, counters included), element i: bits 60 to 63 of splitmix64(t * 2^32 + i),
set for minus.
"""
import argparse
import json
import pathlib

import cases
import numpy as np

SAMPLES = 3000  # of the final parameters, about
SPOTS = 6       # of each running statistic


def sketch(torch_trace, t, gradient):
    with np.errstate(over="ignore"):
        bits = torch_trace.splitmix64(np.uint64(t << 32) + np.arange(gradient.size, dtype=np.uint64))
    flat = gradient.ravel()
    signs = [1.0 - 2.0 * ((bits >> np.uint64(60 + j)) & np.uint64(1)).astype(np.float64) for j in range(4)]
    sums = [float((flat * sign).sum()) for sign in signs]
    return [float(np.linalg.norm(flat))] + sums


def spots(values):
    step = max(1, values.size // SPOTS)
    return [float(np.abs(values).max())] + [float(v) for v in values[::step][:SPOTS]]


def summary(torch_trace, a, state, trace, single, edge):
    names = list(state)
    parameters = [n for n in names if "grad." + n in trace]
    laid = np.concatenate([trace["final." + n].ravel() for n in parameters])
    stride = max(1, laid.size // SAMPLES)
    return {
        "arguments": {**vars(a), "arch": cases.architecture(a)},
        "loss": [float(trace[f"step{k}.loss"][0]) for k in range(a.steps)],
        "logits": [trace[f"step{k}.logits"].ravel().tolist() for k in range(a.steps)],
        "eval_logits": trace["eval.logits"].ravel().tolist(),
        "grad": [sketch(torch_trace, names.index(n), trace["grad." + n]) for n in parameters],
        "stride": stride,
        "final": laid[::stride].tolist(),
        "running": [spots(trace["final." + n]) for n in names if "running" in n],
        "edge": edge,
        "pytorch_float32_error": torch_trace.error(single, trace, a.steps, a.lr),
    }


def rounded(value):
    """Nine significant digits: well below float32's own rounding."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--script", default=cases.shared_script(), help="where torch_trace.py is")
    p.add_argument("--out", default=pathlib.Path(__file__).parent, type=pathlib.Path)
    p.add_argument("cases", nargs="*", metavar="CASE")
    a = p.parse_args()
    torch_trace = cases.load_torch_trace(a.script)
    for name in a.cases or cases.CASES:
        state, _, _, trace, single, edge = cases.traces(torch_trace, cases.CASES[name])
        result = summary(torch_trace, cases.CASES[name], state, trace, single, edge)
        path = a.out / f"{name}.json"
        path.write_text(json.dumps(rounded(result), separators=(",", ":")) + "\n")
        error = json.dumps(result["pytorch_float32_error"])
        print(f"{path}: {path.stat().st_size} bytes, edge {edge:.1e}, {error}", flush=True)


if __name__ == "__main__":
    main()
