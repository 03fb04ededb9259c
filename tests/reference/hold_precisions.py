#!/usr/bin/env python3
"""Holds `densetree trace` in fp32, tf32 and bf16 against stored float64 traces. Needs Python alone.

    hold_precisions.py --binary build/release/bin/densetree --device cuda [--shared ../shared] [--python WITH_TORCH]

fp32: losses, logits and evaluation logits within three times PyTorch's own float32 error or the floors, as on the CPU;
or, on other devices, within 1.5 times what the CPU is from float64 where every weight moves by one rounding, because a
gradient that is rounding alone falls to either side of zero, and Adam makes a whole step of it.
tf32, bf16: the first step's logits within 3e-3 or 3e-2 of the largest. Where an interpreter with torch is named they
may instead be as far from float64 as PyTorch's own in that precision on the same device, in each case, and over all
cases (geometric mean) have to be. One rounding more or less in the first layer moves a case by up to 1.8 times, so
single cases beyond their limit are to be read beside the mean. Every memory mode gives the same bits.

Cases are those beside this file, of which the three largest are left to the test program, and those of
SHARED/reference. Weights and batch come from the formula in torch_trace.py's header. Prints one line per measure; ends
with 1 where one is beyond its limit or a precision is refused.
"""
import argparse
import array
import json
import math
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PRECISIONS = ("fp32", "tf32", "bf16")
MEMORY = ("shared", "store", "recompute")
LIMITS = {"tf32": 3e-3, "bf16": 3e-2}
OF_NUDGED = 1.5
NUDGES = range(1, 33)
FLOORS = {"loss": 1e-6, "logits": 1e-5, "eval_logits": 1e-4}
NETWORKS = {"tiny": "growth=8,blocks=2-3-4-2,init=16", "densenet121": "growth=32,blocks=6-12-24-16,init=64"}
X, Y = 60000, 60001  # the batch's t
WORD = 2 ** 64 - 1


# ---- The formula

def uniform(seed, t, count):
    base = ((seed << 48) + (t << 32)) & WORD
    for i in range(count):
        x = (base + i + 0x9E3779B97F4A7C15) & WORD
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
        yield ((x ^ (x >> 31)) >> 11) * 2.0 ** -53


