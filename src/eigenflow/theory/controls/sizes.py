"""Sweeps of known truth for the rows about width, data and compute.

Losses come from the exact formulas (regression on features of a power-law spectrum) or from a plain law, at as many
sizes as users have, and each repeat scatters about them. Predicted exponents are known to a few percent, as from a
measured spectrum. Positive sweeps obey the theory; the others break one thing each. A sweep that is almost all floor
obeys it as well, but no one could tell.

One more control takes no formula: kernel regression on drawn samples, and a spectrum measured on a sample of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.exponents.predicted import PredictedExponents, predict_exponents
from eigenflow.theory.exponents.ranges import ExponentRange
from eigenflow.theory.over_sizes import MeasuredTask, SizeSweep, exponent_row, measured_task
from eigenflow.theory.task_spectrum import TaskSpectrum
from eigenflow.theory.verdicts import Claim, Verdict

__all__ = ["SIZE_CONTROLS", "SizeControl", "SizeVerdicts", "judge_size_controls", "simulated_control"]

PREDICTED_SCATTER = 0.03  # of the logarithm of a predicted exponent, as spectra of some hundred modes give it
Z90 = 1.645
SIMULATED_MODES = 3000


@dataclass(frozen=True)
class SizeControl:
    """A sweep of known truth.

    Attributes:
        name: In words.
        resource: Of the sweep.
        is_true: Whether the predicted exponent is the law's.
        losses: Gives loss by size, for one draw of the system.
        exponent: Gives the predicted exponent of that draw.
    """

    name: str
    resource: str
    is_true: bool
    losses: Callable[[Float[np.ndarray, " size"], "Draw"], Float[np.ndarray, " size"]]
    exponent: Callable[["Draw"], float]

    def sweep(self, sizes: int, repeats: int, scatter: float, seed: int) -> tuple[SizeSweep, ExponentRange]:
        """A sweep from this system, and the exponent that was predicted for it.

        Args:
            sizes: How many, each twice the one before.
            repeats: Of each.
            scatter: Standard deviation of ln(loss) between repeats.
            seed: Of the draw.
        """
        rng = np.random.default_rng(seed)
        draw = Draw(float(rng.uniform(1.2, 1.8)), float(rng.uniform(0.3, 0.9)), rng.uniform(size=4))
        places = 16.0 * 2.0 ** np.arange(sizes)
        exact = self.losses(places, draw)
        noisy = exact[:, None] * np.exp(scatter * rng.standard_normal((sizes, repeats)))
        number = np.broadcast_to(np.arange(repeats), noisy.shape)
        made = SizeSweep(self.resource, np.repeat(places, repeats), noisy.ravel(), number.ravel(), self.name)
        told = self.exponent(draw) * float(np.exp(PREDICTED_SCATTER * rng.standard_normal()))
        half = float(np.exp(Z90 * PREDICTED_SCATTER))
        return made, ExponentRange(told, told / half, told * half)


@dataclass(frozen=True)
class Draw:
    """What a control begins with: capacity b, exponent a - 1 of the target's tail below 1, and four uniform numbers."""

    capacity: float
    tail: float
    uniform: Float[np.ndarray, " number"]

    @property
    def task(self) -> TaskSpectrum:
        """A power law in all its modes."""
        return TaskSpectrum.power_law(self.capacity, 1.0 + self.tail, modes=3000, tail=True)


@dataclass(frozen=True)
class SizeVerdicts:
    """Verdicts of a row on the draws of one control.

    Attributes:
        control: Its name.
        is_true: Whether the row holds of it.
        sizes: Of each sweep.
        repeats: Of each size.
        supported: How many.
        contradicted: How many.
        undecided: How many.
    """

    control: str
    is_true: bool
    sizes: int
    repeats: int
    supported: int
    contradicted: int
    undecided: int

    @property
    def wrong(self) -> int:
        """Decided, and not as it is."""
        return self.contradicted if self.is_true else self.supported


def judge_size_controls(
    seeds: Sequence[int], *, sizes: int = 7, repeats: int = 3, scatter: float = 0.02
) -> list[SizeVerdicts]:
    """Judge every control.

    Args:
        seeds: Of the draws.
        sizes: Of a sweep.
        repeats: Of each size.
        scatter: Standard deviation of ln(loss) between repeats.
    """
    found = []
    for control in SIZE_CONTROLS:
        rows = [_judged(control, sizes, repeats, scatter, seed).verdict for seed in seeds]
        counts = [rows.count(one) for one in (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.UNDECIDED)]
        found.append(SizeVerdicts(control.name, control.is_true, sizes, repeats, *counts))
    return found


def _judged(control: SizeControl, sizes: int, repeats: int, scatter: float, seed: int) -> Claim:
    return exponent_row(*control.sweep(sizes, repeats, scatter, seed))


def _width(sizes: np.ndarray, draw: Draw) -> np.ndarray:
    """Features of the width's number, all data: what their span does not hold."""
    return 0.5 * random_features_risk(draw.task, np.inf, sizes).risk.values


