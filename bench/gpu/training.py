"""Stages that train: the same bytes twice, the same after a kill, moved between devices, the demo, real X-rays."""
import json
import re
import signal
import struct
import subprocess
import time

from stage import SMALL, Broken, last_loss, losses, rows

AUROC_BAND = 0.02    # of the device's mean AUROC below the CPU's
LOSS_BAND = 0.05     # of the last validation loss, relative
SCORE_BAND = 1e-4    # of a probability between devices, both in fp32
METRIC_BAND = 0.005  # of a mean AUROC of few images, whose ties a rounding can break
KILLS = 20


# ---- Determinism

def determinism(stage):
    data = stage.small_data()
    settings = (*SMALL, *stage.here, "--epochs", "2")
    for precision in stage.precisions():
        once, twice = (stage.train(f"{precision}-{i}", data, *settings, "--precision", precision) for i in (1, 2))
        stage.same_run(f"{precision}: two runs with one seed", once, twice)
        queued = stage.train(f"{precision}-queued", data, *settings, "--precision", precision, "--capture", "false")
        stage.check(f"{precision}: --capture false gives the same losses", losses(once) == losses(queued))
        for memory in () if stage.quick else ("store", "recompute"):
            other = stage.train(f"{precision}-{memory}", data, *settings, "--precision", precision, "--memory", memory)
            stage.check(f"{precision}: {memory} gives the losses of shared", losses(once) == losses(other))
        if not stage.quick:
            large = ("--arch", "densenet121", "--image-size", "64", "--batch-size", "16", "--epochs", "1", "--seed", "7",
                     *stage.here, "--precision", precision)
            runs = [stage.train(f"{precision}-densenet121-{i}", data, *large) for i in (1, 2)]
            stage.same_run(f"{precision}: two runs of DenseNet-121", *runs)


# ---- Kill and resume

def steps_into_epoch(checkpoint):
    """Steps of the unfinished epoch that a checkpoint holds: the second of progress.counters."""
    data = checkpoint.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    begin, _ = json.loads(data[8:8 + length])["progress.counters"]["data_offsets"]
    return struct.unpack_from("<q", data, 8 + length + begin + 8)[0]


def train_until_killed(stage, command, checkpoint):
    """Starts a training and kills it once it has saved; False when it ended by itself before that."""
    before = checkpoint.stat().st_ino if checkpoint.exists() else None
    with open(stage.work / "killed.log", "a") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        while process.poll() is None:
            if checkpoint.exists() and checkpoint.stat().st_ino != before:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        status = process.wait()
    if status not in (0, -signal.SIGKILL):
        said = (stage.work / "killed.log").read_text()[-300:]
        raise Broken(f"a training that was to be killed ended with {status}: {said}")
    return status != 0


def kill_and_resume(stage, name, settings):
    whole = stage.train(f"{name}-whole", stage.work / "data", *settings)
    killed = stage.work / f"{name}-killed"
    checkpoint = killed / "checkpoint-last.safetensors"
    command = [stage.program("densetree"), "train", "--data", stage.work / "data", "--out", killed, *settings]
    in_mid_epoch = 0
    for _ in range(KILLS):
        resume = ["--resume"] if checkpoint.exists() else []
        if not train_until_killed(stage, command + resume, checkpoint):
            break
        in_mid_epoch += checkpoint.exists() and steps_into_epoch(checkpoint) > 0
    stage.check(f"{name}: was killed in mid-epoch", in_mid_epoch > 0, f"{in_mid_epoch} times")
    stage.densetree("train", "--resume", "--data", stage.work / "data", "--out", killed, *stage.here)
    stage.same_run(f"{name}: resumed to the bytes of a run that was left alone", whole, killed)


def resume(stage):
    stage.small_data()
    for precision in stage.precisions():
        kill_and_resume(stage, precision, (*SMALL, *stage.here, "--epochs", "3", "--checkpoint-steps", "2",
                                           "--precision", precision))


