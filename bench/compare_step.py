#!/usr/bin/env python3
"""Runs this engine and PyTorch in turn on the same training step (or inference), and prints medians and ratios.

    bench/compare_step.py                                  training, DenseNet-121, 224x224, batch 16, fp32, all cores
    bench/compare_step.py --what infer
    bench/compare_step.py --python /usr/bin/python3 --python venv/bin/python   the better of the two counts
    bench/compare_step.py --precision bf16 --peer-precision fp32
    bench/compare_step.py --device cuda --precision bf16 --batch-size 128 [--compile]

Every contestant is a process of its own: `bench_step --worker` of this engine in its memory modes (`shared`, or with
the way of batch norm `shared/fused`), and torch_step.py in PyTorch's. All are started together and warmed up one after
another, then each runs one step in turn, A B C … A B C …, so that whatever else happens on the machine happens to all
of them. While one runs the others wait without using a core. On a GPU a turn is --turn steps, queued one behind the
other as in training, and its mean counts. --out is written after every round.

Memory is the peak of resident memory of the process (VmHWM), and that less what was resident before the model was
built: libraries and interpreters do not count. On a GPU it is the device memory of the tensors, this engine's one
allocation and the most that PyTorch's allocator handed out, and beside it what nvidia-smi says the process has, which
has contexts, libraries and caches in it. A contestant that cannot run (no compiler, out of memory, no answer within
--limit) is left out, by name and with what it said.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import select
import shutil
import statistics
import subprocess
import sys
import tempfile

import torch_precision

HERE = pathlib.Path(__file__).resolve().parent
PEER_MODES = {"train": ["nchw", "channels_last", "memory_efficient"], "infer": ["nchw", "channels_last"]}


def card_bytes(device, pid):
    """What nvidia-smi says that a process has of the card; None where it does not say."""
    if not device.startswith("cuda") or not shutil.which("nvidia-smi"):
        return None
    asked = subprocess.run(["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"],
                           capture_output=True, text=True)
    rows = (line.split(",") for line in asked.stdout.splitlines())
    return next((int(row[1]) << 20 for row in rows if row[0].strip() == str(pid) and row[1].strip().isdigit()), None)


class Contestant:
    """A worker process that runs steps when told to."""

    def __init__(self, command, ours, name, device, limit):
        self.ours, self.command, self.name = ours, list(map(str, command)), name
        self.device, self.limit = device, limit
        self.device_seconds, self.seconds = [], []
        self.card = None
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True)

    def fail(self, what):
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines()
        raise RuntimeError(f"{self.name} {what}: {said[-1] if said else ''}")

    def read(self):
        if not select.select([self.process.stdout], [], [], self.limit)[0]:
            self.process.kill()
            self.fail(f"gave no answer within {self.limit} s")
        line = self.process.stdout.readline()
        if not line:
            self.fail(f"ended with status {self.process.wait()}")
        return json.loads(line)

    def warm_up(self, steps):
        self.about = self.read()
        self.run(steps)
        self.device_seconds = []
        self.card = card_bytes(self.device, self.process.pid)

    def run(self, steps):
        self.process.stdin.write(f"run {steps}\n")
        self.process.stdin.flush()
        answer = self.read()
        if self.device.startswith("cuda"):  # this engine's plan is all it ever allocates
            self.peak = self.about["plan_bytes"] if self.ours else answer["device_peak_bytes"]
        else:
            self.peak = answer["peak_bytes"]
        self.device_seconds += answer.get("device_seconds", [])
        return answer["seconds"]

    def end(self):
        if self.process.poll() is not None:
            return
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # it has died, and what it said is on standard error
        self.process.wait()

    def result(self, batch):
        median = statistics.median(self.seconds)
        return {
            **self.about, "name": self.name, "ours": self.ours, "seconds_median": median, "seconds_min": min(self.seconds),
            "seconds_max": max(self.seconds), "images_per_second": batch / median, "seconds": self.seconds,
            "device_seconds": self.device_seconds, "peak_bytes": self.peak, "card_bytes": self.card,
            "step_bytes": self.peak - (0 if self.device.startswith("cuda") else self.about["baseline_bytes"])}


def commands(args):
    """[command, whether it is this engine's, name] of every contestant."""
    shape = ["--arch", args.arch, "--batch-size", args.batch_size, "--image-size", args.image_size, "--threads",
             args.threads, "--device", args.device]
    precision = ["--precision", args.precision] if args.precision != "fp32" else []
    for way in args.memory if args.what == "train" else args.memory[:1]:
        memory, _, batch_norm = way.partition("/")
        more = ["--batch-norm", batch_norm] if batch_norm else []
        yield [args.bench_step, "--worker", args.what, "--memory", memory, *more, *shape, *precision], True, \
            f"densetree {way}"
    amp = ["--amp", torch_precision.AMP[args.peer_precision]]
    for python in args.python:
        peer = [python, HERE / "torch_step.py", args.what]
        for mode in args.peers or PEER_MODES[args.what]:
            yield [*peer, mode, *shape, *amp], False, f"{python} {mode}"
        if args.compile:
            yield [*peer, "channels_last", *shape, *amp, "--compile"], False, f"{python} compile"


def start_all(args, contestants):
    """Fills the list with contestants that are warm; gives what those that did not get there died of."""
    left_out, started = [], []
    try:
        for command, ours, name in commands(args):
            started.append(Contestant(command, ours, name, args.device, args.limit))
        for contestant in started:
            try:
                contestant.warm_up(args.warmup)
            except (OSError, RuntimeError) as error:
                left_out.append(str(error))
                contestant.end()
                print(f"compare_step: left out: {error}", file=sys.stderr)
            else:
                if not contestant.ours:
                    contestant.name = contestant.about["name"]
                contestants.append(contestant)
    finally:
        for contestant in started:
            if contestant not in contestants:
                contestant.end()
    for ours, whose in ((True, "this engine"), (False, "PyTorch; --python names an interpreter with torch")):
        if not any(c.ours == ours for c in contestants):
            raise RuntimeError(f"nothing could run of {whose}")
    return left_out


def load_average():
    return os.getloadavg()[0]


def table(results):
    lines = [f"{'':38} {'median ms':>10} {'min':>8} {'max':>8} {'images/s':>9} {'peak MB':>8} {'step MB':>8}"]
    for r in results:
        lines.append(f"{r['name']:38} {1e3 * r['seconds_median']:10.1f} {1e3 * r['seconds_min']:8.1f} "
                     f"{1e3 * r['seconds_max']:8.1f} {r['images_per_second']:9.2f} {r['peak_bytes'] / 1e6:8.0f} "
                     f"{r['step_bytes'] / 1e6:8.0f}")
    return "\n".join(lines)


def ratios(results):
    """This engine's first memory mode against the best peer: speed, and memory against the leanest."""
    ours = next(r for r in results if r["ours"])
    peers = [r for r in results if not r["ours"]]
    fastest = max(peers, key=lambda r: r["images_per_second"])
    leanest = min(peers, key=lambda r: r["step_bytes"])
    return {"speed": ours["images_per_second"] / fastest["images_per_second"], "fastest_peer": fastest["name"],
            "memory": ours["step_bytes"] / leanest["step_bytes"], "leanest_peer": leanest["name"], "ours": ours["name"]}


def write_report(args, contestants, left_out, load_before):
    if not args.out:
        return
    results = [contestant.result(args.batch_size) for contestant in contestants]
    report = {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
              "what": args.what, "arch": args.arch, "batch_size": args.batch_size, "image_size": args.image_size,
              "precision": args.precision, "peer_precision": args.peer_precision, "device": args.device,
              "threads": args.threads, "hardware": results[0]["hardware"], "kernel": platform.release(),
              "left_out": left_out, "load_before": load_before, "rounds": len(contestants[0].seconds),
              "turn": args.turn, "warmup": args.warmup, "ratios": ratios(results), "results": results}
    aside = pathlib.Path(args.out + ".part")
    aside.write_text(json.dumps(report, indent=1) + "\n")
    aside.replace(args.out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["train", "infer"], default="train")
    parser.add_argument("--arch", default="densenet121", help="densenet121, 161, 169, 201 or 264")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--memory", default=["shared"], type=lambda text: text.split(","),
                        help="this engine's memory modes, after commas, each alone or as MODE/BATCH-NORM (default: shared)")
    parser.add_argument("--peers", type=lambda text: text.split(","), help="PyTorch's modes, after commas (all)")
    parser.add_argument("--limit", type=float, default=600, help="seconds that an answer may take")
    parser.add_argument("--python", action="append", help="an interpreter with torch; may be given several times")
    parser.add_argument("--device", default="cpu", help="cpu, cpu:SET, cuda or cuda:N")
    parser.add_argument("--precision", choices=list(torch_precision.AMP), default="fp32")
    parser.add_argument("--peer-precision", choices=list(torch_precision.AMP), help="of PyTorch, where it is another")
    parser.add_argument("--compile", action="store_true", help="PyTorch's best mode through torch.compile as well")
    parser.add_argument("--bench-step", default=str(HERE.parent / "build/release/bin/bench_step"))
    parser.add_argument("--rounds", type=int, default=7, help="measured turns of each")
    parser.add_argument("--turn", type=int, default=0, help="steps of a turn (default: 1, on a GPU 10)")
    parser.add_argument("--warmup", type=int, default=2, help="steps of each before that")
    parser.add_argument("--out", help="write everything as JSON, for instance bench/results/NAME.json")
    args = parser.parse_args()
    args.python = args.python or ["/usr/bin/python3"]
    args.threads = args.threads or os.cpu_count()
    args.peer_precision = args.peer_precision or args.precision
    args.turn = args.turn or (10 if args.device.startswith("cuda") else 1)

    contestants = []
    load_before = load_average()
    try:
        left_out = start_all(args, contestants)
        for round_number in range(args.rounds):
            for contestant in contestants:
                contestant.seconds.append(statistics.mean(contestant.run(args.turn)))
            print(f"round {round_number + 1} of {args.rounds}", file=sys.stderr)
            write_report(args, contestants, left_out, load_before)
    except (OSError, RuntimeError) as error:
        sys.exit(f"compare_step: error: {error}")
    finally:
        for contestant in contestants:
            contestant.end()

    results = [contestant.result(args.batch_size) for contestant in contestants]
    print(f"{args.what} {args.arch}, {args.image_size}x{args.image_size}, batch {args.batch_size}, {args.precision}, "
          f"PyTorch {args.peer_precision}, {args.threads} threads on {results[0]['hardware']}; load average "
          f"{load_before:.2f} before, {load_average():.2f} after\n")
    print(table(results))
    found = ratios(results)
    print(f"\n{found['ours']} is {found['speed']:.2f}x as fast as {found['fastest_peer']}, the fastest peer, and takes "
          f"{found['memory']:.2f}x the memory of {found['leanest_peer']}, the leanest ({args.what}).")
    if ours_left_out := [said for said in left_out if said.startswith("densetree ")]:
        sys.exit(f"compare_step: error: {'; '.join(ours_left_out)}")
    if load_before > 0.7 and args.device.startswith("cpu"):
        print("The machine was busy before this began: take these figures with caution.")


if __name__ == "__main__":
    main()
