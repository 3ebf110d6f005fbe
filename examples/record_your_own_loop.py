"""
Record your own training loop
=============================

A small network trains in a loop of its own. A recorder measures the operator at thirty of its updates. Then the claims
of the theory are judged on the run, and its energy is drawn shell by shell.

The name of the run's folder may be given: ``python examples/record_your_own_loop.py runs/example``
"""

import sys

import matplotlib.pyplot as plt
import torch
from torch import nn

import eigenflow as ef
from eigenflow.store import Run


def main(folder: str, steps: int = 600) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(24, 5, generator=generator)
    targets = torch.sin(inputs.sum(1, keepdim=True))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    probe = ef.Probe(model, inputs, targets, loss="mse")
    with ef.Recorder(folder, probe, schedule=ef.log_steps(steps, count=30)) as recorder:
        for step in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss.item(), learning_rate=0.1)

    run = ef.open_run(folder)
    for row in ef.claims(run):
        print(f"{row.claim:18} {row.verdict:13} {row.statement}")
    draw(run)


def draw(run: Run) -> None:
    modes = run.modes
    _, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    left.loglog(modes["time"], modes["eigenvalue"], color="C0", alpha=0.6)
    right.loglog(modes["time"], modes["coefficient"] ** 2, color="C1", alpha=0.6)
    left.set(xlabel="time (sum of learning rates)", ylabel="eigenvalue λ [1 / time]", title="eigenvalues move")
    right.set(xlabel="time (sum of learning rates)", ylabel="energy of a mode", title="energy is learned")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/example")
    plt.show()
