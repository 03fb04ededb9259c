"""Stages about the machine and the build: what it is, its tests, the sanitizer over the device's kernels, traces."""
import ctypes
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

SOURCES = ("kernels", "engine", "nn", "tree", "tools", "bench", "tests")


# ---- Environment

def source_files(root):
    """Files of the source folders, by name: what git tracks where this is a checkout, else all that is there."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z", "--", *SOURCES], capture_output=True)
    if listed.returncode == 0 and listed.stdout:
        names = {name.decode() for name in listed.stdout.split(b"\0") if name}
    else:
        names = {str(path.relative_to(root)) for folder in SOURCES for path in (root / folder).rglob("*")}
    kept = (name for name in names if not name.startswith("bench/results/") and "__pycache__" not in name)
    return sorted(name for name in kept if (root / name).is_file())


def source_hash(root):
    """SHA-256 over name and SHA-256 of each source file: which code was measured, with or without git."""
    total = hashlib.sha256()
    for name in source_files(root):
        content = hashlib.sha256((root / name).read_bytes()).hexdigest()
        total.update(f"{content}  {name}\n".encode())
    return total.hexdigest()


def git_commit(root):
    """The commit, with '+' where files differ from it; None without git."""
    asked = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True)
    if asked.returncode != 0:
        return None
    changed = subprocess.run(["git", "-C", str(root), "status", "--porcelain", "-uno"], capture_output=True, text=True)
    return asked.stdout.strip() + ("+" if changed.stdout.strip() else "")


def library_version(name, function):
    """What a library's own function says of its version; None where it cannot be loaded."""
    try:
        call = getattr(ctypes.CDLL(name), function)
    except (OSError, AttributeError):
        return None
    value = ctypes.c_int(0)
    if function == "cuDriverGetVersion":
        return value.value if call(ctypes.byref(value)) == 0 else None
    call.restype = ctypes.c_size_t
    return call()


def cards():
    """nvidia-smi's answer for each GPU."""
    fields = ("name", "driver_version", "memory.total", "memory.free", "compute_cap", "clocks.max.sm", "power.limit")
    if not shutil.which("nvidia-smi"):
        return []
    asked = subprocess.run(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"],
                           capture_output=True, text=True)
    lines = asked.stdout.strip().splitlines() if asked.returncode == 0 else []
    return [dict(zip(fields, map(str.strip, line.split(",")))) for line in lines]


def torch_about(stage):
    """Versions of the PyTorch that can be asked; None without one."""
    if not stage.settings.python:
        return None
    script = ("import json, sys, torch\n"
              "print(json.dumps({'python': sys.executable, 'torch': torch.__version__, 'cuda': torch.version.cuda, "
              "'cudnn': torch.backends.cudnn.version(), 'gpu': torch.cuda.is_available() and "
              "torch.cuda.get_device_name()}))")
    asked = stage.run(stage.settings.python, "-c", script)
    return json.loads(asked.stdout) if asked.returncode == 0 else None


def processor():
    with open("/proc/cpuinfo") as info:
        return next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.machine())


def first_line(stage, *command):
    if not shutil.which(str(command[0])):
        return None
    said = stage.run(*command).stdout.strip().splitlines()
    return said[-1] if said else None


def environment(stage):
    devices = json.loads(stage.densetree("devices", "--json").stdout)
    pack = stage.build / "pack.json"
    packed = json.loads(pack.read_text()) if pack.exists() else None
    here = source_hash(stage.root)
    for name, value in {
            "commit": git_commit(stage.root), "source_sha256": here, "pack": packed, "processor": processor(),
            "cores": os.cpu_count(), "kernel": platform.release(), "python": sys.version.split()[0], "gpus": cards(),
            "cuda_driver": library_version("libcuda.so.1", "cuDriverGetVersion"),
            "cudnn": library_version("libcudnn.so.9", "cudnnGetVersion"),
            "cudart_of_cudnn": library_version("libcudnn.so.9", "cudnnGetCudartVersion"),
            "nvcc": first_line(stage, "nvcc", "--version"), "pytorch": torch_about(stage), "devices": devices}.items():
        stage.figure(name, value)
    usable = [d for d in devices if d["available"] and d["name"].startswith(stage.device.split(":")[0])]
    stage.check(f"{stage.device} can be used", bool(usable), [d["detail"] for d in devices if d not in usable])
    if packed:
        stage.check("the pack was built from these sources", packed["source_sha256"] == here)


# ---- Tests

def run_test_program(stage, program, only):
    """Runs a GoogleTest program by itself: it finds its cases here, on this machine's devices."""
    report = stage.work / f"{program.name}.json"
    done = stage.run(program, f"--gtest_output=json:{report}", f"--gtest_filter={only}")
    if not report.exists():
        return stage.check(program.name, False, f"ended with status {done.returncode} and no report")
    cases = [case for suite in json.loads(report.read_text())["testsuites"] for case in suite["testsuite"]]
    names = [f"{case['classname']}.{case['name']}" for case in cases if case.get("failures")]
    skipped = sum(case["result"] == "SKIPPED" for case in cases)
    ran = [case for case in cases if case["result"] == "COMPLETED"]
    on_device = sum("cuda" in case["name"] + str(case.get("value_param")) for case in ran)
    stage.figure(program.name, {"passed": len(ran) - len(names), "failed": len(names), "skipped": skipped,
                                "on_gpu": on_device, "failures": names})
    return stage.check(program.name, done.returncode == 0 and not names,
                       f"{len(ran) - len(names)} passed, {skipped} skipped, on a GPU {on_device}; failed: {names}")


