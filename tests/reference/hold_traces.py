#!/usr/bin/env python3
"""Holds `densetree trace` against PyTorch in full, for people who have PyTorch and torchvision.

    hold_traces.py --binary build/release/bin/densetree [--script torch_trace.py] [--memory shared] [CASE…]

For each case (tests/reference/cases.py; a few small ones by default) PyTorch makes the float64 and float32 traces,
the program makes its own from the same weights and batch, and torch_trace.py's error() compares them: each measure may
be three times PyTorch's own float32 error, or within the floors. Leaves with 77, for "skipped", where PyTorch or the
script is missing, with 1 where a measure is beyond its limit.
"""
import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

SKIPPED = 77
DEFAULT = ("tiny-57", "tiny-96", "twelve-64", "ragged-57")
FLOORS = {"loss": 1e-6, "logits": 1e-5, "grad_total": 1e-5, "grad_median": 1e-5, "running": 1e-5,
          "eval_logits": 1e-4, "weights_off": 1e-4}


def read_safetensors(path):
    import numpy as np
    kinds = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + length:]
    values = {}
    for name, info in header.items():
        begin, end = info["data_offsets"]
        values[name] = np.frombuffer(body[begin:end], kinds[info["dtype"]]).astype(np.float64).reshape(info["shape"])
    return values


def run_densetree(a, case, arch, torch_trace, state, x, y):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        torch_trace.save_safetensors(folder / "weights.safetensors", {n: v.numpy() for n, v in state.items()})
        torch_trace.save_safetensors(folder / "batch.safetensors", {"x": x, "y": y})
        subprocess.run([a.binary, "trace", "--device", a.device, "--threads", str(a.threads), "--arch", arch,
                        "--weights", folder / "weights.safetensors", "--batch", folder / "batch.safetensors",
                        "--steps", str(case.steps), "--lr", repr(case.lr),
                        "--loss", case.loss, "--memory", a.memory, "--out", folder / "trace.safetensors"],
                       check=True, stderr=subprocess.DEVNULL)
        return read_safetensors(folder / "trace.safetensors")


def hold(name, error, pytorch):
    good = True
    for measure, value in error.items():
        limit = max(3 * pytorch[measure], FLOORS[measure])
        fine = value <= limit  # false for NaN
        good = good and fine
        print(f"{name:16} {measure:12} {value:9.2e}  PyTorch {pytorch[measure]:9.2e}  limit {limit:9.2e}  "
              f"{'' if fine else 'BEYOND'}", flush=True)
    return good


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", required=True)
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=1, help="of the program")
    p.add_argument("--script", help="where torch_trace.py is")
    p.add_argument("--memory", choices=["store", "shared", "recompute"], default="shared")
    p.add_argument("cases", nargs="*", metavar="CASE", help="of tests/reference/cases.py, or `all`")
    a = p.parse_args()
    try:
        import cases
        script = pathlib.Path(a.script or cases.shared_script())
        if not script.exists():
            print(f"skipped: no {script}")
            return SKIPPED
        torch_trace = cases.load_torch_trace(script)
    except ImportError as missing:
        print(f"skipped: {missing}")
        return SKIPPED
    good = True
    for name in (cases.CASES if a.cases == ["all"] else a.cases or DEFAULT):
        case = cases.CASES[name]
        state, x, y, trace, single, _ = cases.traces(torch_trace, case)
        got = run_densetree(a, case, cases.architecture(case), torch_trace, state, x, y)
        good &= hold(name, torch_trace.error(got, trace, case.steps, case.lr),
                     torch_trace.error(single, trace, case.steps, case.lr))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
