"""How does a product with M scale over two processes, and what travels between them?

Weak scaling: each process holds as many samples as one process alone. Strong scaling: two processes share them. Times
of one and of two processes alternate in one run of the two, and medians are compared. Bytes are counted at the
collective calls of the code itself, and held against the formula of `eigenflow.tangent.scale`.

Run:  torchrun --nproc-per-node 2 benchmarks/scaling_out.py [--samples 256] [--repeats 15]
"""

import argparse
import statistics
import time

import torch
import torch.distributed as dist
from torch import nn

from _machine import write
from eigenflow.integrations.distributed import process_group
from eigenflow.tangent import Probe, ShardedProbe
from eigenflow.tangent.scale import product_traffic

BLOCK = 4


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 10))


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def counted_bytes(probe, work):
    """What one call hands to collective calls."""
    total, plain = [0], probe.processes.sum

    def sum_of(part):
        total[0] += part.numel() * part.element_size()
        return plain(part)

    probe.processes.sum = sum_of
    try:
        work()
    finally:
        probe.processes.sum = plain
    return total[0]


def rows_of(space):
    return space.draw(BLOCK, torch.Generator().manual_seed(0))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--result", default="scaling_out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with process_group(timeout_s=120.0) as group:
        model = network()
        inputs, labels = torch.randn(args.samples, 64), torch.randint(0, 10, (args.samples,))
        half = slice(group.rank * args.samples // group.count, (group.rank + 1) * args.samples // group.count)
        kinds = {
            "weak": ShardedProbe(model, inputs, labels, "cross_entropy"),
            "strong": ShardedProbe(model, inputs[half], labels[half], "cross_entropy"),
        }
        alone = Probe(model, inputs, labels, "cross_entropy")
        point, vectors = alone.at(), rows_of(alone.space)
        times = {name: [] for name in ("alone", "alone beside another", *kinds)}
        jacobians = {name: probe.jacobian(probe.at()) for name, probe in kinds.items()}
        for _ in range(args.repeats + 1):
            if group.is_first:
                times["alone"].append(timed(lambda: point.product(vectors)))
            group.wait()
            times["alone beside another"].append(timed(lambda: point.product(vectors)))
            for name, probe in kinds.items():
                group.wait()
                rows = rows_of(probe.space)
                times[name].append(timed(lambda name=name, rows=rows: jacobians[name].product(rows)))
        parameters = sum(p.numel() for p in model.parameters())
        probe = kinds["strong"]
        taken = counted_bytes(probe, lambda: jacobians["strong"].product(rows_of(probe.space)))
        if not group.is_first:
            return
        medians = {name: statistics.median(values[1:]) for name, values in times.items()}
        row = {
            "processes": group.count,
            "parameters": parameters,
            "rows": probe.size,
            "vectors": BLOCK,
            "median_s": medians,
            "strong_speed_up": medians["alone"] / medians["strong"],
            "weak_efficiency": medians["alone"] / medians["weak"],
            "two_at_once_efficiency": medians["alone"] / medians["alone beside another"],
            "counted_bytes": taken,
            "formula_bytes": product_traffic(parameters, BLOCK, 8).handed_bytes,
        }
        for name, value in row.items():
            print(name, value)
        write(args.result, [row])


if __name__ == "__main__":
    main()
    assert not dist.is_initialized()
