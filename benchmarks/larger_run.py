"""What does it take to follow 64 modes of an operator with 20,000 rows and 5 million parameters through a run?

A fully connected network 512-1600-1600-1024-100 (P = 5,124,324) learns 100 noisy clusters from 200 samples by full
batches with heavy ball. At 30 checkpoints the 64 largest eigenpairs are tracked and certified, and the energy below
them is measured by Lanczos quadrature; --drift takes the exact Mdot in their basis too. A dense M of this size would
take 3.2 GB in float64, and its eigenproblem 9 n^3 = 7e13 operations a checkpoint.

With 100 outputs the kernel of a wide network is close to K (x) 1, so eigenvalues come in clusters of 100, and 64 modes
cut one: Lanczos from random directions has certified 27 of them to 1e-2 after 304 products, and all 64 only to 6e-2.
Hence the certified tolerance of 0.1; the bound that was reached stands in every row.

Run:  OMP_NUM_THREADS=2 python benchmarks/larger_run.py            (add --checkpoints 3 for a quick look)
"""

import argparse
import resource
import time
from itertools import pairwise

import torch
from torch import nn

import eigenflow as ef
from _machine import write
from eigenflow.linalg import ModeTracker, spectral_measures
from eigenflow.tangent.drift import mode_drift
from eigenflow.tangent.products import CachedJacobian

SAMPLES, CLASSES, WIDTHS = 200, 100, (512, 1600, 1600, 1024, 100)


def make():
    generator = torch.Generator().manual_seed(0)
    layers = []
    for a, b in pairwise(WIDTHS):
        linear = nn.Linear(a, b)
        nn.init.normal_(linear.weight, std=a**-0.5, generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.Tanh()]
    model = nn.Sequential(*layers[:-1])
    centres = torch.randn(CLASSES, WIDTHS[0], generator=generator)
    labels = torch.arange(SAMPLES) % CLASSES
    inputs = 0.7 * centres[labels] + 0.7 * torch.randn(SAMPLES, WIDTHS[0], generator=generator)
    return model, inputs, nn.functional.one_hot(labels, CLASSES).float() - 1.0 / CLASSES


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modes", type=int, default=64)
    parser.add_argument("--checkpoints", type=int, default=30)
    parser.add_argument("--spacing", type=int, default=5, help="updates between checkpoints")
    parser.add_argument("--tolerance", type=float, default=0.1)
    parser.add_argument("--drift", action="store_true", help="take Mdot along gradient flow too")
    parser.add_argument("--tail-steps", type=int, default=16)
    args = parser.parse_args()
    model, inputs, targets = make()
    base = peak_bytes()
    probe = ef.Probe(model, inputs, targets, loss="half_mean", dtype=torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    tracker = ModeTracker(args.modes, tolerance=args.tolerance)
    rows, start_cpu, start_wall = [], time.process_time(), time.perf_counter()
    for checkpoint in range(args.checkpoints):
        marks = [time.process_time()]
        for _ in range(args.spacing if checkpoint else 0):
            optimizer.zero_grad()
            loss = 0.5 * ((model(inputs) - targets) ** 2).sum(1).mean()
            loss.backward()
            optimizer.step()
        marks.append(time.process_time())
        point = probe.at()
        direction = {name: -g for name, g in point.gradient().items()} if args.drift else None
        jacobian = CachedJacobian(point, direction)
        operator = jacobian.operator()
        marks.append(time.process_time())
        tracked = tracker.update(operator)
        marks.append(time.process_time())
        pairs = tracked.pairs
        rate = None
        if args.drift:
            drift = mode_drift(pairs, jacobian.rate_product(pairs.eigenvectors), operator.space)
            rate = float(drift.rate_matrix[0, 0])
        marks.append(time.process_time())
        (tail,) = spectral_measures(
            operator, point.error[None].double(), steps=args.tail_steps, deflate=pairs.eigenvectors
        )
        marks.append(time.process_time())
        names = ("train", "factors", "track", "drift", "tail")
        spent = dict(zip(names, [b - a for a, b in pairwise(marks)], strict=True))
        whole = float(point.error.double() @ point.error.double())
        rows.append(
            {
                "checkpoint": checkpoint,
                "loss": point.loss,
                "largest": float(pairs.eigenvalues[0]),
                "smallest_tracked": float(pairs.eigenvalues[-1]),
                "worst_relative_bound": float((pairs.eigenvalue_bounds / pairs.eigenvalues).max()),
                "converged": int(pairs.is_converged.sum()),
                "is_cold": tracked.is_cold,
                "products": pairs.stats.products,
                "largest_rate": rate,
                "tail_share_of_energy": tail.mass / whole,
                **{f"{name}_cpu_s": seconds for name, seconds in spent.items()},
                "peak_bytes": peak_bytes(),
            }
        )
        print(
            f"{checkpoint:3d} loss {point.loss:.4g} {tracked.reason or 'warm'}, {pairs.stats.products} products, "
            f"bound {rows[-1]['worst_relative_bound']:.1e}, {sum(spent.values()):.1f} CPU-s, "
            f"{peak_bytes() / 2**20:.0f} MiB",
            flush=True,
        )
        totals = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "operator_rows": probe.size,
            "modes": args.modes,
            "tolerance": args.tolerance,
            "checkpoints": len(rows),
            "cpu_s": time.process_time() - start_cpu,
            "wall_s": time.perf_counter() - start_wall,
            "products": sum(row["products"] for row in rows),
            "peak_bytes": peak_bytes(),
            "bytes_before": base,
        }
        write("larger_run", rows, totals=totals)  # after every checkpoint: what a long run has is not lost
    print(totals)


if __name__ == "__main__":
    main()
