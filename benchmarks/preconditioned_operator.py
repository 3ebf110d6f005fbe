"""How much dearer is M = J P^(-1) J^T, which an adaptive optimizer has, than M = J J^T?

P is that of AdamW after three updates. For each network M is formed, alone and with its exact derivative, in three ways
that take turns: without P, with P, and with P by explicit rows of J alone, which need no rule for it. The rows are
those of this package, which shares their memory between layers. Float64, one thread.

Run:  OMP_NUM_THREADS=1 python benchmarks/preconditioned_operator.py --repeats 5
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import torch
from torch import nn

import eigenflow as ef
from _dense_workloads import workload
from _machine import write
from eigenflow.lab.transformer import ByteGPT
from eigenflow.tangent import dense
from eigenflow.tangent.rules.scaled import cheapest_way


def wide_mlp(samples: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    layers = [nn.Linear(256, 1000), nn.Tanh(), nn.Linear(1000, 700), nn.Tanh(), nn.Linear(700, 10)]
    return nn.Sequential(*layers), torch.randn(samples, 256), torch.randn(samples, 10)


def regression(samples: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """One output: explicit rows stay the cheapest."""
    layers = [nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 1)]
    return nn.Sequential(*layers), torch.randn(samples, 64), torch.randn(samples, 1)


def hundred_classes(samples: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Convolutions at 64, 16 and 16 positions."""
    layers: list[nn.Module] = []
    for ins, outs, stride in ((3, 32, 1), (32, 64, 2), (64, 64, 1)):
        layers += [nn.Conv2d(ins, outs, 3, stride=stride, padding=1), nn.Tanh()]
    return (
        nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 100)),
        torch.randn(samples, 3, 8, 8),
        torch.randn(samples, 100),
    )


def gpt(samples: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Eight positions of 32 symbols, all of them predicted."""
    model = ByteGPT(32, 8, 64, 2, 2, nn.GELU, 1.0)
    return model, torch.randint(0, 32, (samples, 8)), torch.randn(samples, 8, 32)


CASES: dict[str, tuple[Callable[[int], tuple[nn.Module, torch.Tensor, torch.Tensor]], int]] = {
    "mlp 256-1000-700-10": (wide_mlp, 24),
    "mlp 64-256-256-10": (lambda samples: workload("mlp", samples), 128),
    "mlp 64-256-256-1": (regression, 400),
    "three convolutions, 10 classes": (lambda samples: workload("conv", samples), 64),
    "three convolutions, 100 classes": (hundred_classes, 8),
    "gpt, 8 positions of 32 symbols": (gpt, 6),
}


def trained(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    return optimizer


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measured(name: str, repeats: int) -> dict[str, object]:
    torch.manual_seed(0)
    make, samples = CASES[name]
    model, inputs, targets = make(samples)
    model, targets = model.double(), targets.double()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    optimizer = trained(model, inputs, targets)
    probe = ef.Probe(model, inputs, targets)
    plain, preconditioned = probe.at(), probe.at(preconditioner=optimizer)
    direction = preconditioned.descent()
    ways: list[str] = []

    def noted(*sizes: int, **kinds: bool) -> str:
        way = cheapest_way(*sizes, **kinds)
        _, positions, outs, ins = sizes
        ways.append(f"{ins} to {outs} at {positions}: {way}")
        return way

    def by_rows(work: Callable[[], object]) -> object:
        with patch.object(dense, "cheapest_way", lambda *_, **__: "rows"):
            return work()

    with patch.object(dense, "cheapest_way", noted):
        found = preconditioned.dense()
    expected = by_rows(preconditioned.dense)
    row: dict[str, object] = {
        "network": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "samples": samples,
        "rows": probe.size,
        "layers": ways,
        "relative_difference": float((found - expected).norm() / expected.norm()),
    }
    for what, works in {
        "operator": (plain.dense, preconditioned.dense),
        "operator_and_rate": (
            lambda: plain.dense_and_rate(direction),
            lambda: preconditioned.dense_and_rate(direction),
        ),
    }.items():
        taken: dict[str, list[float]] = {"without": [], "with": [], "rows": []}
        for repeat in range(repeats + 1):
            once = seconds(works[0]), seconds(works[1]), seconds(partial(by_rows, works[1]))
            for kept, second in zip(taken.values(), once, strict=True):
                if repeat:  # the first is a warm-up
                    kept.append(second)
        medians = {key: statistics.median(kept) for key, kept in taken.items()}
        row[what] = {
            **{f"{key}_s": value for key, value in medians.items()},
            **{f"{key}_spread_s": max(kept) - min(kept) for key, kept in taken.items()},
            "with_to_without": medians["with"] / medians["without"],
            "rows_to_with": medians["rows"] / medians["with"],
        }
        print(
            f"{name}, {what}: without P {medians['without']:.3f} s, with {medians['with']:.3f} s "
            f"({medians['with'] / medians['without']:.1f} times), by rows {medians['rows']:.3f} s "
            f"({medians['rows'] / medians['with']:.1f} times more)",
            flush=True,
        )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(write("preconditioned_operator", [measured(name, arguments.repeats) for name in arguments.cases]))


if __name__ == "__main__":
    main()
