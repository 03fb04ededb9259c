#!/usr/bin/env python3
"""Runs this engine beside NumPy and scikit-learn on the calibration of a label tree and on the bootstrap over patients,
for as many images and labels as ChestX-ray14 has, and prints medians and ratios.

    bench/compare_tree.py
    bench/compare_tree.py --scores SCORES.csv.gz --labels Data_Entry.csv.gz     real scores for NumPy, see below
    bench/compare_tree.py --python /usr/bin/python3 --python venv/bin/python    the better of the two counts

Each round runs bench_tree, which times itself, with one thread and with all, and then every way of doing the same in
Python (numpy_tree.py says what they are), A B C … A B C …; whoever is not running waits without using a core.
NumPy and scikit-learn use one thread. Where the peers take fewer draws than bench_tree, their time is extrapolated.

What is not the same: the bootstrap of bench_tree makes average precision and Brier score of each draw, too, and its
calibration heeds missing truths. bench_tree makes random scores of its own; the peers take `--scores`, repeated with
noise.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

from compare_step import HERE, load_average

WAYS = {"calibrate": ["sort", "partition", "counts"], "bootstrap": ["sklearn", "numpy"]}


class Engine:
    """bench_tree, started anew in each round."""
    ours = True

    def __init__(self, args, threads):
        self.about = {"name": f"densetree, {threads} thread{'s' if threads > 1 else ''}", "threads": threads}
        shape = f"{args.images}x14"
        self.names = {"calibrate": f"calibrate/{shape}", "bootstrap": f"bootstrap/{shape}/{args.draws}_draws"}
        self.command = [args.bench_tree, "--images", str(args.images), "--draws", str(args.draws),
                        "--patients", str(args.patients), "--threads", str(threads), "--benchmark_format=json",
                        "--benchmark_filter=^(calibrate|bootstrap)/"]

    def run(self):
        """Seconds of each task."""
        done = subprocess.run(self.command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(f"{self.command[0]} ended with status {done.returncode}")
        report = json.loads(done.stdout)
        self.about["hardware"] = report["context"]["hardware"]
        times = {b["name"].removesuffix("/real_time"): b["real_time"] / 1e3 for b in report["benchmarks"]}
        missing = [name for name in self.names.values() if name not in times]
        if missing:
            raise RuntimeError(f"{self.command[0]} has no benchmark {missing[0]}")
        return {task: times[name] for task, name in self.names.items()}

    def end(self):
        pass


class Peer:
    """numpy_tree.py, which stays and runs once when told to."""
    ours = False

    def __init__(self, args, python, task, way):
        self.task = task
        self.command = [python, str(HERE / "numpy_tree.py"), task, way, "--images", str(args.images),
                        "--draws", str(args.draws)]
        if args.scores:
            self.command += ["--scores", args.scores, "--labels", args.labels]
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.command)} ended with status {self.process.wait()}")
        return json.loads(line)

    def run(self):
        self.process.stdin.write("run 1\n")
        self.process.stdin.flush()
        return {self.task: self.read()["seconds"][0]}

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def measure(args):
    """One entry per task and contestant, with the seconds of every round."""
    contestants, times = [], {}
    try:
        contestants += [Engine(args, threads) for threads in sorted({1, args.threads})]
        contestants += [Peer(args, python, task, way)
                        for python in args.python for task in WAYS for way in WAYS[task]]
        for round_number in range(args.rounds + 1):  # the first one warms up
            for contestant in contestants:
                for task, seconds in contestant.run().items():
                    if round_number:
                        times.setdefault((task, contestant), []).append(seconds)
            print(f"round {round_number} of {args.rounds}", file=sys.stderr)
    finally:
        for contestant in contestants:
            contestant.end()
    return [{"task": task, "ours": who.ours, **who.about, "seconds_median": statistics.median(seconds),
             "seconds_min": min(seconds), "seconds_max": max(seconds), "seconds": seconds}
            for (task, who), seconds in times.items()]


def table(results):
    lines = []
    for task in WAYS:
        lines.append(f"{task:58} {'median ms':>11} {'min':>11} {'max':>11}")
        for r in (r for r in results if r["task"] == task):
            extrapolated = r.get("extrapolated_by", 1)
            note = f"  from 1/{extrapolated:.4g} of the draws" if extrapolated > 1 else ""
            lines.append(f"  {r['name']:56} {1e3 * r['seconds_median']:11.1f} {1e3 * r['seconds_min']:11.1f} "
                         f"{1e3 * r['seconds_max']:11.1f}{note}")
    return "\n".join(lines)


def ratios(results):
    """Of each task, how much faster than the fastest peer this engine is, by threads, and than scikit-learn's AUROC."""
    found = []
    for task in WAYS:
        peers = [r for r in results if r["task"] == task and not r["ours"]]
        fastest = min(peers, key=lambda r: r["seconds_median"])
        compared = [fastest] + [r for r in peers if r["name"].startswith("sklearn") and r is not fastest]
        for ours in (r for r in results if r["task"] == task and r["ours"]):
            for peer in compared:
                speed = peer["seconds_median"] / ours["seconds_median"]
                found.append({"task": task, "ours": ours["name"], "peer": peer["name"],
                              "fastest_peer": peer is fastest, "speed": speed})
                print(f"{task}: {ours['name']} is {speed:.1f}x as fast as {peer['name']}"
                      f"{', the fastest peer' if peer is fastest else ''}.")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=112_120)
    parser.add_argument("--patients", type=int, default=30_805, help="of bench_tree's random scores")
    parser.add_argument("--draws", type=int, default=1000, help="of the bootstrap")
    parser.add_argument("--threads", type=int, default=0, help="of this engine; 0: all cores")
    parser.add_argument("--scores", help="a score file with 14 labels; random scores without it")
    parser.add_argument("--labels", help="NIH's label table, with --scores")
    parser.add_argument("--python", action="append", help="an interpreter with scikit-learn; may be repeated")
    parser.add_argument("--bench-tree", default=str(HERE.parent / "build/release/bin/bench_tree"))
    parser.add_argument("--rounds", type=int, default=7, help="measured runs of each, after one to warm up")
    parser.add_argument("--out", help="write everything as JSON, for instance bench/results/NAME.json")
    args = parser.parse_args()
    if bool(args.scores) != bool(args.labels):
        parser.error("--scores and --labels go together")
    args.python = args.python or ["/usr/bin/python3"]
    args.threads = args.threads or os.cpu_count()

    load_before = load_average()
    try:
        results = measure(args)
    except (OSError, RuntimeError) as error:
        sys.exit(f"compare_tree: error: {error}")
    hardware = results[0]["hardware"]
    print(f"{args.images} images, 14 labels, 21 nodes; bootstrap of {args.draws} draws; on {hardware}; load average "
          f"{load_before:.2f} before, {load_average():.2f} after\n")
    print(table(results) + "\n")
    found = ratios(results)
    if load_before > 0.7:
        print("The machine was busy before this began: take these figures with caution.")
    if args.out:
        report = {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                  "images": args.images, "labels": 14, "nodes": 21, "draws": args.draws,
                  "peers_data": "real scores repeated with noise" if args.scores else "random", "hardware": hardware,
                  "kernel": platform.release(), "load_before": load_before, "rounds": args.rounds, "ratios": found,
                  "results": results}
        pathlib.Path(args.out).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
