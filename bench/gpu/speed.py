"""The stage of benchmarks: this engine and PyTorch beside it, the layers, the label tree, and what the card can do.

What tells most comes first, because the stage may be stopped at its limit.
"""
import json
import os
import re
import sys

from machine import cards

PROGRAMS = ("bench_step", "bench_memory_recompute", "bench_layers", "bench_tree")
MEMORY = ("shared", "store", "recompute")
TUNED = {"DENSETREE_AUTOTUNE": "1"}  # PyTorch chooses its convolutions by timing them, too
MIB = 1 << 20


class Sizes:
    """What is measured: the issue's size on a GPU, and something small to see that the scripts work."""

    def __init__(self, quick):
        self.arch = "densenet121"
        self.batch, self.image = (2, 64) if quick else (128, 224)
        self.steps, self.rounds = (2, 2) if quick else (20, 10)
        self.layers = ("--benchmark_filter=ceiling/copy", "--benchmark_min_time=0.01") if quick else ()
        self.tree = ("--images", "3000", "--draws", "10", "--benchmark_min_time=0.01") if quick else ("--draws", "200")
        self.depths = (("--arch", "growth=16,blocks=2-2,init=32", "--batch-size", "2", "--image-size", "64",
                        "--rounds", "2") if quick else ("--batch-size", "32", "--rounds", "10"))
        self.ceilings = ("--bytes", str(64 * MIB), "--side", "1024") if quick else ()

    def flags(self):
        return ("--arch", self.arch, "--batch-size", self.batch, "--image-size", self.image)


def precision_flags(stage, name, available):
    """{precision: flags} of those that the program has on this device and its benchmark can be asked for."""
    asked = "--precision" in stage.run(stage.program(name), "--help").stdout
    found = {}
    for precision in available:
        if asked or precision == "fp32":
            found[precision] = ("--precision", precision) if precision != "fp32" else ()
        else:
            stage.skip(f"{name} in {precision}", f"{name} has no --precision")
    return found


def google(stage, what, *command, **more):
    """Runs a Google Benchmark program; its rows by name, and the whole report in OUT/bench."""
    done = stage.run(*command, "--benchmark_format=json", **more)
    if not stage.check(what, done.returncode == 0, done.stderr.strip()[-300:] if done.returncode else ""):
        return {}
    report = json.loads(done.stdout)
    (stage.out / "bench" / f"{what.replace(' ', '-')}.json").write_text(json.dumps(report, indent=1) + "\n")
    return {row["name"].replace("/real_time", ""): row for row in report["benchmarks"]}


# ---- Beside PyTorch

def compare(stage, sizes, what, precision, *more):
    name = "-".join(["compare", what, precision, *(flag.strip("-") for flag in more)])
    report = stage.out / "bench" / f"{name}.json"
    done = stage.run(sys.executable, "-B", stage.root / "bench/compare_step.py", "--what", what, "--precision", precision,
                     "--device", stage.device, "--python", stage.settings.python, "--bench-step",
                     stage.program("bench_step"), "--memory", ",".join(MEMORY), *sizes.flags(), "--rounds", sizes.rounds,
                     "--warmup", "1" if stage.quick else "5", "--out", report, *more,
                     env=os.environ | TUNED)
    if not stage.check(name, done.returncode == 0, done.stderr.strip()[-300:] if done.returncode else ""):
        return
    found = json.loads(report.read_text())
    keys = ("name", "seconds_median", "seconds_min", "seconds_max", "images_per_second", "peak_bytes", "step_bytes",
            "card_bytes")
    stage.figure(name, {"ratios": found["ratios"], "left_out": found["left_out"],
                        "contestants": [{key: one[key] for key in keys} for one in found["results"]]})


def compare_all(stage, sizes, precisions):
    if not stage.settings.python:
        return stage.skip("beside PyTorch", "no interpreter with torch was found; name one with --python")
    for precision in precisions:
        compare(stage, sizes, "train", precision)
    for precision in precisions:
        compare(stage, sizes, "infer", precision)


def compare_compiled(stage, sizes, precisions):
    """Last of all: torch.compile takes minutes before its first step."""
    if stage.settings.python and stage.on_gpu and not stage.quick:
        for precision in precisions:
            compare(stage, sizes, "train", precision, "--compile")


# ---- This engine

def time_steps(stage, sizes, precisions):
    for precision, flags in precisions.items():
        for memory in MEMORY:
            note_steps(stage, sizes, precision, memory, flags)
        if stage.on_gpu:
            note_steps(stage, sizes, precision, MEMORY[0], flags, "tuned", env=os.environ | TUNED)
        note_steps(stage, sizes, precision, MEMORY[0], (*flags, "--batch-norm", "fused"), "fused")


def note_steps(stage, sizes, precision, memory, flags, *how, **more):
    """bench_step's training and, in the first memory mode, its inference."""
    found = google(stage, " ".join(["step", precision, memory, *how]), stage.program("bench_step"), "--device",
                   stage.device, "--memory", memory, *sizes.flags(), "--steps", sizes.steps, *flags, **more)
    for name, row in found.items():
        what = name.partition("/")[0]
        if what == "train" or memory == MEMORY[0]:
            stage.figure(".".join([what, precision, *([memory] if what == "train" else []), *how]),
                         {"images_per_second": row["images"], "milliseconds": row["real_time"],
                          "plan_bytes": row["plan_bytes"], "convolution_share": row["convolution_share"]})


