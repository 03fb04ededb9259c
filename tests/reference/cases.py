"""Cases for reference traces beside those of torch_trace.py: other networks, seeds, sizes, batches, losses and rates.

torch_trace.py is not part of this repository; its path is given on the command line, or is ../shared/reference beside
the checkout (or $DENSETREE_SHARED/reference). What it computes, and how, is in its header.
"""
import argparse
import importlib.util
import os
import pathlib

import numpy as np

NETWORKS = {  # growth, blocks, init
    "tiny": (8, (2, 3, 4, 2), 16),
    "twelve": (12, (2, 3, 2, 2), 24),   # channels that do not fill blocks of 16
    "ragged": (5, (3, 2, 3), 9),        # nothing is a multiple of anything; odd counts are halved
    "deep": (8, (12, 16, 12, 8), 16),
    "short": (16, (2, 2), 32),
    "densenet121": (32, (6, 12, 24, 16), 64),
    "densenet161": (48, (6, 12, 36, 24), 96),
    "densenet169": (32, (6, 12, 32, 32), 64),
    "densenet201": (32, (6, 12, 48, 32), 64),
}


def case(network, size, batch, steps, seed, labels=13, loss="mse", lr=1e-3):
    return argparse.Namespace(network=network, size=size, batch=batch, steps=steps, seed=seed, labels=labels, loss=loss, lr=lr)


# Seeds of the small networks are those, of twenty each, whose float64 run stays furthest from where rounding decides
# (watch_edges below): there the agreement asked for is a matter of arithmetic, not of luck. The large networks have
# millions of ReLU inputs a step; some are always near zero, for PyTorch's float32 as for anybody's.
CASES = {
    "tiny-32": case("tiny", 32, 16, 3, seed=1005),
    "tiny-57": case("tiny", 57, 5, 4, seed=1806, labels=14, loss="bce", lr=3e-4),
    "tiny-128": case("tiny", 128, 2, 2, seed=907, labels=1),
    "tiny-96": case("tiny", 96, 3, 3, seed=1308, labels=14, loss="bce", lr=1e-2),
    "twelve-64": case("twelve", 64, 6, 3, seed=809),
    "ragged-57": case("ragged", 57, 4, 3, seed=1110, labels=14, loss="bce"),
    "ragged-96": case("ragged", 96, 7, 2, seed=1111, labels=1, loss="bce"),
    "deep-64": case("deep", 64, 4, 2, seed=1412),
    "short-48": case("short", 48, 8, 5, seed=1413, loss="bce"),
    "densenet121-64": case("densenet121", 64, 8, 2, seed=14, labels=14, loss="bce"),
    "densenet161-96": case("densenet161", 96, 3, 1, seed=15),
    "densenet169-64": case("densenet169", 64, 4, 1, seed=16, labels=14, loss="bce"),
    "densenet201-64": case("densenet201", 64, 3, 1, seed=17),
}


def architecture(a):
    """The network's name as `densetree trace --arch` takes it."""
    if a.network.startswith("densenet"):
        return a.network
    growth, blocks, init = NETWORKS[a.network]
    return f"growth={growth},blocks={'-'.join(map(str, blocks))},init={init}"


def shared_script():
    shared = os.environ.get("DENSETREE_SHARED") or pathlib.Path(__file__).resolve().parents[3] / "shared"
    return pathlib.Path(shared) / "reference" / "torch_trace.py"


def load_torch_trace(path):
    spec = importlib.util.spec_from_file_location("torch_trace", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def watch_edges(model):
    """How close the model's float64 run comes to where rounding decides: the smallest |input| of a ReLU, the smallest
    lead of a maximum over the runner-up in a pooling window. Gives a list that fills while the model trains."""
    import torch
    seen = []

    def relu(module, inputs, output):  # every batch norm of DenseNet feeds a ReLU
        if module.training:
            seen.append(float(output.detach().abs().min()))

    def pool(module, inputs, output):
        if module.training:
            x = torch.nn.functional.pad(inputs[0].detach(), (1, 1, 1, 1))  # after a ReLU zeros are as good as padding
            top = x.unfold(2, 3, 2).unfold(3, 3, 2).flatten(4).topk(2, dim=4).values
            lead = (top[..., 0] - top[..., 1])[top[..., 0] > 0]
            seen.append(float(lead.min()))

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(relu)
        elif isinstance(module, torch.nn.MaxPool2d):
            module.register_forward_hook(pool)
    return seen


def traces(torch_trace, a):
    """(initial state, x, y, float64 trace, float32 trace, distance from the nearest edge) of a case."""
    import torch
    import torchvision
    growth, blocks, init = NETWORKS[a.network]

    def make():
        return torchvision.models.DenseNet(growth, blocks, init, num_classes=a.labels, memory_efficient=False)

    state = torch_trace.initial_state(make(), a.seed)
    x = (2 * torch_trace.uniform(a.seed, 60000, a.batch * 3 * a.size ** 2) - 1).astype(np.float32)
    y = (torch_trace.uniform(a.seed, 60001, a.batch * a.labels) < 0.3).astype(np.float32)
    x, y = x.reshape(a.batch, 3, a.size, a.size), y.reshape(a.batch, a.labels)
    exact = make()
    edges = watch_edges(exact)
    return (state, x, y, torch_trace.run(exact, state, x, y, a, torch.float64),
            torch_trace.run(make(), state, x, y, a, torch.float32), min(edges))
