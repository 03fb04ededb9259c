"""Stages that measure: whole steps beside PyTorch, kernels one by one, the label tree, and what the card can do."""
import csv
import gzip
import json
import os
import re
import shutil
import subprocess
import sys

from machine import cards
from stage import why_failed

MEMORY = ("shared", "store", "recompute")
TUNED = {"DENSETREE_AUTOTUNE": "1"}  # PyTorch chooses its convolutions by timing them, too
MIB = 1 << 20


class Sizes:
    """What is measured: the issue's size on a GPU, and something small to see that the scripts work."""

    def __init__(self, stage):
        quick = stage.quick or not stage.on_gpu
        self.arch = "densenet121"
        self.batch, self.image = (2, 64) if quick else (128, 224)
        self.precision = "bf16" if stage.on_gpu else "fp32"
        self.rounds, self.turn = (2, 2) if quick else (6, 10)
        self.layers = ("--benchmark_filter=ceiling/copy", "--benchmark_min_time=0.01") if quick else ()
        self.tree = (("--images", "3000", "--benchmark_min_time=0.01") if quick else ("--benchmark_min_time=0.3",))
        self.depths = (("--arch", "growth=16,blocks=2-2,init=32", "--batch-size", "2", "--image-size", "64",
                        "--rounds", "2") if quick else ("--batch-size", "32", "--rounds", "10"))
        self.ceilings = ("--bytes", str(64 * MIB), "--side", "1024") if quick else ("--bytes", str(2048 * MIB))

    def flags(self):
        return ("--arch", self.arch, "--batch-size", self.batch, "--image-size", self.image)


def google(stage, what, *command, **more):
    """Runs a Google Benchmark program; its rows by name, and the whole report in the results."""
    done = stage.run(*command, "--benchmark_format=json", **more)
    if not stage.check(what, done.returncode == 0, why_failed(done)):
        return {}
    report = json.loads(done.stdout)
    (stage.out / "bench" / f"{what.replace(' ', '-')}.json").write_text(json.dumps(report, indent=1) + "\n")
    return {row["name"].replace("/real_time", "").replace("/manual_time", ""): row for row in report["benchmarks"]}


# ---- Beside PyTorch

def compare(stage, name, what, precision, *more):
    """compare_step.py; what it had measured is noted even where it has to be stopped."""
    sizes = Sizes(stage)
    report = stage.out / "bench" / f"compare-{name}.json"
    report.unlink(missing_ok=True)
    try:
        done = stage.run(sys.executable, "-B", stage.root / "bench/compare_step.py", "--what", what, "--precision", precision,
                         "--device", stage.device, "--python", stage.settings.python, "--bench-step",
                         stage.program("bench_step"), *sizes.flags(), "--rounds", sizes.rounds, "--turn", sizes.turn,
                         "--warmup", "5", "--out", report, *more, limit=stage.left())
        said = why_failed(done)
    except subprocess.TimeoutExpired:
        said = "was not through in time"
    if not stage.check(f"compare {name}", report.exists(), said):
        return
    found = json.loads(report.read_text())
    keys = ("name", "seconds_median", "seconds_min", "seconds_max", "images_per_second", "peak_bytes", "step_bytes",
            "card_bytes")
    stage.figure(f"compare-{name}", {"ratios": found["ratios"], "left_out": found["left_out"], "rounds": found["rounds"],
                                     "contestants": [{key: one[key] for key in keys} for one in found["results"]]})
    stage.check(f"everyone ran: {name}", not found["left_out"], "; ".join(found["left_out"]))


def needs_torch(stage):
    if not stage.settings.python:
        stage.skip_all("no interpreter with torch was found; name one with --python")
    return bool(stage.settings.python)


def own(stage):
    """Without a peer: the training step in each memory mode."""
    sizes = Sizes(stage)
    for memory in MEMORY:
        found = google(stage, f"step {memory}", stage.program("bench_step"), "--device", stage.device, "--memory", memory,
                       "--precision", sizes.precision, *sizes.flags(), "--steps", sizes.turn)
        for name, row in found.items():
            stage.figure(name, {"images_per_second": row["images"], "milliseconds": row["real_time"],
                                "plan_bytes": row["plan_bytes"]})


def step(stage):
    if not stage.settings.python:
        return own(stage)
    compare(stage, "train", "train", Sizes(stage).precision, "--memory", "store,shared,recompute", "--peers",
            "channels_last", "--limit", "60")


def fused(stage):
    """cuDNN's fused kernels, each of which it compiles first."""
    if needs_torch(stage):
        compare(stage, "train-fused", "train", Sizes(stage).precision, "--memory", "shared/fused,shared", "--peers",
                "channels_last", "--limit", "80")


