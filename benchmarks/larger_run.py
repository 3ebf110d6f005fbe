"""What does it take to follow 64 modes of an operator with 20,000 rows and 5 million parameters through a run?

A fully connected network 512-1600-1600-1024-100 (P = 5,124,324) learns 100 outputs of a nonlinear teacher from 200
samples by full batches with heavy ball. Inputs and outputs have scales that fall like i^-1/2, as principal components
do, and the last layer starts at the scale of the outputs: with outputs alike, the kernel of a wide network is close to
K (x) 1, whose eigenvalues come in clusters of 100 that 64 modes would cut. After a warm-up the 64 largest eigenpairs
are tracked and certified at 30 checkpoints, and the energy below them is measured by Lanczos quadrature; every few
checkpoints the exact Mdot is taken in their basis too. A dense M of this size would take 3.2 GB in float64, and its
eigenproblem 9 n^3 = 7e13 operations a checkpoint.

Run:  OMP_NUM_THREADS=1 python benchmarks/larger_run.py            (add --checkpoints 3 for a quick look)
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

SAMPLES, WIDTHS = 200, (512, 1600, 1600, 1024, 100)


def make():
    generator = torch.Generator().manual_seed(0)
    layers = []
    for a, b in pairwise(WIDTHS):
        linear = nn.Linear(a, b)
        nn.init.normal_(linear.weight, std=a**-0.5, generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.Tanh()]
    model = nn.Sequential(*layers[:-1])
    scales = 4.0 * torch.arange(1, WIDTHS[-1] + 1) ** -0.5
    with torch.no_grad():
        model[-1].weight *= scales[:, None]
    spread = torch.arange(1, WIDTHS[0] + 1) ** -0.5
    spread *= (WIDTHS[0] / spread.square().sum()).sqrt()  # mean square of an input: 1
    inputs = spread * torch.randn(SAMPLES, WIDTHS[0], generator=generator)
    teacher = WIDTHS[0] ** -0.5 * torch.randn(WIDTHS[0], WIDTHS[-1], generator=generator)
    return model, inputs, scales * torch.tanh(inputs @ teacher)


def train(model, optimizer, inputs, targets, updates: int) -> None:
    for _ in range(updates):
        optimizer.zero_grad()
        loss = 0.5 * ((model(inputs) - targets) ** 2).sum(1).mean()
        loss.backward()
        optimizer.step()


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modes", type=int, default=64)
    parser.add_argument("--checkpoints", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=100, help="updates before the first checkpoint")
    parser.add_argument("--spacing", type=int, default=5, help="updates between checkpoints")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--tolerance", type=float, default=1e-2, help="of each eigenvalue, relative to it")
    parser.add_argument("--drift-every", type=int, default=10, help="take Mdot at every so many checkpoints; 0: never")
    parser.add_argument("--tail-steps", type=int, default=16)
    parser.add_argument("--result", default="larger_run", help="name of the results file")
    args = parser.parse_args()
    model, inputs, targets = make()
    base = peak_bytes()
    probe = ef.Probe(model, inputs, targets, loss="half_mean", dtype=torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.learning_rate, momentum=0.9)
    tracker = ModeTracker(args.modes, tolerance=args.tolerance)
    rows, start_cpu, start_wall = [], time.process_time(), time.perf_counter()
    train(model, optimizer, inputs, targets, args.warm_up)
    warm_up_cpu = time.process_time() - start_cpu
    for checkpoint in range(args.checkpoints):
        marks = [time.process_time()]
        train(model, optimizer, inputs, targets, args.spacing if checkpoint else 0)
        marks.append(time.process_time())
        has_drift = args.drift_every > 0 and checkpoint % args.drift_every == 0
        point = probe.at()
        direction = {name: -g for name, g in point.gradient().items()} if has_drift else None
        jacobian = CachedJacobian(point, direction)
        operator = jacobian.operator()
        marks.append(time.process_time())
        tracked = tracker.update(operator)
        marks.append(time.process_time())
        pairs = tracked.pairs
        rate = None
        if has_drift:
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
                "status": pairs.status.value,
                "clusters": int(pairs.clusters[-1]) + 1,
                "is_cold": tracked.is_cold,
                "reason": tracked.reason,
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
            "cold": sum(row["is_cold"] for row in rows),
            "converged_pairs": sum(row["converged"] for row in rows),
            "warm_up_updates": args.warm_up,
            "spacing": args.spacing,
            "learning_rate": args.learning_rate,
            "warm_up_cpu_s": warm_up_cpu,
            "cpu_s": time.process_time() - start_cpu,
            "wall_s": time.perf_counter() - start_wall,
            "products": sum(row["products"] for row in rows),
            "peak_bytes": peak_bytes(),
            "bytes_before": base,
        }
        write(args.result, rows, totals=totals)  # after every checkpoint: what a long run has is not lost
    print(totals)


if __name__ == "__main__":
    main()
