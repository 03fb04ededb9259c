#!/usr/bin/env python3
"""The stages of bench/gpu_check.sh, in the order of their worth; see there. Needs Python 3.10 alone.

Each stage is a process of its own with a limit. What it finds is on disk as soon as it is known; summary and archive
are written anew before the first stage and after each, so that whatever ends this leaves what was known by then.
"""
import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import machine
import speed
import summary
import tests
import training
from stage import Broken, Stage, path_or_none

RESERVE = 4  # seconds at the end, for the last summary
LEAST = 5    # seconds that a stage is begun with
RESULTS = ("summary.md", "summary.json", "results.tar.gz")


@dataclass
class Entry:
    name: str
    seconds: int  # its limit
    why: str
    run: Callable[[Stage], None]


PLAN = [
    Entry("environment", 20, "which GPU, driver, libraries and sources the rest is about", machine.environment),
    Entry("kernels", 80, "every operation on the GPU against float64, in six processes", tests.kernels),
    Entry("traces", 50, "training steps in bf16 and fp32 against float64, four cases", tests.traces),
    Entry("step", 90, "the training step in bf16, batch 128, in every memory mode, beside PyTorch in turn", speed.step),
    Entry("profile", 30, "time of every kernel of a step, at its own speed", speed.profile),
    Entry("operations", 20, "the same by kind of operation, with bytes/s and FLOP/s", speed.operations),
    Entry("tree", 20, "histograms, posteriors and answers of the label tree", speed.tree),
    Entry("ceilings", 15, "what the card copies and multiplies at best", speed.ceilings),
    Entry("traffic", 60, "bytes of every kernel of a step, where ncu can count them", speed.traffic),
    Entry("fused", 100, "the step through cuDNN's fused kernels, which are compiled first", speed.fused),
    Entry("network", 120, "models, gradients, memory modes and the tree on the GPU", tests.network),
    Entry("racecheck", 120, "races and bad accesses in our own kernels, by compute-sanitizer", tests.sanitizer),
    Entry("determinism", 90, "two runs with one seed end in the same bytes, in every precision", training.determinism),
    Entry("resume", 90, "a run that is killed and resumed ends in the same bytes", training.resume),
    Entry("tf32", 50, "training steps in tf32 against float64", tests.traces_tf32),
    Entry("inference", 90, "inference beside PyTorch in turn", speed.inference),
    Entry("memory", 120, "memory against recomputing, over depths", speed.memory),
    Entry("batches", 20, "the largest batch that fits", speed.batches),
    Entry("layers", 90, "the operations one by one", speed.layers),
    Entry("precisions", 150, "the training step in fp32 and tf32 beside PyTorch", speed.precisions),
    Entry("move", 90, "trained here, continued on the CPU, and the other way about", training.move),
    Entry("demo", 180, "the demo's chain in each precision", training.demo),
    Entry("real", 180, "the sample of X-rays in each precision", training.real),
    Entry("compile", 300, "the training step beside torch.compile, which takes minutes to begin", speed.compiled),
]
STAGES = {entry.name: entry for entry in PLAN}


def print_plan(entries):
    total = 0
    print(f"{'stage':12} {'limit s':>7} {'until':>6}  what for")
    for entry in entries:
        total += entry.seconds
        print(f"{entry.name:12} {entry.seconds:7} {total // 60:3}:{total % 60:02}  {entry.why}")


# ---- One stage, in a process of its own

def run_stage(settings):
    def stop(*_):
        sys.exit(124)  # what it runs is killed on the way out

    signal.signal(signal.SIGTERM, stop)
    stage = Stage(settings.stage, settings)
    try:
        STAGES[settings.stage].run(stage)
    except Broken as broken:
        stage.check("goes on to its end", False, broken)
    except Exception as error:  # whatever it is, the other stages still run, and the summary has to tell
        traceback.print_exc()
        stage.check("goes on to its end", False, f"{type(error).__name__}: {error}")
    stage.finish()


# ---- All of them