def inference(stage):
    if needs_torch(stage):
        for precision in stage.precisions():
            compare(stage, f"infer-{precision}", "infer", precision, "--memory", "shared", "--peers", "channels_last")


def precisions(stage):
    if needs_torch(stage):
        for precision in stage.precisions():
            peers = ("--peers", "channels_last") if precision != "bf16" else ()
            compare(stage, f"train-{precision}", "train", precision, "--memory", ",".join(MEMORY), *peers)


def compiled(stage):
    if not needs_torch(stage):
        return
    if stage.run(stage.settings.python, "-c", "import torch; torch.compile").returncode != 0:
        stage.lacking("torch.compile", f"{stage.settings.python} has a PyTorch before 2.0, which cannot compile")
    else:
        compare(stage, "train-compile", "train", Sizes(stage).precision, "--memory", "store", "--peers", "channels_last",
                "--compile")


# ---- Kernels one by one

def short(name):
    """A kernel's name without its argument list and namespaces."""
    name = re.sub(r"densetree::(\(anonymous namespace\)::|cuda::)*|\(anonymous namespace\)::|^void ", "", name)
    return re.sub(r"\(.*", "", name)[:100]


def last_step(rows, mark="adam"):
    """Of a list of kernels, those of the last whole step: after a launch of `mark` up to the next."""
    ends = [i for i, row in enumerate(rows) if mark in row["name"]]
    return rows[ends[-2] + 1:ends[-1] + 1] if len(ends) > 1 else []


