"""
Lazy against rich
=================

One network learns twice whether a digit is even: same weights at the start, same data. Its outputs are multiplied by
alpha, and the learning rate divided by alpha squared. With a large alpha the weights hardly need to move: the
operator stands still, training is lazy. With a small alpha they must move, and the network learns features.

The name of a picture may be given: ``python examples/lazy_against_rich.py lazy_rich.png``
"""

import sys
import tempfile
from copy import deepcopy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import eigenflow as ef
from eigenflow.plots import plot_eigenvalues, screen_style
from eigenflow.store import Run

ALPHAS = {"lazy": 10.0, "rich": 0.2}
SAMPLES, WIDTH, RATE, STEPS = 100, 64, 0.01, 1500


class Scaled(nn.Module):
    """alpha times what the network has learned: its outputs minus those of the untouched one."""

    def __init__(self, network: nn.Module, alpha: float):
        super().__init__()
        self.network, self.start, self.alpha = network, deepcopy(network).requires_grad_(False), alpha

    def forward(self, inputs: Tensor) -> Tensor:
        return self.alpha * (self.network(inputs) - self.start(inputs))


def data() -> tuple[Tensor, Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(pixels))[:SAMPLES]
    inputs = torch.tensor((pixels[chosen] - pixels.mean()) / pixels.std(), dtype=torch.float64)
    return inputs, torch.tensor(np.where(labels[chosen] % 2, -1.0, 1.0)[:, None])


def record(alpha: float, folder: Path, steps: int) -> Run:
    inputs, targets = data()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1)).double()
    model, rate = Scaled(network, alpha), RATE / alpha**2
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    probe = ef.Probe(model, inputs, targets, loss="mse")
    with ef.Recorder(folder, probe, schedule=ef.log_steps(steps, count=30)) as recorder:
        for step in range(steps):
            loss = nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss, learning_rate=rate)
    return ef.open_run(folder)


def main(picture: str | None = None, steps: int = STEPS) -> dict[str, float]:
    torch.set_num_threads(1)
    distances = {}
    with screen_style(), tempfile.TemporaryDirectory() as folder:
        figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.6), layout="constrained", sharey=True)
        for (name, alpha), ax in zip(ALPHAS.items(), axes, strict=True):
            run = record(alpha, Path(folder) / name, steps)
            measured = run.measurements
            distances[name] = float(measured["initial_distance"][-1])
            # In units of alpha^2 both operators are the same one at the start.
            plot_eigenvalues(measured["time"].values * alpha**2, measured["eigenvalue"].values / alpha**2, ax=ax)
            ax.set_title(f"{name}, alpha = {alpha:g}: the operator moved by {distances[name]:.2g} of its size")
            ax.legend(frameon=False, loc="upper right")
            print(f"{name}: ||M - M0|| / ||M0|| = {distances[name]:.3g}, loss {run.losses['loss'].iloc[-1]:.2g}")
        axes[0].set_ylim(5e-4, 2e3)
        axes[1].set_ylabel("")
        if picture:
            figure.savefig(picture, dpi=110)
    return distances


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
    plt.show()