def other_tests(stage):
    """CTest's tests that are no GoogleTest programs."""
    listed = json.loads(stage.must("ctest", "--test-dir", stage.build, "--show-only=json-v1").stdout)["tests"]
    return [test["name"] for test in listed if not test.get("command", [""])[0].endswith("_tests")]


def run_other_tests(stage):
    report = stage.work / "ctest.xml"
    names = [name for name in other_tests(stage) if name != "tools.gpu_check"]
    stage.run("ctest", "--test-dir", stage.build, "--output-on-failure", "--no-tests=error", "--output-junit", report,
              "-R", "^(" + "|".join(map(re.escape, names)) + ")$")
    suite = ElementTree.parse(report).getroot()
    failed = [case.get("name") for case in suite.iter("testcase") if case.get("status") == "fail"]
    skipped = [case.get("name") for case in suite.iter("testcase") if case.find("skipped") is not None]
    stage.check("ctest, the scripts", not failed, f"{len(names)} run, failed: {failed}, skipped: {skipped}")


def tests(stage):
    # Neither the emulation, which is for machines without a GPU, nor kernels that are compiled for other GPUs.
    programs = sorted(p for p in (stage.build / "bin").glob("*_tests") if not p.name.startswith("cuda_emulation"))
    stage.check("there are test programs", bool(programs), stage.build)
    only = "*Devices*:*MethodTest*:*MemoryTest*" if stage.quick else "-FusedPlanTest.*"
    for program in programs:
        run_test_program(stage, program, only)
    if stage.on_gpu:
        stage.check("tests ran on the GPU", any(figure["on_gpu"] for figure in stage.found["figures"].values()))
    if stage.quick or not (stage.build / "CTestTestfile.cmake").exists():
        stage.skip("ctest, the scripts", "quick" if stage.quick else "the build was brought along without them")
    else:
        run_other_tests(stage)


# ---- Sanitizer

OWN_KERNELS = "*cuda*-*ConvolutionTest*:*DeterminismTest*:*MemoryTest*"  # the others are cuDNN's, or nothing but copies
SANITIZED = (  # tool, program, cases
    ("memcheck", "tree_tests", "*MethodTest*cuda*"),
    ("memcheck", "kernels_tests", "*cuda*-*DeterminismTest*:*TooMuch*"),
    ("racecheck", "tree_tests", "*MethodTest*cuda*"),
    ("racecheck", "kernels_tests", OWN_KERNELS),
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
    limit = stage.settings.seconds / (2 if not stage.quick else 4)
    for kind, program, cases in SANITIZED:
        name = f"{kind} over {program}"
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

def precision_traces(stage):
    """hold_precisions.py: stored float64 traces, every precision; nothing but Python is needed."""
    report = stage.work / "precisions.jsonl"
    shared = ("--shared", stage.settings.shared) if stage.settings.shared else ()
    python = ("--python", stage.settings.python) if stage.settings.python else ()
    cases = ("tiny-32", "tiny-57") if stage.quick else ()
    stage.run(sys.executable, "-B", stage.root / "tests/reference/hold_precisions.py", "--binary",
              stage.program("densetree"), *stage.here, "--json", report, *shared, *python, *cases)
    held = [json.loads(line) for line in report.read_text().splitlines()]
    for precision in ("fp32", "tf32", "bf16"):
        ours = [one for one in held if one["precision"] == precision]
        refused = next((one["refused"] for one in ours if "refused" in one), None)
        if refused:
            stage.lacking(f"traces in {precision}", refused)
            continue
        beyond = [f"{one['case']}: {one['measure']}" for one in ours if not one["good"]]
        worst = max((one["error"] / one["limit"] for one in ours if "error" in one), default=None)
        stage.figure(f"traces.{precision}", ours)
        stage.check(f"traces in {precision}", bool(ours) and not beyond,
                    f"{len(ours)} measures, the worst at {worst:.2f} of its limit; beyond: {beyond}" if ours else "none")


def full_traces(stage):
    """hold_traces.py: every tensor of a trace against PyTorch in float64, made on the spot."""
    if not stage.settings.python or not stage.settings.shared:
        return stage.skip("whole traces in fp32", "needs torch, and torch_trace.py in the shared folder")
    cases = ("tiny-57",) if stage.quick else ("tiny-57", "tiny-96", "twelve-64", "ragged-57", "densenet121-64")
    done = stage.run(stage.settings.python, "-B", stage.root / "tests/reference/hold_traces.py", "--binary",
                     stage.program("densetree"), "--device", stage.device, "--script",
                     stage.settings.shared / "reference/torch_trace.py", *cases)
    if done.returncode == 77:
        return stage.skip("whole traces in fp32", done.stdout.strip())
    stage.check("whole traces in fp32", done.returncode == 0, f"{done.stdout.count('BEYOND')} measures beyond the limit")


def traces(stage):
    precision_traces(stage)
    full_traces(stage)
