"""DenseNet as torchvision has it, for machines without torchvision; and torchvision's own where it is there.

Concatenation, batch norm, in-place ReLU and checkpointing are torchvision's (torchvision/models/densenet.py), because
they are what is measured.
"""
from collections import OrderedDict

import torch
import torch.utils.checkpoint
from torch import nn
from torch.nn import functional as F

BLOCKS = {
    "densenet121": (32, (6, 12, 24, 16), 64),
    "densenet161": (48, (6, 12, 36, 24), 96),
    "densenet169": (32, (6, 12, 32, 32), 64),
    "densenet201": (32, (6, 12, 48, 32), 64),
    "densenet264": (32, (6, 12, 64, 48), 64),
}


class Layer(nn.Module):
    def __init__(self, channels, growth, bottleneck, memory_efficient):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels, bottleneck * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bottleneck * growth)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(bottleneck * growth, growth, 3, padding=1, bias=False)
        self.memory_efficient = memory_efficient

    def bottleneck(self, *features):
        return self.conv1(self.relu1(self.norm1(torch.cat(features, 1))))

    def forward(self, features):
        if self.memory_efficient and any(f.requires_grad for f in features):
            y = torch.utils.checkpoint.checkpoint(self.bottleneck, *features, use_reentrant=False)
        else:
            y = self.bottleneck(*features)
        return self.conv2(self.relu2(self.norm2(y)))


class Block(nn.ModuleDict):
    def __init__(self, layers, channels, growth, bottleneck, memory_efficient):
        super().__init__()
        for i in range(layers):
            self[f"denselayer{i + 1}"] = Layer(channels + i * growth, growth, bottleneck, memory_efficient)

    def forward(self, x):
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class DenseNet(nn.Module):
    def __init__(self, growth, blocks, init, bottleneck=4, classes=14, memory_efficient=False):
        super().__init__()
        self.features = nn.Sequential(OrderedDict([
            ("conv0", nn.Conv2d(3, init, 7, stride=2, padding=3, bias=False)), ("norm0", nn.BatchNorm2d(init)),
            ("relu0", nn.ReLU(inplace=True)), ("pool0", nn.MaxPool2d(3, stride=2, padding=1))]))
        channels = init
        for i, layers in enumerate(blocks, 1):
            self.features.add_module(f"denseblock{i}", Block(layers, channels, growth, bottleneck, memory_efficient))
            channels += layers * growth
            if i < len(blocks):
                self.features.add_module(f"transition{i}", nn.Sequential(OrderedDict([
                    ("norm", nn.BatchNorm2d(channels)), ("relu", nn.ReLU(inplace=True)),
                    ("conv", nn.Conv2d(channels, channels // 2, 1, bias=False)), ("pool", nn.AvgPool2d(2, stride=2))])))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, x):
        x = F.relu(self.features(x), inplace=True)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


def make(arch, classes, memory_efficient):
    """The network, and whose it is: "torchvision 0.14" or "written out"."""
    growth, blocks, init = BLOCKS[arch]
    try:
        import torchvision
        from torchvision.models.densenet import DenseNet as Theirs
    except ImportError:
        return DenseNet(growth, blocks, init, classes=classes, memory_efficient=memory_efficient), "written out"
    net = Theirs(growth, blocks, init, num_classes=classes, memory_efficient=memory_efficient)
    return net, "torchvision " + torchvision.__version__