def parse_profile(text):
    """[{kind, calls, ms, share, gflops, gbps}] and the whole milliseconds of each table bench_step --profile prints."""
    tables = []
    for line in text.splitlines():
        kind, numbers = line[:32].strip(), line[32:].split()
        if re.match(r"(train|infer)/", line):
            tables.append({"title": line.strip(), "rows": [], "milliseconds": None})
        elif kind == "total":
            tables[-1]["milliseconds"] = float(numbers[0])
        elif len(numbers) == 5 and tables and numbers[0].isdigit():
            calls, ms, share, gflops, gbps = (float(number.rstrip("%")) for number in numbers)
            tables[-1]["rows"].append({"kind": kind, "calls": int(calls), "ms": ms, "share": share / 100,
                                       "gflops": gflops, "gbps": gbps})
    return tables


def profile(stage, sizes, precisions):
    """Where a step's time goes, and the bytes/s and FLOP/s of all of it."""
    for precision, flags in precisions.items():
        done = stage.run(stage.program("bench_step"), "--profile", "--device", stage.device, *sizes.flags(), "--steps",
                         "2" if stage.quick else "5", *flags)
        if not stage.check(f"profile {precision}", done.returncode == 0, done.stderr.strip()[-300:]):
            continue
        (stage.out / "bench" / f"profile-{precision}.txt").write_text(done.stdout)
        for table in parse_profile(done.stdout):
            what = table["title"].partition("/")[0]
            total = table["milliseconds"]
            stage.figure(f"profile.{what}.{precision}", {
                "milliseconds": total, "rows": table["rows"],
                "bytes_per_second": 1e9 * sum(row["gbps"] * row["ms"] for row in table["rows"]) / total,
                "flops": 1e9 * sum(row["gflops"] * row["ms"] for row in table["rows"]) / total})


def memory_modes(stage, sizes, precisions):
    """What each memory mode saves and costs as networks get deeper."""
    for precision in precisions:
        report = stage.out / "bench" / f"memory-recompute-{precision}.json"
        done = stage.run(stage.program("bench_memory_recompute"), "--device", stage.device, "--precision", precision,
                         *sizes.depths, "--out", report)
        if stage.check(f"memory modes {precision}", done.returncode == 0, done.stderr.strip()[-300:]):
            stage.figure(f"memory_modes.{precision}", json.loads(report.read_text())["rows"])


def time_layers(stage, sizes, available):
    for precision, flags in precision_flags(stage, "bench_layers", available).items():
        found = google(stage, f"layers {precision}", stage.program("bench_layers"), "--device", stage.device,
                       "--batch-size", sizes.batch, *sizes.layers, *flags)
        ceiling = found.get("ceiling/copy", {}).get("bytes")
        stage.figure(f"layers.{precision}", {name: {
            "milliseconds": row["real_time"], "bytes_per_second": row.get("bytes"), "flops": row.get("FLOP"),
            "of_copy": row["bytes"] / ceiling if ceiling and "bytes" in row else None} for name, row in found.items()})


def time_tree(stage, sizes):
    rows = google(stage, "tree", stage.program("bench_tree"), "--device", stage.device, *sizes.tree)
    stage.figure("tree", {name: row["real_time"] for name, row in rows.items()})


def free_memory(stage):
    """Bytes to plan for: what the card has free, less a twentieth for contexts; on the CPU 4 GiB."""
    found = cards() if stage.on_gpu else []
    index = int(stage.device.partition(":")[2] or 0)
    return int(float(found[index]["memory.free"].split()[0]) * MIB * 0.95) if len(found) > index else 4 << 30


def largest_batches(stage, sizes, available):
    budget = free_memory(stage)
    stage.figure("budget_bytes", budget)
    for precision in available:
        for memory in MEMORY:
            done = stage.run(stage.program("densetree"), "plan", "--arch", sizes.arch, "--batch-size", "1",
                             "--image-size", sizes.image, "--memory", memory, "--precision", precision, "--budget",
                             budget, "--json", "--device", stage.device)
            if stage.check(f"plan {precision} {memory}", done.returncode == 0, done.stderr.strip()[-300:]):
                stage.figure(f"largest_batch.{precision}.{memory}", json.loads(done.stdout)["largest_batch"])


def ceilings(stage, sizes):
    if not stage.on_gpu or not stage.settings.python:
        return stage.skip("ceilings by PyTorch", "needs a GPU, and torch")
    done = stage.run(stage.settings.python, "-B", stage.root / "bench/torch_ceilings.py", *sizes.ceilings,
                     env=os.environ | {"CUDA_VISIBLE_DEVICES": stage.device.partition(":")[2] or "0"})
    if stage.check("ceilings by PyTorch", done.returncode == 0, done.stderr.strip()[-300:]):
        stage.figure("ceilings", json.loads(done.stdout.strip().splitlines()[-1]))


def benchmarks(stage):
    (stage.out / "bench").mkdir(exist_ok=True)
    sizes = Sizes(stage.quick)
    missing = [name for name in PROGRAMS if not stage.program(name).exists()]
    if not stage.check("the benchmark programs are there", not missing, missing):
        return
    available = list(stage.precisions())
    precisions = precision_flags(stage, "bench_step", available)
    ceilings(stage, sizes)
    compare_all(stage, sizes, precisions)
    profile(stage, sizes, precisions)
    time_steps(stage, sizes, precisions)
    memory_modes(stage, sizes, precisions)
    largest_batches(stage, sizes, available)
    time_layers(stage, sizes, available)
    time_tree(stage, sizes)
    compare_compiled(stage, sizes, precisions)