# ---- Moved between devices

def largest_difference(one, other):
    """Of all probabilities of two score files with the same images in the same order."""
    worst = 0.0
    for a, b in zip(rows(one), rows(other), strict=True):
        if a["Image Index"] != b["Image Index"]:
            raise Broken(f"{one} and {other} hold other images, or in another order")
        worst = max([worst] + [abs(float(a[key]) - float(b[key])) for key in a if key != "Image Index"])
    return worst


def evaluate_on_both(stage, name, run, data):
    found = {}
    for place, where in (("here", stage.here), ("there", stage.there)):
        found[place] = stage.evaluate(f"{name}-{place}", run, data, "--split", "train", "--draws", "0", *where)
    difference = largest_difference(*(stage.work / f"{name}-{place}" / "scores.csv" for place in ("here", "there")))
    aurocs = [found[place]["mean_auroc"] for place in ("here", "there")]
    stage.check(f"{name}: probabilities agree", difference <= SCORE_BAND, f"largest difference {difference:.1e}")
    stage.check(f"{name}: mean AUROCs agree", None not in aurocs and abs(aurocs[0] - aurocs[1]) <= METRIC_BAND, aurocs)


def move(stage):
    data = stage.small_data()
    settings = (*SMALL, "--schedule", "constant")
    for name, first, second in (("begun here", stage.here, stage.there), ("begun there", stage.there, stage.here)):
        key = name.replace(" ", "-")
        begun = stage.train(key, data, *settings, *first, "--epochs", "1")
        evaluate_on_both(stage, key, begun, data)
        stayed = stage.train(f"{key}-stayed", data, *settings, *first, "--epochs", "2")
        stage.densetree("train", "--resume", "--data", data, "--out", begun, *second, "--epochs", "2")
        moved, kept = last_loss(begun), last_loss(stayed)
        stage.check(f"{name}, continued on the other: the loss follows", abs(moved - kept) <= LOSS_BAND * kept,
                    f"{moved:.5f}, {kept:.5f} where it was begun")


# ---- The demo

def demo_settings(stage):
    """What tools/demo.sh sets at its top."""
    text = (stage.root / "tools/demo.sh").read_text()
    found = dict(re.findall(r'^(\w+)="?([^"\s]+)"?(?:\s+#.*)?$', text, re.M))
    missing = {"images", "drawn_size", "image_size", "arch", "epochs", "batch_size", "least_auroc"} - found.keys()
    if missing:
        raise Broken(f"tools/demo.sh does not set {', '.join(sorted(missing))}")
    if stage.quick:
        found |= {"images": "160", "epochs": "2"}
    return found


def demo_run(stage, name, s, data, *where):
    """Trains, calibrates, evaluates; the run's folder and its metrics."""
    run = stage.train(name, data, *where, "--arch", s["arch"], "--image-size", s["image_size"], "--batch-size",
                      s["batch_size"], "--epochs", s["epochs"], "--loss", "bce")
    device = where[:where.index("--precision")] if "--precision" in where else where
    calibration = stage.work / f"{name}.json"
    stage.densetree("calibrate", "--run", run, "--data", data, "--split", "val", "--choose", "precision:0.5,delta:0.2",
                    "--out", calibration, *device)
    metrics = stage.evaluate(f"{name}-eval", run, data, "--split", "test", "--calibration", calibration, *device)
    return run, metrics


def same_tree(stage, run, data, labels):
    """Calibration and posteriors from one set of scores, on the device and on the CPU: the same bytes."""
    for split in ("val", "test"):
        stage.evaluate(f"scores-{split}", run, data, "--split", split, "--draws", "0", *stage.here)
    for place, where in (("here", stage.here), ("there", stage.there)):
        stage.densetree("calibrate", "--scores", stage.work / "scores-val/scores.csv", "--labels", labels, "--out",
                        stage.work / f"C-{place}.json", *where)
        stage.densetree("eval", "--scores", stage.work / "scores-test/scores.csv", "--labels", labels, "--calibration",
                        stage.work / f"C-{place}.json", "--out", stage.work / f"tree-{place}", *where)
    for what, form in (("C.json", "C-{}.json"), ("posteriors.csv", "tree-{}/posteriors.csv")):
        one, other = ((stage.work / form.format(place)).read_bytes() for place in ("here", "there"))
        stage.check(f"{what} of both devices: the same bytes", one == other)


