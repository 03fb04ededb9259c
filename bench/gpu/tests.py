"""Stages that hold the build's tests on the device: kernels in parallel, the rest, the sanitizer, and traces."""
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time

SHARDS = 6
QUIET_SECONDS = float(os.environ.get("DENSETREE_CHECK_QUIET", 40))  # that a case may take
# Errors after which every later CUDA call of the process fails as well.
POISON = re.compile(r"illegal memory access|misaligned address|unspecified launch failure|illegal instruction|"
                    r"device-side assert|hardware stack|invalid program counter|launch timed out")


# ---- GoogleTest programs

def cases_of(stage, program, chosen):
    """Names of the program's cases that the filter takes."""
    listed = stage.must(stage.program(program), "--gtest_list_tests", f"--gtest_filter={chosen}").stdout
    names, suite = [], ""
    for line in listed.splitlines():
        name = line.split("#")[0].rstrip()
        if name and not name.startswith(" "):
            suite = name
        elif name and suite.endswith("."):
            names.append(suite + name.strip())
    return names


class Run:
    """Some cases of a program in a process of their own, which is killed when it says nothing for so many seconds."""

    def __init__(self, stage, program, cases, name, seconds):
        self.program, self.cases, self.name = program, cases, name
        self.log = stage.work / f"{name}.log"
        self.quiet_seconds = seconds
        self.size, self.spoke, self.was_killed = 0, time.monotonic(), False
        flags = stage.work / f"{name}.flags"
        flags.write_text(f"--gtest_filter={':'.join(cases)}\n")
        with open(self.log, "wb") as log:
            self.process = stage.start([stage.program(program), f"--gtest_flagfile={flags}"], stdout=log, stderr=log)

    def is_over(self):
        size = self.log.stat().st_size
        if size != self.size:
            self.size, self.spoke = size, time.monotonic()
        if self.process.poll() is None and time.monotonic() > self.spoke + self.quiet_seconds:
            self.was_killed = True
            self.process.kill()
            self.process.wait()
        return self.process.poll() is not None

    def results(self):
        """{case: "passed", "skipped" or what it said when it failed}, of the cases that came to an end, by the log."""
        text = self.log.read_text(errors="replace")
        said = {case: [] for case in self.cases}
        now, ended = None, {}
        for line in text.splitlines():
            begun = re.match(r"\[ RUN      \] (\S+)", line)
            done = re.match(r"\[\s+(OK|FAILED|SKIPPED) +\] (\S+?),? ", line + " ")
            if begun:
                now = begun[1]
            elif done and done[2] == now:
                ended[now] = {"OK": "passed", "SKIPPED": "skipped"}.get(done[1]) or "\n".join(said[now])[:1500]
                now = None
            elif now in said:
                said[now].append(line)
        if now in said and self.process.poll() not in (None, 0):
            why = f"no end within {self.quiet_seconds} s" if self.was_killed else f"ended with status {self.process.poll()}"
            ended[now] = f"{why}: " + "\n".join(said[now])[-600:]
        return ended


def run_cases(stage, program, cases, shards):
    """Runs the cases in so many processes; what a process that died or lost its device leaves is run one by one."""
    shards = max(1, min(shards, len(cases)))
    runs = [Run(stage, program, cases[i::shards], f"{program}-{i}", QUIET_SECONDS) for i in range(shards)]
    while not all([run.is_over() for run in runs]) and stage.left() > 1:  # noqa: C419 (each is asked)
        time.sleep(0.1)
    found, alone = {}, []
    for run in runs:
        ended = run.results()
        poisoned = False
        for case in run.cases:
            if case not in ended or poisoned:
                alone.append(case)
            else:
                found[case] = ended[case]
            poisoned = poisoned or POISON.search(ended.get(case, "")) is not None
        sys.stdout.write(run.log.read_text(errors="replace")[-6000:])
    waiting, running = list(alone), []
    while (waiting or running) and stage.left() > 1:
        while waiting and len(running) < SHARDS:
            case = waiting.pop(0)
            running.append(Run(stage, program, [case], f"alone-{len(found)}-{len(waiting)}", QUIET_SECONDS))
        for run in [run for run in running if run.is_over()]:
            running.remove(run)
            found[run.cases[0]] = run.results().get(run.cases[0], "did not come to its end")
        time.sleep(0.05)
    return found


def hold_program(stage, program, chosen, shards):
    cases = cases_of(stage, program, chosen)
    if not stage.check(f"{program} has cases for it", bool(cases), chosen):
        return
    found = run_cases(stage, program, cases, shards)
    failed = {case: what for case, what in found.items() if what not in ("passed", "skipped")}
    passed = sum(what == "passed" for what in found.values())
    not_run = [case for case in cases if case not in found]
    stage.figure(program, {"cases": len(cases), "passed": passed, "skipped": sum(w == "skipped" for w in found.values()),
                           "failed": failed, "not_run": not_run})
    stage.check(program, passed > 0 and not failed, f"{passed} of {len(cases)} passed; failed: {', '.join(failed)}"[:2000])
    if not_run:
        stage.skip(f"{len(not_run)} cases of {program}", f"no time was left for {', '.join(not_run)}"[:2000])


