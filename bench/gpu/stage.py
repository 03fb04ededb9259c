"""A stage of bench/gpu_check.sh: runs programs, checks what they give, notes figures.

Everything is on disk as soon as it is known, so that a stage which is stopped at its limit leaves what it had. What the
programs print goes to standard output, which is the stage's log.
"""
import csv
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

PRECISIONS = ("fp32", "tf32", "bf16")
SMALL = ("--arch", "growth=8,blocks=2-4,init=16", "--image-size", "48", "--batch-size", "8", "--loss", "bce",
         "--seed", "7", "--schedule", "cosine", "--warmup-epochs", "1", "--clip-norm", "1")
KEPT_OUTPUT = 20_000  # characters of each program in the log


class Broken(Exception):
    """The stage cannot go on; the text says why."""


def why_failed(done):
    """How a program ended, and its last words; empty where it ended well."""
    if done.returncode == 0:
        return ""
    said = (done.stderr or "").strip()[-300:] or "no word"
    how = f"killed by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"status {done.returncode}"
    return f"{how}: {said}"


class Stage:
    def __init__(self, name, settings):
        self.settings, self.root, self.build = settings, settings.root, settings.build
        self.out = settings.work / "results"
        self.device, self.quick = settings.device, settings.quick
        self.on_gpu = self.device.startswith("cuda")
        self.end = time.monotonic() + settings.seconds
        self.work = settings.work / "scratch" / name
        self.work.mkdir(parents=True, exist_ok=True)
        self.path = self.out / "stages" / f"{name}.json"
        self.found = {"stage": name, "finished": False, "why_skipped": None, "checks": [], "figures": {}}
        self.save()

    def save(self):
        self.path.parent.mkdir(exist_ok=True)
        temporary = self.path.with_suffix(".part")
        temporary.write_text(json.dumps(self.found, indent=1) + "\n")
        temporary.replace(self.path)

    # ---- What it finds

    def add(self, name, status, detail):
        self.found["checks"].append({"name": name, "status": status, "detail": str(detail)})
        print(f"== {status}: {name} {detail}", flush=True)
        self.save()

    def check(self, name, good, detail=""):
        self.add(name, "passed" if good else "failed", detail)
        return good

    def skip(self, name, why):
        self.add(name, "skipped", why)

    def lacking(self, name, why):
        """Something the program or the machine has not got: on a GPU that is a failure, on the CPU it is no surprise."""
        self.add(name, "failed" if self.on_gpu else "skipped", why)

    def skip_all(self, why):
        self.found["why_skipped"] = why
        self.save()

    def figure(self, name, value):
        self.found["figures"][name] = value
        print(f"== {name}: {json.dumps(value)}", flush=True)
        self.save()

    def finish(self):
        self.found["finished"] = True
        self.save()

    # ---- What it runs

    def left(self):
        """Seconds until this stage is stopped, less one to tell what it found."""
        return max(1.0, self.end - time.monotonic() - 1)

    def start(self, command, **more):
        """Starts a program in a process group of its own, noted so that it can be killed whatever becomes of this."""
        command = [str(part) for part in command]
        print("$", shlex.join(command), flush=True)
        process = subprocess.Popen(command, stdin=more.pop("stdin", subprocess.DEVNULL), start_new_session=True, **more)
        with open(self.path.with_suffix(".groups"), "a") as noted:
            noted.write(f"{process.pid}\n")
        return process

    def run(self, *command, limit=None, given=None, **more):
        """Runs a program to its end, or to `limit` seconds: then it and what it started are killed, and
        subprocess.TimeoutExpired is raised. The same when this stage is told to stop. `given` is its standard input."""
        start = time.monotonic()
        process = self.start(command, stdin=subprocess.PIPE if given else subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, errors="replace", **more)
        try:
            output = process.communicate(given, timeout=limit)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        for text in output:
            sys.stdout.write(text[-KEPT_OUTPUT:])
        print(f"-> status {process.returncode} after {time.monotonic() - start:.1f} s", flush=True)
        return subprocess.CompletedProcess(command, process.returncode, *output)

    def must(self, *command, **more):
        """As run, for what the rest of the stage needs."""
        done = self.run(*command, **more)
        if done.returncode != 0:
            raise Broken(f"{shlex.join(map(str, command))}: {why_failed(done)}")
        return done

    def program(self, name):
        return self.build / "bin" / name

    def densetree(self, *arguments):
        return self.must(self.program("densetree"), *arguments)

    @property
    def here(self):
        """The device that is checked. The programs of the CPU's own check are small: one thread."""
        return ("--device", self.device) if self.on_gpu else ("--device", self.device, "--threads", "1")

    @property
    def there(self):
        """What it is compared with: the CPU; and where it is the CPU, another number of threads."""
        return ("--device", "cpu") if self.on_gpu else ("--device", "cpu", "--threads", "2")

    def precisions(self):
        """Those that the program takes on this device; what it says of the others is noted."""
        for precision in PRECISIONS:
            asked = self.run(self.program("densetree"), "plan", "--arch", SMALL[1], "--batch-size", "2",
                             "--image-size", "48", "--precision", precision, *self.here)
            if asked.returncode == 0:
                yield precision
            else:
                self.lacking(f"{precision} is refused", asked.stderr.strip()[-300:])

    # ---- Data and runs

    def small_data(self):
        """96 drawn X-rays, prepared: enough for a few dozen steps."""
        drawn, data = self.work / "drawn", self.work / "data"
        self.densetree("synth", "--out", drawn, "--count", "96", "--size", "48", "--seed", "3")
        self.densetree("prepare", "--images", drawn / "images", "--labels", drawn / "Data_Entry_2017.csv", "--out", data,
                       "--size", "40")
        return data

    def train(self, name, data, *arguments):
        run = self.work / name
        self.densetree("train", "--data", data, "--out", run, *arguments)
        return run

    def evaluate(self, name, run, data, *arguments):
        """The metrics of a run."""
        folder = self.work / name
        self.densetree("eval", "--run", run, "--data", data, "--out", folder, *arguments)
        return json.loads((folder / "metrics.json").read_text())

    def same_run(self, name, one, other):
        """Whether two runs ended in the same bytes; where not, which file tells them apart."""
        different = [file for file in ("checkpoint-last.safetensors", "checkpoint-best.safetensors")
                     if (one / file).read_bytes() != (other / file).read_bytes()]
        different += ["losses"] if losses(one) != losses(other) else []
        return self.check(name, not different, f"different: {', '.join(different)}" if different else "")


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def losses(run):
    """metrics.csv without times."""
    return [list(row.values())[:6] for row in rows(run / "metrics.csv")]


def last_loss(run):
    return float(rows(run / "metrics.csv")[-1]["val_loss"])


def path_or_none(text):
    return pathlib.Path(text).resolve() if text else None
