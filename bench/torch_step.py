#!/usr/bin/env python3
"""PyTorch's side of compare_step.py: training steps or inference of a DenseNet, run on command.

Standard input "run N": N steps, one JSON line with the seconds of each and the memory so far. Ends with the input.
On a GPU steps are queued without waiting, each reads the loss of the one before, and the clock is read with the device
idle before the first and after the last; CUDA events around them give the device's own time. The seconds are then the
same for each: the whole over their number. Memory is what PyTorch's allocator had handed out at most.
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


def make_optimizer(torch, net, device):
    """Fused Adam where this PyTorch has it for the device, else foreach; and its name."""
    try:
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
        for p in net.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()  # PyTorch of old finds out here that the CPU has none
        optimizer.zero_grad(set_to_none=True)
        return optimizer, "fused Adam"
    except (RuntimeError, TypeError):
        return torch.optim.Adam(net.parameters(), lr=1e-3, foreach=True), "foreach Adam"


def make_step(torch, args):
    """A function that does one step and gives a number of its result on the device, and what is to be told about it."""
    import torch_densenet
    import torch_precision
    torch.manual_seed(1)
    net, origin = torch_densenet.make(args.arch, args.labels, args.mode == "memory_efficient")
    memory_format = torch.channels_last if args.mode == "channels_last" else torch.contiguous_format
    net = net.to(args.device, memory_format=memory_format)
    x = torch.randn(args.batch_size, 3, args.image_size, args.image_size).to(args.device, memory_format=memory_format)
    y = torch.randint(0, 2, (args.batch_size, args.labels)).float().to(args.device)
    about = {"network": origin, "optimizer": ""}
    kind = args.device.split(":")[0]
    if args.what == "train":
        net.train()
        optimizer, about["optimizer"] = make_optimizer(torch, net, args.device)
        call = torch.compile(net) if args.compile else net

        def step():
            optimizer.zero_grad(set_to_none=True)
            with torch_precision.autocast(torch, args.amp, kind):
                loss = torch.nn.functional.mse_loss(torch.sigmoid(call(x)).float(), y)
            loss.backward()
            optimizer.step()
            return loss.detach()
    else:
        net.eval()
        call = torch.compile(net) if args.compile else net

        def step():
            with torch.inference_mode(), torch_precision.autocast(torch, args.amp, kind):
                return torch.sigmoid(call(x))[0, 0]
    return step, about


def time_each(step, steps):
    """Seconds of each step, up to its number on the host."""
    seconds, value = [], 0.0
    for _ in range(steps):
        start = time.perf_counter()
        value = step().item()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "value": value}


def time_queued(torch, step, steps):
    """Seconds of steps that are queued one behind the other, each with the number of the one before."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start = time.perf_counter()
    begin.record()
    last = None
    for _ in range(steps):
        number = step()
        if last is not None:
            last.item()
        last = number
    end.record()
    value = last.item()
    torch.cuda.synchronize()
    each = (time.perf_counter() - start) / steps
    return {"seconds": [each] * steps, "device_seconds": [begin.elapsed_time(end) / 1e3 / steps] * steps, "value": value,
            "device_peak_bytes": torch.cuda.max_memory_allocated(),
            "device_reserved_bytes": torch.cuda.max_memory_reserved()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["train", "infer"])
    parser.add_argument("mode", choices=["nchw", "channels_last", "memory_efficient"])
    parser.add_argument("--arch", default="densenet121")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--labels", type=int, default=14)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--amp", choices=["off", "tf32", "bf16"], default="off")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    args = parser.parse_args()

    import torch
    import torch_precision
    if args.threads:
        torch.set_num_threads(args.threads)
    cuda = args.device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(torch.device(args.device) if ":" in args.device else 0)
        torch.backends.cudnn.benchmark = True  # the fastest that PyTorch has, not the first
    torch_precision.set_up(torch, args.amp)
    baseline = process_bytes("VmRSS")  # Python, torch and all its libraries
    step, about = make_step(torch, args)

    def tell(**what):
        print(json.dumps(what), flush=True)

    name = f"torch {torch.__version__} {args.mode}" + ("+compile" if args.compile else "")
    tell(name=name, version=torch.__version__, hardware=torch.cuda.get_device_name() if cuda else processor(),
         threads=torch.get_num_threads(), python=sys.executable, amp=args.amp, baseline_bytes=baseline,
         cudnn=torch.backends.cudnn.version() if cuda else None,
         onednn="oneDNN" if torch.backends.mkldnn.is_available() else "no oneDNN", **about)
    for command in sys.stdin:
        steps = int(command.split()[1])
        timed = time_queued(torch, step, steps) if cuda else time_each(step, steps)
        tell(peak_bytes=process_bytes("VmHWM"), **timed)


if __name__ == "__main__":
    main()
