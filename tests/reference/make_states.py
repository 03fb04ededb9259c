#!/usr/bin/env python3
"""Writes tests/reference/states.json: names and shapes of torchvision's networks with 14 outputs, in their own order.

densenet121 is spelled out. Of every network there are the number of entries and the FNV-1a hash (64 bits) of the text
made of one line "<name> <d0>x<d1>…\\n" for each entry (a scalar has no sizes, its line ends in a space).
"""
import json
import pathlib

import torchvision


def lines(network):
    state = getattr(torchvision.models, network)(num_classes=14).state_dict()
    return [f"{name} {'x'.join(map(str, value.shape))}" for name, value in state.items()]


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def main():
    states = {}
    for network in ("densenet121", "densenet161", "densenet169", "densenet201"):
        entries = lines(network)
        states[network] = {"entries": len(entries), "fnv1a": fnv1a("".join(e + "\n" for e in entries))}
        if network == "densenet121":
            states[network]["lines"] = entries
    path = pathlib.Path(__file__).parent / "states.json"
    path.write_text(json.dumps(states, indent=0) + "\n")


if __name__ == "__main__":
    main()