def state(growth, blocks, init, labels):
    """[name, shape] of every tensor in torchvision's order."""
    found = []

    def convolution(name, out, into, side):
        found.append((name + ".weight", (out, into, side, side)))

    def norm(name, channels):
        found.extend((f"{name}.{part}", (channels,)) for part in ("weight", "bias", "running_mean", "running_var"))
        found.append((name + ".num_batches_tracked", ()))

    convolution("features.conv0", init, 3, 7)
    norm("features.norm0", init)
    channels = init
    for b, layers in enumerate(blocks, 1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{b}.denselayer{layer}"
            norm(name + ".norm1", channels)
            convolution(name + ".conv1", 4 * growth, channels, 1)
            norm(name + ".norm2", 4 * growth)
            convolution(name + ".conv2", growth, 4 * growth, 3)
            channels += growth
        if b < len(blocks):
            norm(f"features.transition{b}.norm", channels)
            convolution(f"features.transition{b}.conv", channels // 2, channels, 1)
            channels //= 2
    norm("features.norm5", channels)
    found += [("classifier.weight", (labels, channels)), ("classifier.bias", (labels,))]
    return found


def initial_values(seed, t, name, shape):
    count = math.prod(shape)
    if name.endswith(("running_mean", "running_var")):
        return [float(name.endswith("var"))] * count
    if len(shape) == 1 and "norm" in name and name.endswith("weight"):
        return [0.5 + u for u in uniform(seed, t, count)]
    width = math.sqrt(6.0 / (count // shape[0])) if len(shape) > 1 else 0.1
    return [(2 * u - 1) * width for u in uniform(seed, t, count)]


# ---- Files

def write_safetensors(path, tensors):
    """tensors: name -> (type, shape, bytes)."""
    header, at = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


def read_tensors(path, wanted):
    """The values of those tensors whose name `wanted` accepts, one after another in a list."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        values = {}
        for name, info in header.items():
            if wanted(name):
                begin, end = info["data_offsets"]
                file.seek(8 + length + begin)
                values[name] = array.array({"F32": "f", "F64": "d", "I64": "q"}[info["dtype"]], file.read(end - begin))
    return values


def is_answer(name):
    return name.startswith(("step", "eval"))


# ---- Cases

class Case:
    """A stored trace: what was trained on what, and float64's answers."""

    def __init__(self, name, stored):
        a = stored["arguments"]
        network = a.get("arch") or a["model"]
        self.name, self.stored, self.arguments = name, stored, a
        self.arch = NETWORKS.get(network, network)
        growth, blocks, init = re.fullmatch(r"growth=(\d+),blocks=([\d-]+),init=(\d+)", self.arch).groups()
        self.growth, self.blocks, self.init = int(growth), [int(b) for b in blocks.split("-")], int(init)
        self.large = network == "densenet121"

    def want(self):
        """Tensors of the trace, of those that are stored."""
        steps = self.stored["logits"]
        flat = [v for row in steps for v in row]
        if len(flat) == self.arguments["batch"] * self.arguments["labels"]:  # a summary has the first step alone
            steps = [flat]
        found = {f"step{k}.logits": row for k, row in enumerate(steps)}
        found |= {f"step{k}.loss": [loss] for k, loss in enumerate(self.stored["loss"])}
        evaluated = self.stored["eval_logits"]
        nested = isinstance(evaluated[0], list)
        found["eval.logits"] = [v for row in evaluated for v in row] if nested else evaluated
        return found

    def write(self, folder, nudge=0):
        """Weights and batch; with a nudge, drawn from it, every weight one rounding up, down or where it is."""
        a = self.arguments
        drawn = random.Random(nudge)
        seed, labels = a["seed"], a["labels"]
        weights = {}
        for t, (name, shape) in enumerate(state(self.growth, self.blocks, self.init, labels)):
            if name.endswith("num_batches_tracked"):
                weights[name] = ("I64", (), bytes(8))
            else:
                values = array.array("f", initial_values(seed, t, name, shape))
                if nudge:
                    bits = array.array("I", values.tobytes())
                    values = array.array("I", (b + drawn.choice((-1, 0, 1)) if b else b for b in bits))
                weights[name] = ("F32", shape, values.tobytes())
        write_safetensors(folder / "weights.safetensors", weights)
        shape = (a["batch"], 3, a["size"], a["size"])
        x = array.array("f", (2 * u - 1 for u in uniform(seed, X, math.prod(shape))))
        y = array.array("f", (float(u < 0.3) for u in uniform(seed, Y, a["batch"] * labels)))
        write_safetensors(folder / "batch.safetensors", {"x": ("F32", shape, x.tobytes()),
                                                         "y": ("F32", (a["batch"], labels), y.tobytes())})


def find_cases(shared, names):
    files = {p.stem: p for p in sorted(HERE.glob("*.json"))}
    if shared:
        summaries = sorted((pathlib.Path(shared) / "reference").glob("*/summary.json"))
        files |= {"shared:" + p.parent.name: p for p in summaries}
    found = []
    for name, path in files.items():
        stored = json.loads(path.read_text())
        if "arguments" not in stored or (names and name not in names):
            continue
        if re.match("densenet(161|169|201)", str(stored["arguments"].get("arch"))):
            continue  # tens of millions of weights, one by one in Python
        found.append(Case(name, stored))
    unknown = set(names) - {case.name for case in found}
    if unknown:
        sys.exit(f"hold_precisions: error: no case {', '.join(sorted(unknown))}; there are {', '.join(files)}")
    return found


# ---- Holding

def far(got, want):
    """|difference| over the largest value wanted; the largest number there is where there is a NaN."""
    worst = max(abs(g - w) for g, w in zip(got, want, strict=True)) / max(map(abs, want))
    return worst if not any(map(math.isnan, got)) else sys.float_info.max


def measures(got, want):
    found = {"loss": 0.0, "logits": 0.0}
    for name, values in want.items():
        key = name.partition(".")[2] if name.startswith("step") else "eval_logits"
        found[key] = max(found.get(key, 0.0), far(got[name], values))
    return found


def run_trace(args, case, folder, precision, memory, device=None):
    """The trace's answers; or why the program refuses, as text."""
    a = case.arguments
    command = [args.binary, "trace", "--device", device or args.device, "--threads", str(args.threads),
               "--arch", case.arch, "--steps", str(a["steps"]), "--lr", repr(a["lr"]), "--loss", a["loss"],
               "--weights", str(folder / "weights.safetensors"), "--batch", str(folder / "batch.safetensors"),
               "--precision", precision, "--memory", memory,
               "--out", str(folder / "trace.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"
    return read_tensors(folder / "trace.safetensors", is_answer)


def torch_logits(args, cases, folders):
    """{(case, precision): PyTorch's first logits on this device}, empty where torch cannot be asked."""
    on_cuda = args.device.startswith("cuda")
    asked = [(case, p) for case in cases for p in LIMITS if p in args.precision.split(",") and (on_cuda or p == "bf16")]
    if not args.python or not asked:
        return {}
    jobs = [{"folder": str(folders[c.name]), "growth": c.growth, "blocks": c.blocks, "init": c.init,
             "labels": c.arguments["labels"], "precision": p} for c, p in asked]
    done = subprocess.run([args.python, str(HERE / "torch_logits.py"), "--device", args.device], input=json.dumps(jobs),
                          capture_output=True, text=True)
    if done.returncode != 0:
        print(f"PyTorch could not be asked: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return {}
    return {(c.name, p): logits for (c, p), logits in zip(asked, json.loads(done.stdout))}


def hold_reduced(case, got, precision, peer):
    want = case.want()["step0.logits"]
    error = far(got["step0.logits"], want)
    theirs = far(peer[case.name, precision], want) if (case.name, precision) in peer else None
    limit = max(LIMITS[precision], theirs or 0)
    return [{"measure": "logits of the first step", "error": error, "pytorch": theirs, "limit": limit,
             "good": error <= limit}]


def conditioning(args, case):
    """The farthest that each measure gets on the CPU with nudged weights."""
    farthest = {}
    for nudge in NUDGES:
        with tempfile.TemporaryDirectory() as work:
            folder = pathlib.Path(work)
            case.write(folder, nudge)
            got = run_trace(args, case, folder, "fp32", MEMORY[0], "cpu")
        if isinstance(got, str):
            sys.exit(f"hold_precisions: error: {case.name} with nudged weights on the CPU: {got}")
        for measure, error in measures(got, case.want()).items():
            farthest[measure] = max(farthest.get(measure, 0.0), error)
    return farthest


def hold_full(args, case, got):
    theirs = case.stored["pytorch_float32_error"]
    errors = measures(got, case.want())
    limits = {measure: max(3 * theirs[measure], FLOORS[measure]) for measure in errors}
    if args.device != "cpu" and not case.large and any(errors[measure] > limits[measure] for measure in errors):
        moved = conditioning(args, case)
        limits = {measure: max(limit, OF_NUDGED * moved[measure]) for measure, limit in limits.items()}
    found = []
    for measure, error in errors.items():
        limit = limits[measure]
        found.append({"measure": measure, "error": error, "pytorch": theirs[measure], "limit": limit,
                      "good": error <= limit})
    return found


def hold_case(args, case, folder, precision, peer):
    """A dict for each measure; and whether the memory modes agree in every bit."""
    first = None
    found = []
    for memory in MEMORY[:1] if case.large else MEMORY:
        got = run_trace(args, case, folder, precision, memory)
        if isinstance(got, str):
            return [{"measure": "trace", "refused": got, "good": False}]
        if first is None:
            first = got
            found = hold_full(args, case, got) if precision == "fp32" else hold_reduced(case, got, precision, peer)
        elif got != first:
            found.append({"measure": f"{memory} gives the bits of {MEMORY[0]}", "good": False})
    return found


def hold_all(args):
    """Yields a dict of case, precision, measure, error, limit, good for everything that is held."""
    with tempfile.TemporaryDirectory() as work:
        cases = find_cases(args.shared, args.cases)
        folders = {case.name: pathlib.Path(work) / str(i) for i, case in enumerate(cases)}
        for case in cases:
            folders[case.name].mkdir()
            case.write(folders[case.name])
        peer = torch_logits(args, cases, folders)
        for precision in args.precision.split(","):
            ratios = []
            for case in cases:
                held = hold_case(args, case, folders[case.name], precision, peer)
                if precision in LIMITS and held[0].get("pytorch"):
                    ratios.append(held[0]["error"] / held[0]["pytorch"])
                yield from ({"case": case.name, "precision": precision, **one} for one in held)
                if "refused" in held[0]:
                    break  # the precision is, not the case
            if ratios:
                mean = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
                yield {"case": "all", "precision": precision, "measure": "error over PyTorch's", "error": mean,
                       "pytorch": 1.0, "limit": 1.0, "good": mean <= 1}


def line(one):
    start = f"{one['case']:22} {one['precision']:5} {one['measure']:26}"
    if "refused" in one:
        return f"{start} REFUSED: {one['refused']}"
    if "error" not in one:
        return f"{start} DIFFERENT"
    theirs = "-" if one["pytorch"] is None else f"{one['pytorch']:.2e}"
    verdict = "" if one["good"] else "BEYOND"
    return f"{start} {one['error']:9.2e}  PyTorch {theirs:>9}  limit {one['limit']:9.2e}  {verdict}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", required=True)
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=0, help="of the program; 0: all cores")
    p.add_argument("--precision", default=",".join(PRECISIONS), help="after commas")
    p.add_argument("--shared", help="the folder that holds reference/")
    p.add_argument("--python", help="an interpreter with torch, for its own tf32 and bf16 on this device")
    p.add_argument("--json", help="write everything here, one object a line")
    p.add_argument("cases", nargs="*", metavar="CASE", help="all by default")
    args = p.parse_args()
    good = True
    with open(args.json or "/dev/null", "w") as file:
        for one in hold_all(args):
            good &= one["good"]
            print(line(one), flush=True)
            file.write(json.dumps(one) + "\n")
            file.flush()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
