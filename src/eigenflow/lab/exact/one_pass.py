"""One-pass stochastic gradient descent on a linear model of Gaussian data: its expected risk, and fast simulations.

A sample x = D^(1/2) z enters an update only by its components zeta in the operator's modes and by the part of the
residual that the model cannot express. Of Gaussian data both are standard Gaussian, whatever the number of inputs. So
with c the error in the modes and r = zeta . c + sqrt(unlearned) xi

    c <- c - (eta / B) lambda * sum over the batch of zeta r

is the training itself, in distribution, at the cost of the modes alone. A block of updates is one triangular system:
r of a sample needs those of earlier batches through zeta diag(lambda) zeta', and nothing else.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular
from scipy.optimize import brentq

from eigenflow.core.checks import check_kind, check_number, check_whole
from eigenflow.core.display import AbstractPrinted, Card, figure, span
from eigenflow.core.errors import ArgumentError
from eigenflow.lab.exact.power_law_features import DrawnFeatures, checked_steps

__all__ = ["OnePassRisk", "OnePassRuns", "expected_one_pass", "largest_one_pass_rate", "simulate_one_pass"]

# Samples that are taken together: the triangular system costs BLOCK more a sample, the calls it saves as much.
BLOCK = 64


@dataclass(frozen=True, repr=False)
class OnePassRisk(AbstractPrinted):
    """Expected loss of one-pass training.

    Attributes:
        steps: Completed updates.
        times: Sum of learning rates.
        loss: Expected half mean square over fresh samples, with noise.
        flow: The same with gradient descent on the population in its place: `loss - flow` is the price of samples.
        limit: Of the loss at infinitely many updates.
        error: Estimated relative error of `loss`, which is rounding that grows with the number of updates.
    """

    steps: Float[np.ndarray, " step"]
    times: Float[np.ndarray, " step"]
    loss: Float[np.ndarray, " step"]
    flow: Float[np.ndarray, " step"]
    limit: float
    error: float

    def _card(self) -> Card:
        return Card(
            f"OnePassRisk at {len(self.steps)} numbers of updates",
            [
                ("time", span(self.times)),
                ("loss", f"{span(self.loss)}, in the end {figure(self.limit)}"),
                ("by gradient descent", span(self.flow)),
                ("relative error", figure(self.error, 2)),
            ],
        )


@dataclass(frozen=True, repr=False)
class OnePassRuns(AbstractPrinted):
    """Losses of simulated one-pass training.

    Attributes:
        steps: Completed updates.
        times: Sum of learning rates.
        losses: Half mean square over fresh samples, with noise, of every run; exact given the run.
    """

    steps: Float[np.ndarray, " step"]
    times: Float[np.ndarray, " step"]
    losses: Float[np.ndarray, "run step"]

    @property
    def mean(self) -> Float[np.ndarray, " step"]:
        """Over runs."""
        return self.losses.mean(axis=0)

    @property
    def standard_error(self) -> Float[np.ndarray, " step"]:
        """Of `mean`; infinite for a single run."""
        runs = len(self.losses)
        return self.losses.std(axis=0, ddof=1) / np.sqrt(runs) if runs > 1 else np.full(len(self.steps), np.inf)

    def _card(self) -> Card:
        last = f"{figure(float(self.mean[-1]))} +- {figure(float(self.standard_error[-1]), 2)}"
        return Card(
            f"OnePassRuns: {len(self.losses)} runs at {len(self.steps)} numbers of updates",
            [("time", span(self.times)), ("mean loss", span(self.mean)), ("last", last)],
        )


def largest_one_pass_rate(features: DrawnFeatures, batch: int = 1) -> float:
    """Learning rate from which on the expected loss of one-pass training grows without end.

    Where sum_i (eta lambda_i / B) / (2 - eta lambda_i (1 + 1 / B)) = 1 [@paquette2024phases].

    Args:
        features: The model.
        batch: B, samples of an update.
    """
    batch = check_whole("batch", batch, 1, what="number of samples")
    lam = features.eigenvalues
    pole = 2.0 / (float(lam[0]) * (1.0 + 1.0 / batch))

    def excess(share: float) -> float:
        scaled = share * pole * lam
        return float((scaled / batch / (2.0 - scaled * (1.0 + 1.0 / batch))).sum()) - 1.0

    return pole * brentq(excess, 0.0, 1.0 - 1e-14, xtol=1e-15)  # pyright: ignore[reportOperatorIssue, reportReturnType]


def expected_one_pass(features: DrawnFeatures, steps: Any, learning_rate: float, batch: int = 1) -> OnePassRisk:
    """Give the expected loss of one-pass training, exact at any number of updates.

    The second moments p_i of the error in the modes obey p' = q p + g (sum p + unlearned), with g = (eta lambda)^2 / B
    and q = (1 - eta lambda)^2 + g, as Gaussian data have no other correlations. In y = p / lambda this is a symmetric
    matrix, and its powers follow from its eigenvectors.

    Args:
        features: The model.
        steps: Completed updates, >= 0.
        learning_rate: eta > 0, below `largest_one_pass_rate`.
        batch: B, fresh samples of an update.

    Returns:
        The expected loss. It costs one eigendecomposition of the number of modes.

    Raises:
        ArgumentError: If the learning rate is beyond stability, or another argument outside its region.
    """
    steps, batch, rate = _checked(features, steps, learning_rate, batch)
    most = largest_one_pass_rate(features, batch)
    if rate >= most:
        raise ArgumentError(
            f"`learning_rate` must be below {most:.6g}, from where on the expected loss grows without end at batch "
            f"{batch}, but is {rate:.6g}. A larger batch allows a larger one."
        )
    lam, energy = features.eigenvalues, features.coefficients**2
    scaled = rate * lam
    losses = np.diag(scaled * (2.0 - scaled * (1.0 + 1.0 / batch))) - np.multiply.outer(scaled, scaled) / batch
    decay, vectors = np.linalg.eigh(losses)
    decay = np.clip(decay, 0.0, 1.0 - np.finfo(np.float64).epsneg)
    start, gain = vectors.T @ (energy / lam), vectors.T @ (rate * scaled / batch * features.unlearned)
    exponents = np.multiply.outer(steps, np.log1p(-decay))
    # (1 - s^k) / (1 - s), which is k for a mode that does not decay.
    repeated = np.where(decay > 0, -np.expm1(exponents) / np.where(decay > 0, decay, 1.0), steps[:, None])
    total = (np.exp(exponents) * start + repeated * gain) @ (vectors.T @ lam)
    # In the limit p = g (sum p + unlearned) / (1 - q).
    noise = (scaled / batch / (2.0 - scaled * (1.0 + 1.0 / batch))).sum()
    limit = 0.5 * features.unlearned / (1.0 - noise)
    return OnePassRisk(
        steps=steps,
        times=rate * steps,
        loss=0.5 * (total + features.unlearned),
        flow=features.descent_loss(steps, rate),
        limit=float(limit),
        error=float(np.finfo(np.float64).eps * (len(lam) + decay.max() * steps.max())),
    )


def simulate_one_pass(
    features: DrawnFeatures,
    steps: Any,
    learning_rate: float,
    rng: np.random.Generator,
    *,
    batch: int = 1,
    runs: int = 1,
) -> OnePassRuns:
    """Train on fresh samples from theta = 0.

    Args:
        features: The model.
        steps: Completed updates at which the loss is taken, increasing.
        learning_rate: eta > 0. Beyond stability losses grow, and end as infinity.
        rng: Of samples.
        batch: B, fresh samples of an update.
        runs: Independent repetitions.

    Returns:
        The losses. A sample costs some 2 (64 + 3) operations and one Gaussian number a mode.

    Raises:
        ArgumentError: If an argument lies outside its region.
    """
    steps, batch, rate = _checked(features, steps, learning_rate, batch)
    check_kind("rng", rng, np.random.Generator, "a NumPy generator, as of `numpy.random.default_rng(0)`")
    if (np.diff(steps) <= 0).any():
        raise ArgumentError(f"`steps` must increase, but begin with {steps[:5]}. Sort them, each once.")
    losses = np.empty((check_whole("runs", runs, 1, what="number of runs"), len(steps)))
    most = max(1, BLOCK // batch)
    for run in losses:
        error, done = features.coefficients.copy(), 0
        for place, step in enumerate(steps.astype(np.int64)):
            while done < step:
                updates = min(most, int(step) - done)
                error, done = _advanced(features, error, updates, rate, batch, rng), done + updates
            with np.errstate(over="ignore"):
                run[place] = 0.5 * (float(error @ error) + features.unlearned)
        losses[np.isnan(losses)] = np.inf
    return OnePassRuns(steps, rate * steps, losses)


def _advanced(
    features: DrawnFeatures, error: np.ndarray, updates: int, rate: float, batch: int, rng: np.random.Generator
) -> np.ndarray:
    """The error after some updates; a batch that is larger than a block is taken in pieces."""
    if batch <= BLOCK:
        return block_of_updates(features, error, *_samples(features, updates * batch, rng), rate, batch)
    pushed = np.zeros_like(error)
    for start in range(0, batch, BLOCK):
        zeta, missed = _samples(features, min(BLOCK, batch - start), rng)
        pushed += zeta.T @ (zeta @ error + missed)
    return error - rate / batch * features.eigenvalues * pushed


def block_of_updates(
    features: DrawnFeatures,
    error: Float[np.ndarray, " mode"],
    zeta: Float[np.ndarray, "sample mode"],
    missed: Float[np.ndarray, " sample"],
    rate: float,
    batch: int,
) -> Float[np.ndarray, " mode"]:
    """Make several updates at once, exact.

    Args:
        features: The model.
        error: In its modes, before.
        zeta: Components of samples in the modes, a whole number of batches.
        missed: What each sample's residual has beside them: noise, and what the features cannot express.
        rate: Of learning.
        batch: Samples of an update.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        push = (rate / batch) * features.eigenvalues
        order = np.arange(len(zeta)) // batch
        coupled = np.where(order[:, None] > order, (zeta * push) @ zeta.T, 0.0)
        residuals = solve_triangular(coupled, zeta @ error + missed, lower=True, unit_diagonal=True, check_finite=False)
        return error - push * (zeta.T @ residuals)


def _samples(features: DrawnFeatures, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    zeta = rng.standard_normal((count, len(features.eigenvalues)))
    return zeta, np.sqrt(features.unlearned) * rng.standard_normal(count)


def _checked(features: Any, steps: Any, learning_rate: Any, batch: Any) -> tuple[np.ndarray, int, float]:
    check_kind("features", features, DrawnFeatures, "DrawnFeatures, as of `PowerLawFeatures().draw(rng)`")
    rate = check_number("learning_rate", learning_rate)
    if not rate > 0:
        raise ArgumentError(f"`learning_rate` must be > 0, but is {rate:g}.")
    return checked_steps(steps), check_whole("batch", batch, 1, what="number of samples"), rate