class Check:
    """Runs the stages one after another within the time there is."""

    def __init__(self, settings, entries):
        self.settings, self.entries = settings, entries
        self.end = time.monotonic() + 60 * settings.minutes - RESERVE
        self.out = settings.out
        self.results = settings.work / "results"
        for folder in ("stages", "logs", "bench"):
            (self.results / folder).mkdir(parents=True, exist_ok=True)
        self.now = None

    def left(self):
        return self.end - time.monotonic()

    def put(self, path):
        """Moves a finished file to the results, where it replaces the one before at once."""
        target = self.out / path.name
        try:
            os.replace(path, target)
        except OSError:  # another file system
            aside = self.out / f".{path.name}.part"
            shutil.copyfile(path, aside)
            os.replace(aside, target)
            path.unlink()

    def write(self):
        done = summary.write(self.results, self.settings.work, self.settings.device, self.settings.quick,
                             [(e.name, e.seconds) for e in self.entries], self.now)
        archive = self.settings.work / "results.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=5) as tar:
            tar.add(self.results, arcname="results")
        for name in RESULTS:
            self.put(self.settings.work / name)
        return done

    def take_up(self):
        """The stages that an earlier call has been through."""
        archive = self.settings.earlier / "results.tar.gz"
        if archive.exists():
            with tarfile.open(archive) as tar:
                tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has none
                tar.extractall(self.settings.work)

    def kill_what_is_left(self, name):
        """Process groups of programs that the stage started and could not end itself."""
        noted = self.results / "stages" / f"{name}.groups"
        for line in noted.read_text().split() if noted.exists() else ():
            try:
                os.killpg(int(line), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        noted.unlink(missing_ok=True)

    def run_one(self, entry):
        limit = min(entry.seconds, self.left())
        command = [sys.executable, "-B", __file__, *self.settings.arguments, "--stage", entry.name, "--work",
                   str(self.settings.work), "--seconds", f"{limit:.0f}"]
        start = time.monotonic()
        with open(self.results / "logs" / f"{entry.name}.log", "wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                process.terminate()
                status = 124
                try:
                    process.wait(2)
                except subprocess.TimeoutExpired:
                    pass
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                self.kill_what_is_left(entry.name)
        seconds = time.monotonic() - start
        (self.results / "stages" / f"{entry.name}.status").write_text(f"{status} {seconds:.1f} {limit:.0f}\n")
        shutil.rmtree(self.settings.work / "scratch" / entry.name, ignore_errors=True)

    def finished(self, name):
        return (self.results / "stages" / f"{name}.status").exists()

    def run(self):
        if self.settings.earlier:
            self.take_up()
        self.write()
        for entry in self.entries:
            if self.finished(entry.name) or self.left() < LEAST:
                continue
            self.now = entry.name
            self.write()  # says that this stage has begun, should it be the last thing that is written
            print(f"gpu_check: {entry.name}, at most {min(entry.seconds, self.left()):.0f} s", file=sys.stderr, flush=True)
            try:
                self.run_one(entry)
            finally:
                self.now = None
                done = self.write()
            print(summary.line_of(done, entry.name), file=sys.stderr, flush=True)
        done = self.write()
        print(summary.text_of(done))
        return 1 if done["status"] == "failed" else 0


def parse():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--root", type=pathlib.Path, required=True, help="of the sources")
    p.add_argument("--build", type=pathlib.Path, help="the folder that holds bin/")
    p.add_argument("--out", type=pathlib.Path)
    p.add_argument("--device", default="cuda")
    p.add_argument("--shared", type=path_or_none)
    p.add_argument("--python", help="an interpreter with torch")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--minutes", type=float, default=6)
    p.add_argument("--stages", default=",".join(STAGES))
    p.add_argument("--plan", action="store_true")
    p.add_argument("--continue", dest="earlier", type=path_or_none, help="results of an earlier call")
    p.add_argument("--stage", help=argparse.SUPPRESS)
    p.add_argument("--work", type=pathlib.Path, help=argparse.SUPPRESS)
    p.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    settings = p.parse_args()
    settings.arguments = sys.argv[1:]
    return settings


def main():
    settings = parse()
    unknown = [name for name in settings.stages.split(",") if name not in STAGES]
    if unknown:
        print(f"gpu_check: error: there is no stage '{unknown[0]}'; there are {' '.join(STAGES)}", file=sys.stderr)
        return 2
    if settings.stage:
        return run_stage(settings)
    entries = [STAGES[name] for name in settings.stages.split(",")]
    if settings.plan:
        return print_plan(entries)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(124))
    settings.out.mkdir(parents=True, exist_ok=True)
    settings.work = pathlib.Path(tempfile.mkdtemp(prefix="densetree-gpu-check-"))
    try:
        return Check(settings, entries).run()
    finally:
        shutil.rmtree(settings.work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
