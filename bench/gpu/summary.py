#!/usr/bin/env python3
"""Puts what the stages of bench/gpu_check.sh found into OUT/summary.json and OUT/summary.md.

    summary.py OUT DEVICE quick|'' STAGE…      exit status 1 when any of the stages failed
"""
import datetime
import json
import pathlib
import sys


def read_stage(out, name):
    """What the stage left, with its status, its seconds and, where it did not come to its end, why."""
    path = out / "stages" / f"{name}.json"
    found = {"stage": name, "finished": False, "why_skipped": None, "checks": [], "figures": {}}
    if path.exists():
        found = json.loads(path.read_text())
    code, found["seconds"], limit = map(int, (out / "stages" / f"{name}.status").read_text().split())
    counts = {s: sum(check["status"] == s for check in found["checks"]) for s in ("passed", "failed", "skipped")}
    if not found["finished"]:
        why = f"stopped at its limit of {limit} s" if code in (124, 137) else f"ended with status {code}, see its log"
        found["checks"].append({"name": "goes on to its end", "status": "failed", "detail": why})
        counts["failed"] += 1
    if counts["failed"]:
        found["status"] = "failed"
    else:
        found["status"] = "passed" if counts["passed"] else "skipped"
    return found | counts


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")[:400]


def table(head, lines):
    return ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)] + [
        "| " + " | ".join(map(cell, line)) + " |" for line in lines] + [""]


def overview(stages):
    lines = ["## Stages", ""]
    lines += table(["stage", "status", "passed", "failed", "skipped", "s", ""], [
        [s["stage"], s["status"], s["passed"], s["failed"], s["skipped"], s["seconds"], s["why_skipped"] or ""]
        for s in stages])
    for status, title in (("failed", "Failed"), ("skipped", "Skipped")):
        found = [[s["stage"], c["name"], c["detail"]] for s in stages for c in s["checks"] if c["status"] == status]
        if found:
            lines += [f"## {title}", ""] + table(["stage", "check", "detail"], found)
    return lines


def steps(figures):
    rows = []
    for name, value in figures.items():
        if name.startswith(("train.", "infer.")):
            rows.append([name, f"{value['images_per_second']:.1f}", f"{value['milliseconds']:.2f}",
                         f"{value['plan_bytes'] / 1e6:.0f}", f"{value['convolution_share']:.2f}"])
    return ["## Steps", ""] + table(["step", "images/s", "ms", "plan MB", "share of convolutions"], rows) if rows else []


def beside_pytorch(figures):
    lines = []
    for name, value in figures.items():
        if name.startswith("compare-"):
            ratio = value["ratios"]
            lines += [f"## {name}", "",
                      f"{ratio['ours']} is {ratio['speed']:.2f}× as fast as {ratio['fastest_peer']} and takes "
                      f"{ratio['memory']:.2f}× the memory of {ratio['leanest_peer']}.", ""]
            lines += table(["", "median ms", "images/s", "peak MB", "card MB"], [
                [one["name"], f"{1e3 * one['seconds_median']:.2f}", f"{one['images_per_second']:.1f}",
                 f"{one['peak_bytes'] / 1e6:.0f}", "" if one["card_bytes"] is None else f"{one['card_bytes'] / 1e6:.0f}"]
                for one in value["contestants"]])
            lines += [f"Left out: {cell(one)}" for one in value["left_out"]]
    return lines


def profiles(figures):
    lines = []
    for name, value in figures.items():
        if name.startswith("profile."):
            lines += [f"## {name}: {value['milliseconds']:.2f} ms, {value['bytes_per_second'] / 1e9:.1f} GB/s, "
                      f"{value['flops'] / 1e12:.2f} TFLOP/s", ""]
            lines += table(["operation", "calls", "ms", "share", "GFLOP/s", "GB/s"], [
                [row["kind"], row["calls"], row["ms"], f"{row['share']:.3f}", row["gflops"], row["gbps"]]
                for row in value["rows"]])
    return lines


def rest(stages):
    """Every other figure as it is, where it is short."""
    apart = ("train.", "infer.", "compare-", "profile.", "layers.", "traces.")
    rows = [[s["stage"], name, json.dumps(value, ensure_ascii=False)] for s in stages
            for name, value in s["figures"].items() if not name.startswith(apart)]
    return ["## Figures", ""] + table(["stage", "figure", "value"], rows)


def markdown(summary):
    stages = summary["stages"]
    figures = next((s["figures"] for s in stages if s["stage"] == "benchmarks"), {})
    lines = [f"# GPU check: {summary['status']}", "", f"{summary['date']}, device {summary['device']}"
             f"{', quick' if summary['quick'] else ''}. Logs are in logs/, reports of the benchmarks in bench/.", ""]
    return "\n".join(lines + overview(stages) + steps(figures) + beside_pytorch(figures) + profiles(figures)
                     + rest(stages)) + "\n"


def main():
    out, device, quick, names = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "quick", sys.argv[4:]
    stages = [read_stage(out, name) for name in names]
    failed = any(s["status"] == "failed" for s in stages)
    environment = next((s["figures"] for s in stages if s["stage"] == "environment"), {})
    summary = {"format": "densetree-gpu-check", "version": 1, "status": "failed" if failed else "passed",
               "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "device": device,
               "quick": quick, "commit": environment.get("commit"), "source_sha256": environment.get("source_sha256"),
               "environment": environment, "stages": stages}
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (out / "summary.md").write_text(markdown(summary))
    for s in stages:
        print(f"{s['stage']:14} {s['status']:8} {s['passed']:4} passed {s['failed']:4} failed {s['seconds']:6} s")
        for check in s["checks"]:
            if check["status"] == "failed":
                print(f"  failed: {check['name']}: {check['detail'][:300]}")
    print(f"{summary['status']}: {out}/summary.md")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
