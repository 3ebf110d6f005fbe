"""Run in a fresh process: what a measurement with a loss that is a plain function takes. Prints JSON.

Arguments: samples, outputs, drift (0 or 1), frame (0 or 1: with a root that is carried along).
"""

import json
import resource
import sys

import torch
from torch import nn
from torch.nn import functional

import eigenflow as ef


def coupled(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, targets)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(samples: int, outputs: int, drift: bool, frame: bool) -> ef.Probe:
    torch.manual_seed(0)
    inputs, targets = torch.randn(samples, 4), torch.randint(0, outputs, (samples,))
    probe = ef.Probe(nn.Linear(4, outputs), inputs, targets, loss=coupled)
    point = probe.at()
    if frame:
        point = point.anchor(point)
    point.error  # noqa: B018
    rows = torch.randn(2, point.size, dtype=torch.float64)
    point.product(rows)
    if drift:
        point.rate_product(rows, point.descent())
    return probe


def main() -> None:
    samples, outputs, drift, frame = map(int, sys.argv[1:])
    torch.set_num_threads(1)
    measure(2, 20, bool(drift), bool(frame))  # lazy imports and libraries are not what is asked for
    start = peak()
    probe = measure(samples, outputs, bool(drift), bool(frame))
    allowed = probe.loss.root_bytes(samples, outputs, 8, drift=bool(drift))
    print(json.dumps({"measured": peak() - start, "allowed": allowed, "block": 8 * samples * outputs**2}))


if __name__ == "__main__":
    main()