def by_kernel(rows):
    """[{kernel, calls, ms, share, median_us, registers}], the longest first."""
    found = {}
    for row in rows:
        found.setdefault(short(row["name"]), []).append(row)
    whole = sum(int(row["nanoseconds"]) for row in rows)
    table = []
    for kernel, same in found.items():
        spent = sorted(int(row["nanoseconds"]) for row in same)
        table.append({"kernel": kernel, "calls": len(same), "ms": sum(spent) / 1e6, "share": sum(spent) / whole,
                      "median_us": spent[len(spent) // 2] / 1e3, "registers": max(int(row["registers"]) for row in same)})
    return sorted(table, key=lambda row: -row["ms"])


def run_steps(stage, command, steps, **more):
    """Whether bench_step --worker ran so many steps, and what it said last."""
    try:
        done = stage.run(*command, given=f"run {steps}\n", limit=stage.left(), **more)
        return done.returncode == 0, (done.stderr.strip().splitlines() or ["no word"])[-1]
    except subprocess.TimeoutExpired:
        return False, "was not through in time"


def kernel_times(stage, way):
    """Every kernel of one captured step at its own speed, through CUPTI."""
    injected = stage.build / "lib/libkernel_times.so"
    if not injected.exists():
        return stage.skip(f"kernel times of {way}", f"there is no {injected.name} in the build")
    sizes = Sizes(stage)
    memory, _, batch_norm = way.partition("/")
    times = stage.work / "times.csv"
    times.unlink(missing_ok=True)
    command = [stage.program("bench_step"), "--worker", "train", "--device", stage.device, "--precision", sizes.precision,
               *sizes.flags(), "--memory", memory, *(("--batch-norm", batch_norm) if batch_norm else ())]
    good, said = run_steps(stage, command, 6, env=os.environ | {"CUDA_INJECTION64_PATH": str(injected),
                                                                "DENSETREE_KERNEL_TIMES": str(times)})
    if not stage.check(f"kernel times of {way}", good and times.exists(), said):
        return
    with open(times, newline="") as file:
        rows = last_step(list(csv.DictReader(file)))
    if not stage.check(f"a whole step of {way} was seen", bool(rows)):
        return
    name = way.replace("/", "-")
    with gzip.open(stage.out / "bench" / f"kernels-{name}.csv.gz", "wt", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    start, end = int(rows[0]["start"]), max(int(row["start"]) + int(row["nanoseconds"]) for row in rows)
    stage.figure(f"kernels.{name}", {"launches": len(rows), "wall_ms": (end - start) / 1e6,
                                     "busy_ms": sum(int(row["nanoseconds"]) for row in rows) / 1e6,
                                     "rows": by_kernel(rows)})


def parse_profile(text):
    """Of each table that bench_step --profile prints: {title, milliseconds, rows: [{kind, calls, ms, share, gflops, gbps}]}."""
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


def operations(stage):
    """Where a step's time goes, by kind of operation, with its bytes/s and FLOP/s; not captured."""
    sizes = Sizes(stage)
    done = stage.run(stage.program("bench_step"), "--profile", "--device", stage.device, *sizes.flags(), "--steps", "3",
                     "--memory", "store", "--precision", sizes.precision)
    if stage.check("profile", done.returncode == 0, why_failed(done)):
        (stage.out / "bench" / "operations.txt").write_text(done.stdout)
        for table in parse_profile(done.stdout):
            stage.figure(f"operations.{table['title'].partition('/')[0]}", table)


METRICS = "gpu__time_duration.sum,dram__bytes_read.sum,dram__bytes_write.sum"


def traffic(stage):
    """Bytes through device memory of every kernel of one step that is not captured, where ncu may count them."""
    if not stage.on_gpu:
        return stage.skip_all("the device is the CPU")
    ncu = shutil.which("ncu") or shutil.which("ncu", path="/usr/local/cuda/bin")
    if not ncu:
        return stage.skip("bytes per kernel", "there is no ncu")
    sizes = Sizes(stage)
    worker = [stage.program("bench_step"), "--worker", "train", "--device", stage.device, "--precision", sizes.precision,
              "--memory", "store"]
    counting = [ncu, "--metrics", METRICS, "--clock-control", "none", "--cache-control", "none", "--csv", "--page", "raw"]
    probe = stage.work / "probe.csv"
    good, said = run_steps(stage, [*counting, "--log-file", probe, "--launch-count", "2", *worker, "--arch",
                                   "growth=8,blocks=2-2,init=16", "--batch-size", "2", "--image-size", "64"], 1)
    if not good or "dram__bytes_read" not in probe.read_text(errors="replace"):
        return stage.skip("bytes per kernel", f"ncu does not work here: {said}; "
                          f"{probe.read_text(errors='replace')[-300:] if probe.exists() else ''}")
    counted = stage.out / "bench" / "ncu-store.csv"
    good, said = run_steps(stage, [*counting, "--log-file", counted, *worker, *sizes.flags()], 1)
    stage.check("bytes per kernel", good, said)


def profile(stage):
    if not stage.on_gpu:
        return stage.skip_all("the device is the CPU")
    for way in ("store", "shared"):
        kernel_times(stage, way)


# ---- This engine alone

def memory(stage):
    """What each memory mode saves and costs as networks get deeper."""
    sizes = Sizes(stage)
    for precision in stage.precisions():
        report = stage.out / "bench" / f"memory-recompute-{precision}.json"
        done = stage.run(stage.program("bench_memory_recompute"), "--device", stage.device, "--precision", precision,
                         *sizes.depths, "--out", report)
        if stage.check(f"memory modes {precision}", done.returncode == 0, why_failed(done)):
            stage.figure(f"memory_modes.{precision}", json.loads(report.read_text())["rows"])


def layers(stage):
    sizes = Sizes(stage)
    found = google(stage, "layers", stage.program("bench_layers"), "--device", stage.device, "--batch-size", sizes.batch,
                   "--precision", sizes.precision, *sizes.layers)
    ceiling = found.get("ceiling/copy", {}).get("bytes")
    stage.figure("layers", {name: {
        "milliseconds": row["real_time"], "bytes_per_second": row.get("bytes"), "flops": row.get("FLOP"),
        "of_copy": row["bytes"] / ceiling if ceiling and "bytes" in row else None} for name, row in found.items()})


def tree(stage):
    rows = google(stage, "tree", stage.program("bench_tree"), "--device", stage.device,
                  "--benchmark_filter=calibrate|posteriors|answers", *Sizes(stage).tree)
    stage.figure("tree", {name: row["real_time"] for name, row in rows.items()})


def free_memory(stage):
    """Bytes to plan for: what the card has free, less a twentieth for contexts; on the CPU 4 GiB."""
    found = cards() if stage.on_gpu else []
    index = int(stage.device.partition(":")[2] or 0)
    return int(float(found[index]["memory.free"].split()[0]) * MIB * 0.95) if len(found) > index else 4 << 30


def batches(stage):
    sizes, budget = Sizes(stage), free_memory(stage)
    stage.figure("budget_bytes", budget)
    for precision in stage.precisions():
        for mode in MEMORY:
            done = stage.run(stage.program("densetree"), "plan", "--arch", sizes.arch, "--batch-size", "1",
                             "--image-size", sizes.image, "--memory", mode, "--precision", precision, "--budget",
                             budget, "--json", "--device", stage.device)
            if stage.check(f"plan {precision} {mode}", done.returncode == 0, why_failed(done)):
                stage.figure(f"largest_batch.{precision}.{mode}", json.loads(done.stdout)["largest_batch"])


def ceilings(stage):
    if not stage.on_gpu or not stage.settings.python:
        return stage.skip_all("needs a GPU, and torch")
    done = stage.run(stage.settings.python, "-B", stage.root / "bench/torch_ceilings.py", *Sizes(stage).ceilings,
                     env=os.environ | {"CUDA_VISIBLE_DEVICES": stage.device.partition(":")[2] or "0"})
    if stage.check("ceilings by PyTorch", done.returncode == 0, why_failed(done)):
        stage.figure("ceilings", json.loads(done.stdout.strip().splitlines()[-1]))