def hold_auroc(stage, precision, metrics, reference, s):
    auroc, interval = metrics["mean_auroc"], metrics.get("mean_auroc_interval") or [None, None]
    if reference is not None and auroc is not None:
        inside = interval[0] is not None and interval[0] <= reference <= interval[1]
        stage.check(f"{precision}: mean AUROC is the CPU's", auroc >= reference - AUROC_BAND or inside,
                    f"{auroc:.4f} {interval}, CPU {reference:.4f}")
    if not stage.quick:
        stage.check(f"{precision}: mean AUROC is above the demo's bar",
                    auroc is not None and auroc >= float(s["least_auroc"]), f"{auroc}, bar {s['least_auroc']}")


def demo(stage):
    s = demo_settings(stage)
    drawn, data = stage.work / "drawn", stage.work / "data"
    labels = drawn / "Data_Entry_2017.csv"
    stage.densetree("synth", "--out", drawn, "--count", s["images"], "--size", s["drawn_size"], "--seed", "1")
    stage.densetree("prepare", "--images", drawn / "images", "--labels", labels, "--out", data, "--size", s["drawn_size"])
    reference = None
    if stage.on_gpu:
        reference = demo_run(stage, "cpu", s, data, *stage.there)[1]["mean_auroc"]
        stage.figure("demo.cpu", {"mean_auroc": reference, "val_loss": last_loss(stage.work / "cpu")})
    first = None
    for precision in stage.precisions():
        run, metrics = demo_run(stage, precision, s, data, *stage.here, "--precision", precision)
        stage.figure(f"demo.{precision}", {"mean_auroc": metrics["mean_auroc"], "val_losses": [
            float(row["val_loss"]) for row in rows(run / "metrics.csv")]})
        hold_auroc(stage, precision, metrics, reference, s)
        if first is None:
            first = last_loss(run)
            same_tree(stage, run, data, labels)
        else:
            last = last_loss(run)
            stage.check(f"{precision}: the last validation loss is fp32's", abs(last - first) <= LOSS_BAND * first,
                        f"{last:.5f}, fp32 {first:.5f}")


# ---- Real X-rays

def real(stage):
    sample = stage.settings.shared / "data/nih-256" if stage.settings.shared else None
    if sample is None or not sample.exists():
        return stage.skip_all(f"there is no {sample or '--shared DIR'}")
    data = stage.work / "data"
    stage.densetree("prepare", "--images", sample / "images", "--labels", sample / "Data_Entry_2017.csv", "--out", data,
                    "--size", "256")
    arch, size = (SMALL[1], "64") if stage.quick else ("densenet121", "224")
    for precision in stage.precisions():
        run = stage.train(precision, data, "--arch", arch, "--image-size", size, "--batch-size", "16", "--loss", "bce",
                          "--epochs", "2" if stage.quick else "4", "--precision", precision, *stage.here)
        epochs = rows(run / "metrics.csv")
        trained = [float(row["train_loss"]) for row in epochs]
        stage.check(f"{precision}: the training loss falls", trained[-1] < trained[0], trained)
        metrics = stage.evaluate(f"{precision}-eval", run, data, "--split", "test", *stage.here)
        stage.figure(f"real.{precision}", {"train_loss": trained, "val_loss": [float(row["val_loss"]) for row in epochs],
                                           "images_per_second": [float(row["images_per_second"]) for row in epochs],
                                           "mean_auroc": metrics["mean_auroc"]})
