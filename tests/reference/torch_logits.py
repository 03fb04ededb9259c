#!/usr/bin/env python3
"""The first step's logits as PyTorch computes them in tf32 or under bf16 autocast: the yardstick of hold_precisions.py.

    torch_logits.py --device cuda < JOBS

JOBS is a JSON list of {"folder", "growth", "blocks", "init", "labels", "precision"}; each folder holds
weights.safetensors and batch.safetensors. Prints a JSON list of lists: every job's logits, row after row.
"""
import argparse
import json
import pathlib
import struct
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
import torch_densenet
import torch_precision

KINDS = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}


def read_safetensors(path):
    data = bytearray(pathlib.Path(path).read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    values = {}
    for name, info in header.items():
        begin, end = info["data_offsets"]
        kind = KINDS[info["dtype"]]
        flat = torch.frombuffer(data[8 + length + begin:8 + length + end], dtype=kind)
        values[name] = flat.reshape(info["shape"])
    return values


def logits(job, device):
    folder = pathlib.Path(job["folder"])
    net = torch_densenet.DenseNet(job["growth"], job["blocks"], job["init"], classes=job["labels"])
    net.load_state_dict(read_safetensors(folder / "weights.safetensors"))
    net = net.to(device).train()
    x = read_safetensors(folder / "batch.safetensors")["x"].to(device)
    amp = torch_precision.AMP[job["precision"]]
    torch_precision.set_up(torch, amp)
    with torch.no_grad(), torch_precision.autocast(torch, amp, device.split(":")[0]):
        return net(x).double().flatten().tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    json.dump([logits(job, args.device) for job in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
