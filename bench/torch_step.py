#!/usr/bin/env python3
"""PyTorch's side of compare_step.py: training steps or inference of a DenseNet, run on command.

Standard input "run N": N steps, one JSON line with the seconds of each and the memory so far. Ends with the input.
"""
import argparse
import json
import platform
import sys
import time


def process_bytes(key):
    """A line of /proc/self/status: VmRSS (resident now), VmHWM (most that ever was)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key + ":"))


def processor():
    with open("/proc/cpuinfo") as info:
        return next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.machine())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["train", "infer"])
    parser.add_argument("mode", choices=["nchw", "channels_last", "memory_efficient"])
    parser.add_argument("--arch", default="densenet121")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--labels", type=int, default=14)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()

    import torch
    import torch_densenet
    if args.threads:
        torch.set_num_threads(args.threads)
    baseline = process_bytes("VmRSS")  # Python, torch and all its libraries
    torch.manual_seed(1)
    net, origin = torch_densenet.make(args.arch, args.labels, args.mode == "memory_efficient")
    memory_format = torch.channels_last if args.mode == "channels_last" else torch.contiguous_format
    net = net.to(memory_format=memory_format)
    x = torch.randn(args.batch_size, 3, args.image_size, args.image_size).contiguous(memory_format=memory_format)
    y = torch.randint(0, 2, (args.batch_size, args.labels)).float()

    optimizer_name = ""
    if args.what == "train":
        net.train()
        try:
            optimizer, optimizer_name = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True), "fused Adam"
            for p in net.parameters():
                p.grad = torch.zeros_like(p)
            optimizer.step()  # PyTorch of old finds out here that the CPU has none
            optimizer.zero_grad(set_to_none=True)
        except (RuntimeError, TypeError):
            optimizer, optimizer_name = torch.optim.Adam(net.parameters(), lr=1e-3, foreach=True), "foreach Adam"

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.mse_loss(torch.sigmoid(net(x)), y)
            loss.backward()
            optimizer.step()
            return loss.item()
    else:
        net.eval()

        def step():
            with torch.inference_mode():
                return torch.sigmoid(net(x))[0, 0].item()

    def tell(**what):
        print(json.dumps(what), flush=True)

    tell(name=f"torch {torch.__version__} {args.mode}", version=torch.__version__, hardware=processor(),
         threads=torch.get_num_threads(), network=origin, optimizer=optimizer_name, python=sys.executable,
         onednn="oneDNN" if torch.backends.mkldnn.is_available() else "no oneDNN", baseline_bytes=baseline)
    for command in sys.stdin:
        seconds, value = [], 0.0
        for _ in range(int(command.split()[1])):
            start = time.perf_counter()
            value = step()
            seconds.append(time.perf_counter() - start)
        tell(seconds=seconds, peak_bytes=process_bytes("VmHWM"), value=value)


if __name__ == "__main__":
    main()
