"""Summary and figures of bench/gpu_check.sh, from what its stages left on disk."""
import datetime
import json


def read_stage(results, name, limit, running):
    """What the stage left, with its status, its seconds and, where it did not come to its end, why."""
    path, ended = results / "stages" / f"{name}.json", results / "stages" / f"{name}.status"
    found = {"stage": name, "finished": False, "why_skipped": None, "checks": [], "figures": {}}
    if path.exists():
        found = json.loads(path.read_text())
    code, found["seconds"], stopped_at = ended.read_text().split() if ended.exists() else ("", "0", "0")
    found["seconds"] = float(found["seconds"])
    counts = {s: sum(check["status"] == s for check in found["checks"]) for s in ("passed", "failed", "skipped")}
    if ended.exists() and not found["finished"]:
        why = f"stopped after {stopped_at} s" if code in ("124", "137", "-9") else f"ended with status {code}, see its log"
        found["checks"].append({"name": "goes on to its end", "status": "failed", "detail": why})
        counts["failed"] += 1
    if not ended.exists():
        found["status"] = "not run"
        found["why_skipped"] = "had begun" if name == running else f"not begun; takes up to {limit} s"
    elif counts["failed"]:
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
        [s["stage"], s["status"], s["passed"], s["failed"], s["skipped"], f"{s['seconds']:.0f}", s["why_skipped"] or ""]
        for s in stages])
    for status, title in (("failed", "Failed"), ("skipped", "Skipped")):
        found = [[s["stage"], c["name"], c["detail"]] for s in stages for c in s["checks"] if c["status"] == status]
        if found:
            lines += [f"## {title}", ""] + table(["stage", "check", "detail"], found)
    return lines


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


def kernels(figures):
    lines = []
    for name, value in figures.items():
        if name.startswith("kernels."):
            lines += [f"## {name}: {value['launches']} launches in {value['wall_ms']:.2f} ms, of which kernels "
                      f"{value['busy_ms']:.2f} ms", ""]
            lines += table(["kernel", "calls", "ms", "share", "median us", "registers"], [
                [row["kernel"], row["calls"], f"{row['ms']:.3f}", f"{row['share']:.3f}", f"{row['median_us']:.1f}",
                 row["registers"]] for row in value["rows"][:40]])
    return lines


def operations(figures):
    lines = []
    for name, value in figures.items():
        if name.startswith("operations."):
            lines += [f"## {name}: {value['milliseconds']:.2f} ms", ""]
            lines += table(["operation", "calls", "ms", "share", "GFLOP/s", "GB/s"], [
                [row["kind"], row["calls"], row["ms"], f"{row['share']:.3f}", row["gflops"], row["gbps"]]
                for row in value["rows"]])
    return lines


def rest(stages):
    """Every other figure as it is, where it is short."""
    apart = ("compare-", "kernels.", "operations.", "layers", "traces.", "cudnn_description")
    rows = [[s["stage"], name, json.dumps(value, ensure_ascii=False)] for s in stages
            for name, value in s["figures"].items() if not name.startswith(apart)]
    return ["## Figures", ""] + table(["stage", "figure", "value"], rows) if rows else []


def markdown(summary):
    stages = summary["stages"]
    figures = {name: value for s in stages for name, value in s["figures"].items()}
    lines = [f"# GPU check: {summary['status']}", "", f"{summary['date']}, device {summary['device']}"
             f"{', quick' if summary['quick'] else ''}. Logs and reports are in results.tar.gz.", ""]
    return "\n".join(lines + overview(stages) + beside_pytorch(figures) + kernels(figures)
                     + operations(figures) + rest(stages)) + "\n"


def write(results, folder, device, quick, plan, running):
    """summary.json and summary.md in `folder`, of the (name, limit) in `plan`; the summary."""
    stages = [read_stage(results, name, limit, running) for name, limit in plan]
    failed = any(s["status"] == "failed" for s in stages)
    environment = next((s["figures"] for s in stages if s["stage"] == "environment"), {})
    summary = {"format": "densetree-gpu-check", "version": 2, "status": "failed" if failed else "passed",
               "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "device": device,
               "quick": quick, "commit": environment.get("commit"), "source_sha256": environment.get("source_sha256"),
               "environment": environment, "stages": stages}
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (folder / "summary.md").write_text(markdown(summary))
    return summary


def line_of(summary, name):
    s = next(s for s in summary["stages"] if s["stage"] == name)
    lines = [f"{name:12} {s['status']:8} {s['passed']:4} passed {s['failed']:4} failed {s['seconds']:6.0f} s"]
    lines += [f"  failed: {check['name']}: {check['detail'][:300]}" for check in s["checks"] if check["status"] == "failed"]
    return "\n".join(lines)


def text_of(summary):
    return "\n".join([line_of(summary, s["stage"]) for s in summary["stages"]] + [summary["status"]])
