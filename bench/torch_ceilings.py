#!/usr/bin/env python3
"""What the card itself can do, measured through PyTorch: a device-to-device copy, and matrix products in each precision.

Prints one JSON object: copy_bytes_per_second (read and written, both counted) and matmul_flops.<precision>. Operands
are random numbers: zeros draw less power and run faster than anything real.
"""
import argparse
import json
import statistics

import torch
import torch_precision


def seconds(body, repeats):
    """The median over repeats, after three that warm up."""
    for _ in range(3):
        body()
    found = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        body()
        end.record()
        torch.cuda.synchronize()
        found.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(found)


def copy_rate(size):
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * size / seconds(lambda: target.copy_(source), 20)


def product_rate(n, precision):
    torch_precision.set_up(torch, torch_precision.AMP[precision])
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(n, n, device="cuda", dtype=kind) for _ in range(2))
    c = torch.empty_like(a)
    return 2 * n ** 3 / seconds(lambda: torch.matmul(a, b, out=c), 10)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=4 << 30, help="to copy")
    parser.add_argument("--side", type=int, default=8192, help="of the matrices")
    args = parser.parse_args()
    print(json.dumps({"device": torch.cuda.get_device_name(), "torch": torch.__version__,
                      "copy_bytes_per_second": copy_rate(args.bytes),
                      "matmul_flops": {p: product_rate(args.side, p) for p in torch_precision.AMP}}))


if __name__ == "__main__":
    main()
