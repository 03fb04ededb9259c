#!/usr/bin/env python3
"""One stage of bench/gpu_check.sh, which calls this once for each; see there. Needs Python 3.10 alone."""
import argparse
import pathlib
import signal
import sys
import traceback

import machine
import speed
import training
from stage import Broken, Stage, path_or_none

STAGES = {"environment": machine.environment, "tests": machine.tests, "sanitizer": machine.sanitizer,
          "traces": machine.traces, "determinism": training.determinism, "resume": training.resume,
          "move": training.move, "demo": training.demo, "real": training.real, "benchmarks": speed.benchmarks}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("stage", choices=list(STAGES))
    p.add_argument("--root", type=pathlib.Path, required=True, help="of the sources")
    p.add_argument("--build", type=pathlib.Path, required=True, help="the folder that holds bin/")
    p.add_argument("--out", type=pathlib.Path, required=True)
    p.add_argument("--device", default="cuda")
    p.add_argument("--shared", type=path_or_none)
    p.add_argument("--python", help="an interpreter with torch")
    p.add_argument("--seconds", type=float, default=900, help="the limit that the caller will stop this at")
    p.add_argument("--quick", action="store_true")
    settings = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(124))  # the limit: what is running goes too
    stage = Stage(settings.stage, settings)
    try:
        STAGES[settings.stage](stage)
    except Broken as broken:
        stage.check("goes on to its end", False, broken)
    except Exception as error:  # whatever it is, the other stages still run, and the summary has to tell
        traceback.print_exc()
        stage.check("goes on to its end", False, f"{type(error).__name__}: {error}")
    stage.finish()


if __name__ == "__main__":
    sys.exit(main())
