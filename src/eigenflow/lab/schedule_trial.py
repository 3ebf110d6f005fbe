"""Many small networks trained side by side, one learning-rate schedule each: do schedules differ as a law says?

The task is one-pass regression with a power-law spectrum and label noise, where the noise of small batches decides
what a schedule is worth. All runs of a seed share the initial network and every batch, so that schedules differ in
nothing else and their losses can be compared in pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError

__all__ = ["ScheduleTrial", "TrialResult", "train_side_by_side"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ScheduleTrial:
    """Task, network and optimizer.

    Attributes:
        inputs: Input features; feature k has variance k^-decay.
        decay: Of the input spectrum.
        width: Hidden units of the student (tanh).
        teacher_width: Hidden units of the fixed teacher that makes the targets.
        label_noise: Standard deviation of the noise on every training target (targets have variance 1).
        batch_size: Fresh samples for every update.
        optimizer: "sgd" or "adam".
        test_samples: Noise-free samples for the loss that is reported.
    """

    inputs: int = 48
    decay: float = 1.0
    width: int = 64
    teacher_width: int = 24
    label_noise: float = 0.5
    batch_size: int = 8
    optimizer: str = "adam"
    test_samples: int = 4096

    def __post_init__(self) -> None:
        if self.optimizer not in ("sgd", "adam"):
            raise ArgumentError(f"Unknown `optimizer` '{self.optimizer}'. Available: 'sgd', 'adam'.")


@dataclass(frozen=True)
class TrialResult:
    """Losses of all runs.

    Attributes:
        steps: Completed updates at each evaluation.
        losses: Mean squared error on noise-free test data plus the variance of the label noise, that is, the
            expected loss of a fresh training sample.
        seeds: Of each set of runs.
    """

    steps: Int[np.ndarray, " point"]
    losses: Float[np.ndarray, "seed run point"]
    seeds: tuple[int, ...]


def train_side_by_side(
    trial: ScheduleTrial,
    rates: Float[np.ndarray, "run update"],
    seeds: tuple[int, ...],
    steps: Int[np.ndarray, " point"],
    progress: Progress | None = None,
) -> TrialResult:
    """Train one network for every schedule and seed.

    Args:
        trial: Task, network and optimizer.
        rates: Learning rate of every update, one row a schedule.
        seeds: Each draws its own teacher, test data, initial network and batches.
        steps: Completed updates at which the test loss is taken, increasing.
        progress: Called as progress(done, total) now and then.

    Returns:
        The test losses.

    Raises:
        ShapeError: If `steps` go beyond the rates.
        NonFiniteError: If a run diverges; the message names its schedule and seed.
    """
    rates, steps = np.asarray(rates, dtype=np.float64), np.asarray(steps)
    if rates.ndim != 2 or steps.max() > rates.shape[1]:
        raise ShapeError(f"`rates` must be (run, update) with at least {steps.max()} updates, but is {rates.shape}.")
    losses = np.empty((len(seeds), len(rates), len(steps)))
    for place, seed in enumerate(seeds):
        losses[place] = _train_seed(trial, torch.from_numpy(rates).float(), seed, steps)
        wrong = np.argwhere(~np.isfinite(losses[place]))
        if len(wrong):
            raise NonFiniteError(
                f"The run of schedule {wrong[0][0]} with seed {seed} diverged before step {steps[wrong[0][1]]}. "
                f"Lower its peak rate ({rates[wrong[0][0]].max():g})."
            )
        if progress is not None:
            progress(place + 1, len(seeds))
    return TrialResult(steps, losses, tuple(seeds))


def _train_seed(trial: ScheduleTrial, rates: Tensor, seed: int, steps: np.ndarray) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    data = _Teacher(trial, generator)
    test_inputs, test_targets = data.draw(trial.test_samples)
    parameters = _students(trial, len(rates), generator)
    kind = torch.optim.Adam if trial.optimizer == "adam" else torch.optim.SGD
    # Every update of both optimizers is proportional to the rate: take it at rate 1, then scale it for each run.
    optimizer = kind(parameters, lr=1.0)
    wanted = set(steps.tolist())
    found = []
    for step in range(int(steps.max()) + 1):
        if step in wanted:
            with torch.no_grad():
                error = _outputs(parameters, test_inputs) - test_targets
                found.append((error.square().mean(dim=1) + trial.label_noise**2).numpy())
        if step == steps.max():
            break
        inputs, targets = data.draw(trial.batch_size)
        targets = targets + trial.label_noise * torch.randn(targets.shape, generator=generator)
        optimizer.zero_grad()
        # The sum over runs: each run's parameters see only its own loss.
        (0.5 * (_outputs(parameters, inputs) - targets).square().mean(dim=1)).sum().backward()
        before = [p.detach().clone() for p in parameters]
        optimizer.step()
        with torch.no_grad():
            for p, old in zip(parameters, before, strict=True):
                p.copy_(old + rates[:, step].reshape(-1, 1, 1) * (p - old))
    return np.array(found).T


class _Teacher:
    """Draws inputs with a power-law spectrum and targets of variance 1 from a fixed random network."""

    def __init__(self, trial: ScheduleTrial, generator: torch.Generator):
        self.generator = generator
        self.scales = torch.arange(1, trial.inputs + 1).float() ** (-trial.decay / 2)
        self.first = torch.randn(trial.inputs, trial.teacher_width, generator=generator)
        self.second = torch.randn(trial.teacher_width, generator=generator) / trial.teacher_width**0.5
        self.level, self.spread = 0.0, 1.0
        sample = self.draw(20_000)[1]
        self.level, self.spread = float(sample.mean()), float(sample.std())

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        inputs = torch.randn(count, len(self.scales), generator=self.generator) * self.scales
        targets = torch.tanh(inputs @ self.first) @ self.second
        return inputs, (targets - self.level) / self.spread


def _students(trial: ScheduleTrial, runs: int, generator: torch.Generator) -> list[Tensor]:
    """Copies of one random network, one a run, stacked along the first axis."""
    first = torch.randn(trial.inputs, trial.width, generator=generator) / trial.inputs**0.5
    second = torch.randn(trial.width, 1, generator=generator) / trial.width**0.5
    shapes = (first, torch.zeros(1, trial.width), second)
    return [p.unsqueeze(0).repeat(runs, 1, 1).requires_grad_() for p in shapes]


def _outputs(parameters: list[Tensor], inputs: Tensor) -> Tensor:
    first, bias, second = parameters
    hidden = torch.tanh(torch.matmul(inputs, first) + bias)
    return torch.matmul(hidden, second).squeeze(-1)