def _data(sizes: np.ndarray, draw: Draw) -> np.ndarray:
    """The kernel itself, without ridge or noise."""
    return 0.5 * random_features_risk(draw.task, sizes).risk.values


def _floored(sizes: np.ndarray, draw: Draw) -> np.ndarray:
    """A floor of a fifth of the loss at the largest size."""
    exact = _data(sizes, draw)
    return exact + 0.25 * exact[-1]


def _swamped(sizes: np.ndarray, draw: Draw) -> np.ndarray:
    exact = _data(sizes, draw)
    return exact + 10.0 * exact[0]


def _corrections(sizes: np.ndarray, draw: Draw) -> np.ndarray:
    """A limit with corrections of 1 / N, as a wide network has about its kernel."""
    return 1.0 + (2.0 + 6.0 * draw.uniform[0]) * sizes[0] / sizes


def _unseen(sizes: np.ndarray, draw: Draw) -> np.ndarray:
    """A target rougher than the one whose energies were taken."""
    task = TaskSpectrum.power_law(draw.capacity, 1.0 + 0.5 * draw.tail, modes=3000, tail=True)
    return 0.5 * random_features_risk(task, sizes).risk.values


def _learned(sizes: np.ndarray, draw: Draw) -> np.ndarray:
    """Features that grow with what is learned make the target easier: a power higher by 2 / (1 + beta)."""
    beta = draw.tail / draw.capacity
    return (sizes / sizes[0]) ** (-draw.tail * 2.0 / (1.0 + beta))


def _broken(sizes: np.ndarray, draw: Draw) -> np.ndarray:
    """The exponent is the predicted one up to the middle, and twice as large beyond."""
    x = sizes / sizes[len(sizes) // 2]
    return x**-draw.tail / (1.0 + x ** (4.0 * draw.tail)) ** 0.25


def _exponential(sizes: np.ndarray, draw: Draw) -> np.ndarray:
    return 0.1 + np.exp(-3.0 * (0.5 + draw.uniform[1]) * sizes / sizes[-1])


SIZE_CONTROLS: tuple[SizeControl, ...] = (
    SizeControl("features of a power-law spectrum", "width", True, _width, lambda draw: draw.tail),
    SizeControl("kernel of a power-law spectrum", "data", True, _data, lambda draw: draw.tail),
    SizeControl("kernel, a fifth of the loss is a floor", "data", True, _floored, lambda draw: draw.tail),
    SizeControl("kernel, all but a tenth is a floor", "data", True, _swamped, lambda draw: draw.tail),
    SizeControl("corrections of 1 / N to a limit", "width", False, _corrections, lambda draw: draw.tail),
    SizeControl("a target the kernel sees as rougher", "data", False, _unseen, lambda draw: draw.tail),
    SizeControl("an exponent raised by feature learning", "data", False, _learned, lambda draw: draw.tail),
    SizeControl("a broken power", "data", False, _broken, lambda draw: draw.tail),
    SizeControl("an exponential approach", "width", False, _exponential, lambda draw: draw.tail),
)


def simulated_control(
    capacity: float, tail: float, seed: int, *, sizes: int = 6, repeats: int = 3, pool: int = 600
) -> tuple[SizeSweep, PredictedExponents, MeasuredTask]:
    """Simulate regression over samples, and measure the spectrum that its exponent is predicted from.

    Args:
        capacity: b of lambda_k = k^-b, of Gaussian features.
        tail: a - 1 of the target's energy beyond mode k, ~ k^-(a - 1).
        seed: Of all draws.
        sizes: From 16 samples on, each twice the one before.
        repeats: Of each, with samples of their own.
        pool: Samples of the spectrum.

    Returns:
        The sweep, what is predicted from the spectrum, and the measured task, which gives its curve.
    """
    rng = np.random.default_rng(seed)
    ranks = np.arange(1.0, SIMULATED_MODES + 1.0)
    values, weights = ranks**-capacity, rng.choice([-1.0, 1.0], len(ranks)) * ranks ** (-0.5 * (tail + 1.0))
    x = rng.standard_normal((pool, len(ranks)))
    found, vectors = np.linalg.eigh((x * values) @ x.T / pool)
    energies = ((vectors.T @ (x @ weights)) ** 2)[::-1] / pool
    rows = []
    for size in (16 * 2**power for power in range(sizes)):
        for repeat in range(repeats):
            x = rng.standard_normal((size, len(ranks)))
            left = weights - values * (x.T @ np.linalg.solve((x * values) @ x.T, x @ weights))
            rows.append((size, 0.5 * float(left @ left), repeat))
    counts, losses, numbers = (np.array(column) for column in zip(*rows, strict=True))
    predicted = predict_exponents(found[::-1], energies, samples=pool)
    return (
        SizeSweep("data", counts, losses, numbers, "a simulation"),
        predicted,
        measured_task(found[::-1], energies, pool),
    )
