"""Capacity, source and their bends in a window of ranks: of the population's modes, or of those of n samples.

Of n samples, low eigenvalues are set by sampling, and low modes hold a share of the high modes' targets. Both are
undone without knowing the population. For a ridge d on the sampled eigenvalues L_i (of the operator, 1/n included)

    F = sum of L / (L + d),      kappa = d / (1 - F / n),      Q = F + dF / d ln kappa,
    B = (1 - F / n)^-2 (1 - Q / n) sum of (d / (L + d))^2 g^2

are the population's degrees of freedom sum of lambda / (lambda + kappa), its ridge, sum of
(lambda / (lambda + kappa))^2, and the unlearned part of the target, sum of (kappa / (lambda + kappa))^2 w^2, as for
kernel ridge regression, where n B / (n - Q) is generalised cross-validation. F falls as kappa^(-1/capacity). B grows as
kappa^source, but no faster than kappa^2; two derivatives in ln kappa turn the square in it into the fourth power, which
lets sources up to 4 through.

Source: [@simon2021eigenlearning] (equations/exponents.md#kernel-gradient-descent), read from the sample to the
population.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.theory.exponents.bends import bend_of_eigenvalues, bend_of_energies
from eigenflow.theory.exponents.power_spectrum import BLOCKS, fitted_means, spectrum_power
from eigenflow.theory.exponents.ranges import ExponentRange

__all__ = ["PopulationModes", "Reading", "SampledModes"]

DRAWS = 1000
DEEPEST = 1.0 / 3.0  # of the samples: the last degree of freedom that is read
HEAD = 4.0  # degrees of freedom below which a sum over modes is no integral
POINTS_A_DECADE = 20
BEYOND = 4.0  # factor of ridge beyond the modes on both sides, for derivatives
FEWEST_POINTS = 8


@dataclass(frozen=True)
class Reading:
    """What a window of ranks says.

    Attributes:
        capacity: Estimate.
        source: Estimate.
        draws: Rows capacity and source: their sampling distribution about the estimates.
        capacity_bend: Of the capacity, relative to it, lower less upper half of the window.
        source_bend: Of the exponent source + 1 / capacity of single energies, relative to it.
        decades: Of eigenvalues.
    """

    capacity: float
    source: float
    draws: Float[np.ndarray, "two draw"]
    capacity_bend: ExponentRange
    source_bend: ExponentRange
    decades: float


@dataclass(frozen=True)
class PopulationModes:
    """Modes that are what is meant.

    Attributes:
        values: Eigenvalues, decreasing.
        squares: Energies.
    """

    values: Float[np.ndarray, " mode"]
    squares: Float[np.ndarray, " mode"]

    @property
    def last(self) -> int:
        """Last rank that can be read."""
        return len(self.values)

    def read(self, first: int, last: int) -> Reading:
        """Fit both exponents by quasi-likelihood, with the jackknife over blocks of modes for their covariance."""
        ranks, kept = np.arange(first, last + 1.0), slice(first - 1, last)
        values, squares = self.values[kept], self.squares[kept]
        power = spectrum_power(ranks, values, squares)
        left = np.stack([power.capacity_draws, power.source_draws])
        left = left - left.mean(1, keepdims=True)
        parts, vectors = np.linalg.eigh((BLOCKS - 1) / BLOCKS * (left @ left.T))
        rng = np.random.default_rng(0)
        normal = vectors @ (np.sqrt(np.maximum(parts, 0.0))[:, None] * rng.standard_normal((2, DRAWS)))
        student = normal / np.sqrt(rng.chisquare(BLOCKS - 1, DRAWS) / (BLOCKS - 1))
        # Ten blocks tell their spread to a quarter: never less than what the scatter of single energies makes.
        excess = float(((squares / power.means - 1.0) ** 2).sum()) / (len(values) - 2)
        least = float(np.sqrt(excess / (np.log(values).var() * len(values))))
        student[1] *= max(1.0, least / max(float(np.sqrt(left[1] @ left[1] * (BLOCKS - 1) / BLOCKS)), 1e-300))
        return Reading(
            power.capacity,
            power.source,
            np.array([[power.capacity], [power.source]]) + student,
            bend_of_eigenvalues(ranks, values),
            bend_of_energies(ranks, squares),
            float(np.log10(values[0] / values[-1])),
        )


class SampledModes:
    """Modes of n samples, of which the population's exponents are wanted.

    Args:
        values: Eigenvalues of the sample's operator, decreasing, positive.
        squares: Energies.
        samples: n; modes that are not given count as eigenvalue 0.
        beneath: Energy of the modes that are not given.
    """

    def __init__(self, values: np.ndarray, squares: np.ndarray, samples: int, beneath: float = 0.0) -> None:
        self.samples = samples
        self.values = values
        logs = np.log(values)
        span = float(logs[0] - logs[-1]) + 2.0 * np.log(BEYOND)
        count = int(span / np.log(10.0) * POINTS_A_DECADE) + 3
        self.log_ridges = np.linspace(float(logs[0]) + np.log(BEYOND), float(logs[-1]) - np.log(BEYOND), count)
        learned = expit(logs - self.log_ridges[:, None])
        self.freedom, self.log_kappa, weights = self._weights(learned, np.append(squares, beneath))
        self.unlearned = weights @ np.append(squares, beneath)
        # What chance does: eigenvalues of n Gaussian samples scatter by sqrt(2 / n), energies as squares of Gaussians.
        rng = np.random.default_rng(0)
        means = np.append(fitted_means(np.log(np.arange(1.0, len(squares) + 1.0)), squares), beneath)
        drawn = means[:, None] * np.append(rng.chisquare(1, (len(squares), DRAWS)), np.ones((1, DRAWS)), axis=0)
        self.unlearned_draws = weights @ drawn
        self.scatter = _freedom_scatter(learned, samples, rng)

    def _weights(self, learned: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """F, ln kappa, and the weights of energies in B with its square turned into a fourth power."""
        freedom = learned.sum(1)
        left = 1.0 - freedom / self.samples
        log_kappa = self.log_ridges - np.log(left)
        squared = freedom + np.gradient(freedom, log_kappa)
        unlearned = np.append(1.0 - learned, np.ones((len(learned), 1)), axis=1)
        weights = unlearned**2 * ((1.0 - squared / self.samples) / left**2)[:, None]
        for power in (2, 3):  # d/d ln kappa of x^p, x = kappa / (lambda + kappa), is p (x^p - x^(p + 1))
            weights = weights - np.gradient(weights, log_kappa, axis=0) / power
        return freedom, log_kappa, weights

    @property
    def last(self) -> int:
        """Last rank that can be read."""
        return min(len(self.values), int(DEEPEST * self.samples))

    def read(self, first: int, last: int) -> Reading:
        """Fit F and B over those kappa at which from `first` to `last` degrees of freedom are left.

        Raises:
            ArgumentError: If B is not positive there, so that no power can be told.
        """
        # A sum over ranks from 1 is an integral from 1/2.
        log_rank = np.log(self.freedom + 0.5)
        inside = (log_rank >= np.log(max(first, HEAD))) & (log_rank <= np.log(last + 0.5))
        is_told = inside & (self.unlearned > 0) & ((self.unlearned_draws > 0).mean(1) > LEVEL)
        if np.count_nonzero(is_told) < FEWEST_POINTS:
            raise ArgumentError(
                f"`energies` of {self.samples} samples leave {np.count_nonzero(is_told)} of "
                f"{np.count_nonzero(inside)} scales at which what is unlearned is positive: no power can be told. Take "
                f"more samples, or a wider window."
            )
        capacity, capacity_draws, capacity_bend = self._capacity(log_rank, inside)
        source, source_draws, bent, bent_draws = self._source(is_told)
        unit = max(source, 0.0) + 1.0 / capacity
        half = 0.5 * float(np.subtract(*np.quantile(bent_draws, [(1 + LEVEL) / 2, (1 - LEVEL) / 2])))
        kappas = self.log_kappa[inside]
        return Reading(
            capacity,
            source,
            np.stack([capacity_draws, source_draws]),
            capacity_bend,
            ExponentRange(bent / unit, (bent - half) / unit, (bent + half) / unit),
            float((kappas[0] - kappas[-1]) / np.log(10.0)),
        )

    def _capacity(self, log_rank: np.ndarray, inside: np.ndarray) -> tuple[float, np.ndarray, ExponentRange]:
        x, y = log_rank[inside], self.log_kappa[inside]
        slope, curve = _line(x, np.ones(len(x)), y)
        drawn_x = np.log(np.maximum(self.freedom[inside, None] + 0.5 + self.scatter[inside], 0.25))
        # To first order: what moves a point along x moves it by the slope along y.
        moved = y[:, None] - slope * (drawn_x - x[:, None])
        slopes, curves = _line(x, np.ones(len(x)), moved)
        bends = -curves / -slope
        half = 0.5 * float(np.subtract(*np.quantile(bends, [(1 + LEVEL) / 2, (1 - LEVEL) / 2])))
        bend = float(curve / slope)
        draws = -slope - (slopes - slopes.mean())
        # The equivalence of sample and population is itself right to 1 / n.
        draws = draws * (1.0 + np.random.default_rng(2).standard_normal(DRAWS) / self.samples)
        return -float(slope), draws, ExponentRange(bend, bend - half, bend + half)

    def _source(self, is_told: np.ndarray) -> tuple[float, np.ndarray, float, np.ndarray]:
        x = self.log_kappa[is_told]
        drawn = np.log(np.maximum(self.unlearned_draws[is_told], 1e-300))
        low, high = np.quantile(drawn, [0.16, 0.84], axis=1)
        weights = 1.0 / np.maximum(high - low, 1e-6) ** 2
        slope, curve = _line(x, weights, np.log(self.unlearned[is_told]))
        slopes, curves = _line(x, weights, drawn)
        # Small kappa is the lower half of the modes.
        return float(slope), slope + slopes - slopes.mean(), -float(curve), -(curves - curves.mean())


def _line(
    x: Float[np.ndarray, " point"], weights: Float[np.ndarray, " point"], y: Float[np.ndarray, "point ..."]
) -> tuple[Any, Any]:
    """Slope of a line, and by a quadratic the change of slope from half to half; one for each column."""
    middle, reach = 0.5 * (x.max() + x.min()), 0.5 * (x.max() - x.min())
    z = (x - middle) / reach
    root = np.sqrt(weights / weights.sum())
    scaled = root[:, None] * y if y.ndim > 1 else root * y
    line = np.linalg.lstsq(root[:, None] * np.stack([np.ones_like(z), z], axis=1), scaled, rcond=None)[0]
    curve = np.linalg.lstsq(root[:, None] * np.stack([np.ones_like(z), z, z**2], axis=1), scaled, rcond=None)[0]
    return line[1] / reach, 2.0 * curve[2] / reach


def _freedom_scatter(learned: np.ndarray, samples: int, rng: np.random.Generator) -> Float[np.ndarray, "ridge draw"]:
    """Changes of F by independent relative errors sqrt(2 / n) of the eigenvalues."""
    normal = rng.standard_normal((learned.shape[1], DRAWS)) * np.sqrt(2.0 / samples)
    return (learned * (1.0 - learned)) @ normal
