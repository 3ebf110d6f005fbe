"""One-pass SGD on a linear task: the mean loss over updates, its floor, and the rates at which it is stable.

With inputs x ~ N(0, Lambda), labels w*'x + noise and batches of m fresh samples, the mean squares C_k of w_k - w*_k
obey

    C_k+ = ((1 - eta lambda_k)^2 + eta^2 lambda_k^2 / m) C_k + (eta^2 / m) lambda_k (E + noise),   E = sum lambda_k C_k

exactly: diagonal and of rank one. A million modes take as long as a few hundred: a loss is a sum over modes of smooth
functions of lambda, so modes are replaced by nodes (`mode_groups`), for the start's decay and for the noise's each.
While rate and batch stay, the recursion of the nodes is a symmetric eigenproblem, and any later update costs a sum;
where they change, it is stepped.

Source: equations/identities.md#eq-s2, #eq-s3; [@paquette2024phases] for its power laws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.checks import check_kind, check_number, check_whole
from eigenflow.core.display import AbstractPrinted, Card, figure, span
from eigenflow.core.errors import ArgumentError
from eigenflow.theory.exponents.mode_groups import grouped
from eigenflow.theory.exponents.rate_schedule import Block, blocks_of, checked_steps
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["SgdCurve", "largest_stable_rate", "sgd_floor", "sgd_risk"]

WIDTH = 0.1  # of a bin in ln lambda; the error is told by the double
FEW = 300  # modes that are taken one by one
CHUNK = 1000  # updates whose factors are held at once
BISECTIONS = 200
BELOW_ONE = 1.0 - 1e-16
TINY = 1e-300


@dataclass(frozen=True, repr=False)
class SgdCurve(AbstractPrinted):
    """The mean squared distance from the target over updates, its mean over batches.

    Attributes:
        steps: Completed updates.
        times: Sum of their learning rates.
        risk: E, without the labels' noise; half of it is the loss.
        floor: What E tends to at constant rate and batch; None for schedules.
        nodes: Numbers that stand for the modes.
        error: Estimated relative error of `risk` by that.
    """

    steps: Int[np.ndarray, " time"]
    times: Float[np.ndarray, " time"]
    risk: Float[np.ndarray, " time"]
    floor: float | None
    nodes: int
    error: float

    def _card(self) -> Card:
        return Card(
            f"SgdCurve of {self.steps[-1]:,} updates",
            [
                ("risk", f"{span(self.risk)} at {len(self.risk)} steps"),
                ("floor", "-" if self.floor is None else figure(self.floor)),
                ("relative error", f"{figure(self.error, 2)}, by {self.nodes} nodes"),
            ],
        )


class State(NamedTuple):
    """E in its parts: what is left of the start at one set of nodes, what noise put there at another."""

    start: Float[np.ndarray, " node"]
    noise: Float[np.ndarray, " node"]


@dataclass(frozen=True)
class Nodes:
    """Modes as nodes: `start` for sums over the target's energies, `modes` for sums over lambda^2."""

    start: Float[np.ndarray, " node"]
    energies: Float[np.ndarray, " node"]
    modes: Float[np.ndarray, " node"]
    squares: Float[np.ndarray, " node"]
    noise: float

    @classmethod
    def of(cls, task: TaskSpectrum, width: float) -> "Nodes":
        """Gather a task's modes in bins."""
        width = width if len(task.eigenvalues) > FEW else 0.0
        start = grouped(task.eigenvalues, task.target, width)
        modes = grouped(task.eigenvalues, task.sizes * task.eigenvalues**2, width)
        return cls(*start, *modes, task.noise)

    def decays(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """1 minus the factor of one update without the rank-one part, at both sets of nodes."""
        first, second = (
            block.rate * lam * (2.0 - block.rate * lam * (1.0 + 1.0 / block.batch)) for lam in (self.start, self.modes)
        )
        return first, second

    def updates(self, rates: np.ndarray, batches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Factors of all nodes, the start's first, and what they gain from a unit of E, a row an update."""
        lam, weight = np.concatenate([self.start, self.modes]), np.zeros(len(self.start) + len(self.modes))
        weight[len(self.start) :] = self.squares
        first, second = rates[:, None] * lam, (rates**2 / batches)[:, None]
        return (1.0 - first) ** 2 + second * lam**2, second * weight


def sgd_risk(
    task: TaskSpectrum,
    steps: Int[np.ndarray, " time"] | Sequence[int],
    *,
    learning_rate: float | int | Float[np.ndarray, " update"],
    batch: int | Int[np.ndarray, " update"],
) -> SgdCurve:
    """Give the mean of E over all draws of the batches, at chosen updates.

    Args:
        task: Eigenvalues of the inputs' covariance, the target's energies lambda_k w*_k^2, the labels' noise. Weights
            start at 0.
        steps: Completed updates at which E is wanted, >= 0, increasing.
        learning_rate: eta for half the mean square over the batch; one number, or one for each update up to the last.
        batch: m >= 1; one number, or one for each update.

    Returns:
        The curve. Each stretch of constant rate and batch costs an eigenproblem of a few hundred nodes or its updates,
        whichever is less; a million modes are gathered in .1 s.

    Raises:
        ShapeError: If a schedule is shorter than the last step.
        ArgumentError: If an argument is out of its range, or a constant rate is not stable: the largest stable one is
            named. Rates of a schedule are free: it may pass through unstable ones.
    """
    check_kind("task", task, TaskSpectrum, "a TaskSpectrum")
    wanted = checked_steps(steps)
    blocks, times = blocks_of(learning_rate, batch, wanted)
    floor = None
    if np.ndim(learning_rate) == 0 and np.ndim(batch) == 0:
        floor = sgd_floor(task, learning_rate=learning_rate, batch=batch)  # pyright: ignore[reportArgumentType]
    fine, coarse = (Nodes.of(task, width) for width in (WIDTH, 2.0 * WIDTH))
    with np.errstate(over="ignore", invalid="ignore"):
        risk = _run(fine, blocks, wanted)
    if not np.isfinite(risk).all():
        raise ArgumentError(
            f"`learning_rate` makes the mean loss infinite by update {wanted[~np.isfinite(risk)][0]:,}. The largest "
            f"stable rate in batches of {int(blocks[0].batch)} is "
            f"{largest_stable_rate(task, int(blocks[0].batch)):.6g}."
        )
    # Fourth order in the width: the double is off by sixteen times as much.
    off = np.abs(_run(coarse, blocks, wanted) - risk) / np.maximum(risk, np.finfo(np.float64).tiny) / 15.0
    nodes = len(fine.start) + len(fine.modes)
    return SgdCurve(wanted, times, risk, floor, nodes, float(off.max(initial=0.0)))


def sgd_floor(task: TaskSpectrum, *, learning_rate: float | int, batch: int) -> float:
    """Give what E tends to at a constant rate.

    It is noise mu / (1 - mu) with mu = sum of (eta/m) lambda / (2 - eta lambda (1 + 1/m)).

    Args:
        task: Eigenvalues and noise.
        learning_rate: eta, stable.
        batch: m.

    Raises:
        ArgumentError: If the rate is not stable.
    """
    check_kind("task", task, TaskSpectrum, "a TaskSpectrum")
    rate = check_number("learning_rate", learning_rate)
    count = check_whole("batch", batch, 1, what="number of samples")
    _refuse_unstable(task, rate, count)
    mu = _mu(task, rate, count)
    return task.noise * mu / (1.0 - mu)


def largest_stable_rate(task: TaskSpectrum, batch: int) -> float:
    """Give the learning rate at which mu = 1, above which the mean of E grows without bound.

    Args:
        task: Eigenvalues.
        batch: m.
    """
    check_kind("task", task, TaskSpectrum, "a TaskSpectrum")
    count = check_whole("batch", batch, 1, what="number of samples")
    low, high = 0.0, 2.0 / (float(task.eigenvalues[0]) * (1.0 + 1.0 / count))
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _mu(task, middle, count) < 1.0 else (low, middle)
        if high - low <= 1e-15 * high:
            break
    return low


def _mu(task: TaskSpectrum, rate: float, batch: float | int) -> float:
    left = 2.0 - rate * task.eigenvalues * (1.0 + 1.0 / batch)
    if not (left > 0).all():
        return np.inf
    return float((rate / batch * task.eigenvalues / left) @ task.sizes)


def _refuse_unstable(task: TaskSpectrum, rate: float, batch: float | int) -> None:
    if not rate > 0 or not _mu(task, rate, batch) < 1.0:
        raise ArgumentError(
            f"`learning_rate` must be > 0 and below the largest stable rate in batches of {int(batch)}, "
            f"{largest_stable_rate(task, int(batch)):.6g}, but is {rate:g}. Lower it, or take larger batches."
        )


def _run(nodes: Nodes, blocks: list[Block], wanted: np.ndarray) -> Float[np.ndarray, " time"]:
    state = State(nodes.energies.copy(), np.zeros(len(nodes.modes)))
    found, done = np.empty(len(wanted)), 0
    found[wanted == 0] = nodes.energies.sum()
    for block in blocks:
        inside = np.flatnonzero((wanted > done) & (wanted <= done + block.count))
        ages = np.append(wanted[inside] - done, block.count)
        values, state = (_solved if block.is_constant else _stepped)(nodes, block, state, ages)
        found[inside] = values[:-1]
        done += block.count
    return found


def _stepped(nodes: Nodes, block: Block, state: State, ages: np.ndarray) -> tuple[np.ndarray, State]:
    """Update by update; `ages` increase, and the last is the block's end."""
    held, energies = np.concatenate(state), np.empty(block.count + 1)
    energies[0] = held.sum()
    for start in range(0, block.count, CHUNK):
        rows = slice(start, start + CHUNK)
        factors, gains = nodes.updates(block.rates[rows], block.batches[rows])
        for place, (factor, gain) in enumerate(zip(factors, gains, strict=True), start):
            held = factor * held + (energies[place] + nodes.noise) * gain
            energies[place + 1] = held.sum()
    return energies[ages], State(held[: len(state.start)], held[len(state.start) :])


def _solved(nodes: Nodes, block: Block, state: State, ages: np.ndarray) -> tuple[np.ndarray, State]:
    """All ages at once, from the eigenvectors of 1 - (one update) = diag(decay) - sqrt(gain) sqrt(gain)'."""
    start_decay, decay = nodes.decays(block)
    root = block.rate * np.sqrt(nodes.squares / block.batch)
    rates, vectors = np.linalg.eigh(np.diag(decay) - np.outer(root, root))
    along = vectors.T @ root
    held = vectors.T @ (state.noise / root)
    growth, shrink = np.log1p(-np.minimum(rates, BELOW_ONE)), np.log1p(-start_decay)
    values = np.empty((len(ages), len(root)))
    for place, age in enumerate(ages):
        # What the noise of earlier updates has become, and what each node of the start has fed.
        fed = _geometric(age, growth[:, None], shrink) @ state.start + nodes.noise * _geometric(age, growth, 0.0)
        values[place] = np.exp(age * growth) * held + along * fed
    left = np.exp(ages[:, None] * shrink) * state.start
    return left.sum(1) + values @ along, State(left[-1], (vectors @ values[-1]) * root)


def _geometric(count: int | np.integer, log_a: Any, log_b: Any) -> np.ndarray:
    """Sum of a^(count - 1 - i) b^i over i below count, without cancellation where a is near b."""
    larger, apart = np.maximum(log_a, log_b), np.abs(np.subtract(log_a, log_b))
    with np.errstate(invalid="ignore"):
        ratio = np.where(apart < TINY, float(count), np.expm1(-count * apart) / np.expm1(-apart))
    return np.exp((count - 1) * larger) * ratio
