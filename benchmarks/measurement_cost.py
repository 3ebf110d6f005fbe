"""How near is the estimated cost of a measurement to what it takes: operations, memory, seconds?

Every row is measured in a fresh process: resident memory is reset before, processor seconds are taken, and operations
are counted in a second measurement. The baseline is the estimate from shapes alone, `Probe.cost`.

Run:  python benchmarks/measurement_cost.py [--scale 1.0]
"""

import argparse
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

import eigenflow as ef
from _machine import write
from eigenflow.linalg import ModeTracker
from eigenflow.tangent import measurement_cost
from eigenflow.tangent.counted import counted

MODES = 32
CASES = [
    ("mlp", 200, "dense"),
    ("mlp", 600, "products"),
    ("mlp", 600, "tracked"),
    ("conv", 150, "dense"),
    ("conv", 200, "products"),
    ("conv", 200, "tracked"),
    ("tokens", 40, "dense"),
    ("tokens", 100, "products"),
    ("tokens", 100, "tracked"),
]


class Tokens(nn.Module):
    """A transformer of two layers over 16 tokens."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 32)
        layers = [nn.TransformerEncoderLayer(32, 4, 128, 0.0, batch_first=True) for _ in range(2)]
        self.blocks, self.head = nn.Sequential(*layers), nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.blocks(self.table(x)).mean(1))


def network(name, samples):
    torch.manual_seed(0)
    if name == "mlp":
        layers = [nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10)]
        return nn.Sequential(*layers), torch.randn(samples, 64)
    if name == "conv":
        layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 10)), torch.randn(samples, 3, 16, 16)
    return Tokens(), torch.randint(0, 50, (samples, 16))


def status(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {key}")


def measure(name, samples, method):
    """One row, in this process."""
    torch.set_num_threads(1)
    model, inputs = network(name, samples)
    labels = torch.randint(0, 10, (samples,))

    def probe_of(count):
        return ef.Probe(model.eval(), inputs[:count], labels[:count], "cross_entropy")

    def run(probe, tracker):
        if method == "tracked":
            return probe.measure(tracker=tracker)
        return probe.measure(None if method == "dense" else min(MODES, probe.size), method=method)

    small, probe = probe_of(6), probe_of(samples)
    run(small, ModeTracker(8))
    tracker = ModeTracker(MODES, tolerance=1e-3)
    if method == "tracked":
        run(probe, tracker)  # the cold instant
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 1.0 + 1e-5
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before, began = status("VmRSS"), time.process_time()
    shot = run(probe, tracker)
    seconds, peak = time.process_time() - began, status("VmHWM") - before
    products = shot.products
    del shot
    began = time.process_time()
    estimate = measurement_cost(probe, None if method == "dense" else MODES, method, products=products or None)
    took = time.process_time() - began
    flops = counted(lambda: run(probe, tracker)).flops
    return {
        "network": name,
        "rows": probe.size,
        "method": method,
        "products": products,
        "flops": flops,
        "peak_bytes": peak,
        "cpu_s": seconds,
        "flops_ratio": estimate.flops / flops,
        "bytes_ratio": estimate.peak_bytes / peak,
        "seconds_ratio": estimate.seconds / seconds,
        "estimate_cpu_s": took,
        "shapes_alone": {
            "flops_ratio": probe.cost().flops / flops if method == "dense" else None,
            "bytes_ratio": probe.cost().peak_bytes / peak if method == "dense" else None,
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="Factor of the numbers of samples.")
    parser.add_argument("--row", nargs=3, help="Used by itself: one row, printed as JSON.")
    parser.add_argument("--result", default="measurement_cost", help="Name of the file in results/.")
    args = parser.parse_args()
    if args.row:
        print(json.dumps(measure(args.row[0], int(args.row[1]), args.row[2])))
        return
    rows = []
    for name, samples, method in CASES:
        count = max(8, int(samples * args.scale))
        command = [sys.executable, __file__, "--row", name, str(count), method]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        row = rows[-1]
        print(name, method, *(f"{k} {row[k]:.3g}" for k in ("flops_ratio", "bytes_ratio", "seconds_ratio")), flush=True)
    write(args.result, rows)


if __name__ == "__main__":
    main()