def kernels(stage):
    hold_program(stage, "kernels_tests", "*cuda*" if stage.on_gpu else "*PoolingTest*", SHARDS)
    if stage.on_gpu:
        hold_program(stage, "kernels_cuda_tests", "*-FusedPlanTest.*:DriverTest.*", 2)  # those do without a GPU


def network(stage):
    for program, quick in (("tree_tests", "*MethodTest*"), ("nn_tests", "*ModelTest.Learns*")):
        if stage.program(program).exists():
            hold_program(stage, program, "*cuda*" if stage.on_gpu else quick, SHARDS)


# ---- Sanitizer

OWN_KERNELS = "*cuda*-*ConvolutionTest*:*DeterminismTest*:*MemoryTest*"  # the others are cuDNN's, or nothing but copies
SANITIZED = (  # tool, program, cases
    ("memcheck", "tree_tests", "*MethodTest*cuda*"),
    ("racecheck", "kernels_tests", OWN_KERNELS),
    ("memcheck", "kernels_tests", "*cuda*-*DeterminismTest*:*TooMuch*"),
    ("racecheck", "tree_tests", "*MethodTest*cuda*"),
    ("synccheck", "kernels_tests", OWN_KERNELS),
    ("memcheck", "nn_tests", "*GradientTest*cuda*:*ModelTest.LearnsAFixedBatch/cuda*:*ModelTest.EveryMemoryMode*/cuda*"),
    ("initcheck", "kernels_tests", OWN_KERNELS),
)


def find_sanitizer():
    return shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")


def sanitizer(stage):
    tool = find_sanitizer()
    if not stage.on_gpu or not tool:
        return stage.skip_all("the device is the CPU" if not stage.on_gpu else "there is no compute-sanitizer")
    for kind, program, cases in SANITIZED:
        name = f"{kind} over {program}"
        limit = min(stage.left(), stage.settings.seconds / 2)
        try:
            done = stage.run(tool, "--tool", kind, "--error-exitcode", "99", "--report-api-errors", "no", "--print-limit",
                             "20", stage.program(program), f"--gtest_filter={cases}", limit=limit)
        except subprocess.TimeoutExpired:
            stage.skip(name, f"was not through after {limit:.0f} s")
            continue
        summary = re.findall(r"SUMMARY: .*", done.stdout + done.stderr)
        detail = f"{cases}: {'; '.join(summary) or 'no summary'}, status {done.returncode}"
        if kind == "initcheck":  # vectors read padding that nothing depends on: to be looked at, no failure
            stage.add(name, "passed" if done.returncode == 0 else "skipped", detail)
        else:
            ran = re.search(r"\[==========\] [1-9]\d* test", done.stdout) is not None
            stage.check(name, done.returncode == 0 and bool(summary) and ran, detail)


# ---- Traces

TRACED = ("tiny-32", "tiny-57", "twelve-64", "densenet121-64")


def hold_traces(stage, precisions, cases):
    """hold_precisions.py in a process per case: stored float64 traces; nothing but Python is needed."""
    shared = ("--shared", stage.settings.shared) if stage.settings.shared else ()
    python = ("--python", stage.settings.python) if stage.settings.python and stage.on_gpu else ()
    running = {}
    for case in cases:
        for precision in precisions:
            report = stage.work / f"{case}-{precision}.jsonl"
            command = [sys.executable, "-B", stage.root / "tests/reference/hold_precisions.py", "--binary",
                       stage.program("densetree"), *stage.here, "--json", report, "--precision", precision, *shared,
                       *python, case]
            running[case, precision] = report, stage.start(command, stdout=sys.stdout, stderr=sys.stderr)
    for _, process in running.values():
        try:
            process.wait(stage.left())
        except subprocess.TimeoutExpired:
            pass  # what it had found counts
    for precision in precisions:
        held, unfinished = [], []
        for case in cases:
            report, process = running[case, precision]
            lines = report.read_text().splitlines() if report.exists() else []
            held += [json.loads(line) for line in lines]
            if process.poll() is None or not lines:
                unfinished.append(case)
        note_traces(stage, precision, [one for one in held if one["case"] != "all"], unfinished)


def note_traces(stage, precision, held, unfinished):
    refused = next((one["refused"] for one in held if "refused" in one), None)
    if refused:
        return stage.lacking(f"traces in {precision}", refused)
    beyond = [f"{one['case']}: {one['measure']}" for one in held if not one["good"]]
    worst = max((one["error"] / one["limit"] for one in held if "error" in one), default=0)
    stage.figure(f"traces.{precision}", held)
    ratios = [one["error"] / one["pytorch"] for one in held if precision != "fp32" and one.get("pytorch")]
    if ratios:  # single cases differ by one rounding more or less; their mean tells more
        stage.figure(f"mean_error_over_pytorch.{precision}", math.exp(math.fsum(map(math.log, ratios)) / len(ratios)))
    stage.check(f"traces in {precision}", bool(held) and not beyond,
                f"{len(held)} measures, the worst at {worst:.2f} of its limit; beyond: {beyond}")
    if unfinished:
        stage.skip(f"traces in {precision}", f"no time was left for {', '.join(unfinished)}")


def traces(stage):
    hold_traces(stage, ("bf16", "fp32") if stage.on_gpu else ("fp32",), TRACED[:2] if stage.quick else TRACED)


def traces_tf32(stage):
    hold_traces(stage, ("tf32",), TRACED[:2] if stage.quick else TRACED)
